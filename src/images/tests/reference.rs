//! References: defaults, pins, search order, local sources, and what is refused where.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn names(reference: &str, registries: &[ImageRegistry]) -> Vec<String> {
    match ImageSource::parse(reference) {
        Ok(ImageSource::Registry(parsed)) => {
            parsed.candidates(registries).iter().map(ToString::to_string).collect()
        }
        other => panic!("{reference}: {other:?}"),
    }
}

#[test]
fn docker_defaults_fill_what_is_missing() {
    let pin = format!("@sha256:{HEX}");
    for (written, meant) in [
        ("alpine", "docker.io/library/alpine:latest".to_owned()),
        ("alpine:3.19", "docker.io/library/alpine:3.19".into()),
        ("user/app", "docker.io/user/app:latest".into()),
        ("docker.io/alpine", "docker.io/library/alpine:latest".into()),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest".into()),
        ("localhost/app", "localhost/app:latest".into()),
        ("localhost:5000/a/b__c/d--e.f:v1.2-x", "localhost:5000/a/b__c/d--e.f:v1.2-x".into()),
        ("[::1]:5000/app", "[::1]:5000/app:latest".into()),
        ("ghcr.io/x/y", "ghcr.io/x/y:latest".into()),
        (&format!("alpine{pin}"), format!("docker.io/library/alpine{pin}")),
        (&format!("r.io:1/a:t{pin}"), format!("r.io:1/a:t{pin}")),
    ] {
        assert_eq!(names(written, &[]), [meant], "{written}");
    }
}

#[test]
fn short_names_are_searched_in_order_and_at_docker_io_last() {
    let search = |host: &str| ImageRegistry::https(host).with_search(true);
    let registries = [search("b.io"), ImageRegistry::https("not.io"), search("a.io:5000")];
    assert_eq!(names("app:1", &registries), ["b.io/app:1", "a.io:5000/app:1", "docker.io/library/app:1"]);
    assert_eq!(names("c.io/app", &registries), ["c.io/app:latest"]);
    let registries = [search("docker.io"), search("b.io")];
    assert_eq!(names("app", &registries), ["docker.io/library/app:latest", "b.io/app:latest"]);
}

#[test]
fn local_sources_have_a_path_and_maybe_a_tag() {
    let tag = |text: &str| Some(text.to_owned());
    for (written, source) in [
        ("oci:/a/b", ImageSource::OciLayout { path: "/a/b".into(), tag: None }),
        ("oci:rel:1.0", ImageSource::OciLayout { path: "rel".into(), tag: tag("1.0") }),
        ("oci-archive:/x.tar:v1", ImageSource::OciArchive { path: "/x.tar".into(), tag: tag("v1") }),
        ("docker-archive:/x.tar", ImageSource::DockerArchive { path: "/x.tar".into(), tag: None }),
        (
            "docker-archive:/x.tar:r.io/app:2",
            ImageSource::DockerArchive { path: "/x.tar".into(), tag: tag("r.io/app:2") },
        ),
        (
            "docker-archive:/x.tar:app:2",
            ImageSource::DockerArchive { path: "/x.tar".into(), tag: tag("app:2") },
        ),
    ] {
        assert_eq!(ImageSource::parse(written), Ok(source), "{written}");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (written, reason) in [
        ("", "empty"),
        ("https://r.io/app", "`https://` in front"),
        ("Alpine", "lower-case (character 1)"),
        ("r.io/App", "lower-case (character 6)"),
        ("a b", "character 2, ' '"),
        ("app:", "tag is empty (at character 5)"),
        ("app:-x", "character 5, '-', is not allowed in a tag"),
        ("app:ü", "character 5"),
        ("r.io//app", "repository is empty (at character 6)"),
        ("r.io/../app", "component at character 6"),
        ("a..b", "separator"),
        ("app-", "separator"),
        ("r.io:port/app", "registry port"),
        ("r.io:99999/app", "registry port"),
        ("r_x.io/app", "character 2, '_', is not allowed in a registry host"),
        ("app@sha256:12", "digest is bad"),
        ("app@md5:12", "`md5`"),
        ("oci:", "path is empty"),
        ("oci:/x:", "tag is empty"),
        ("oci:/x\0y", "character 7"),
    ] {
        let error = validate(written).expect_err(written);
        assert!(matches!(error, BoxliteError::InvalidArgument(_)), "{error}");
        assert!(error.to_string().contains(reason), "{written:?}: {error}");
        assert!(error.hint().contains("registry"), "{written}");
    }
    let long = validate(&"a".repeat(300)).expect_err("300 characters");
    assert!(long.to_string().contains("255") && long.to_string().len() < 400, "{long}");
    assert!(validate(&format!("a:{}", "t".repeat(129))).is_err());
    assert_eq!(validate(&format!("a:{}", "t".repeat(128))), Ok(()));
}

#[test]
fn a_registry_host_is_a_host() {
    for good in ["ghcr.io", "127.0.0.1:5000", "[::1]:5000", "localhost"] {
        assert_eq!(check_registry(good), Ok(()));
    }
    for bad in ["", "https://ghcr.io", "ghcr.io/org", "host:port", "a b", "host:"] {
        let error = check_registry(bad).expect_err(bad);
        assert!(matches!(error, BoxliteError::Config(_)), "{error}");
        assert!(error.to_string().contains(&format!("`{bad}`")), "{error}");
    }
}

#[test]
fn the_entry_of_a_registry_is_found_by_any_of_its_names() {
    let configured = [ImageRegistry::https("registry-1.docker.io").with_basic_auth("u", "p")];
    assert_eq!(registry_for("docker.io", &configured), configured[0]);
    assert_eq!(registry_for("x.io", &configured), ImageRegistry::https("x.io"));
}
