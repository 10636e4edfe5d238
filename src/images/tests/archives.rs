//! Archives: OCI's and Docker's, packed or not, with links, and those that are refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use boxlite_test_utils::oci::{Layout, Packing, digest_of, tar_of};
use boxlite_test_utils::registry::run;

use super::{assert_tidy, refusal, store};
use crate::errors::BoxliteError;
use crate::images::ProgressSink;

const QUIET: fn() -> ProgressSink = ProgressSink::none;

/// What one archive holds, as a second way of saying the same image.
async fn assert_same_image(dir: &Path, reference: &str) {
    let store = store(&dir.join("copy"));
    let image = store.ensure(reference, &QUIET()).await.expect(reference);
    let disk = store.disk(&image, &QUIET()).await.expect(reference);
    run(Command::new("fsck.erofs").arg(&disk.path)).expect("a sound disk");
    assert_eq!(image.layers.len(), 3, "{reference}");
    assert_eq!(image.config.working_dir, "/srv", "{reference}");
    assert_tidy(&dir.join("copy"));
    // Stored: the source may go, and an unchanged archive is not read again.
    let again = store.ensure(reference, &QUIET()).await.expect(reference);
    assert_eq!(again.manifest_digest, image.manifest_digest);
}

#[tokio::test]
async fn archives_by_skopeo_are_read_packed_or_not() {
    let dir = tempfile::tempdir().expect("a directory");
    // Docker's formats have no zstd.
    let layout = Layout::new(dir.path().join("layout")).expect("a layout");
    let tars: Vec<_> = ["a", "b", "c"].iter().map(|name| tar_of(&[(*name, b"x")]).expect("a tar")).collect();
    let packings = [Packing::Gzip, Packing::Tar, Packing::Gzip];
    let layers: Vec<(&[u8], Packing)> = tars.iter().map(Vec::as_slice).zip(packings).collect();
    layout.tags(&[("v1", &layout.image(&layers).expect("an image"))]).expect("an index");
    let source = format!("oci:{}:v1", layout.dir().display());
    let at = |name: &str| dir.path().join(name).display().to_string();
    let copy = |target: &str| {
        let mut command = Command::new("skopeo");
        run(command.args(["copy", "--insecure-policy", "--quiet", &source, target])).expect("a copy");
    };
    copy(&format!("oci-archive:{}:v1", at("oci.tar")));
    copy(&format!("docker-archive:{}:registry.test:5000/app:v1", at("docker.tar")));
    for name in ["oci.tar", "docker.tar"] {
        run(Command::new("gzip").args(["-k", "-1", &at(name)])).expect("gzip");
    }
    for reference in [
        format!("oci-archive:{}:v1", at("oci.tar")),
        format!("oci-archive:{}", at("oci.tar.gz")),
        format!("docker-archive:{}", at("docker.tar")),
        format!("docker-archive:{}:registry.test:5000/app:v1", at("docker.tar")),
        format!("docker-archive:{}:v1", at("docker.tar.gz")),
    ] {
        assert_same_image(dir.path(), &reference).await;
    }
    let store = store(&dir.path().join("copy"));
    fs::remove_file(at("oci.tar")).expect("the archive");
    assert!(store.ensure(&format!("oci-archive:{}:v1", at("oci.tar")), &QUIET()).await.is_ok());
    let error = store.ensure(&format!("docker-archive:{}:v9", at("docker.tar")), &QUIET()).await;
    let error = error.expect_err("no such tag");
    assert!(matches!(error, BoxliteError::NotFound(_)) && error.to_string().contains("app:v1"), "{error}");
}

#[tokio::test]
async fn an_old_docker_archive_with_links_and_a_packed_layer() {
    let dir = tempfile::tempdir().expect("a directory");
    let tar = tar_of(&[("file", b"content")]).expect("a tar");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &tar).expect("gzip");
    let packed = packed.finish().expect("gzip");
    let config = serde_json::json!({
        "architecture": boxlite_test_utils::oci::host_architecture(), "os": "linux",
        "config": { "WorkingDir": "/srv" },
        "rootfs": { "diff_ids": [digest_of(&tar), digest_of(&tar), digest_of(&tar)] },
    });
    let manifest = serde_json::json!([{
        "Config": "0a.json", "RepoTags": null, "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"],
    }]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let write = |name: &str, target: &str| {
        let mut builder = tar::Builder::new(fs::File::create(dir.path().join(name)).expect("a file"));
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "2/layer.tar", target).expect("a link");
        for (name, content) in [
            ("1/layer.tar", &tar[..]),
            ("3/layer.tar", &packed),
            ("0a.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, name, content).expect("a member");
        }
        builder.finish().expect("a tar");
        format!("docker-archive:{}", dir.path().join(name).display())
    };
    assert_same_image(dir.path(), &write("good.tar", "../1/layer.tar")).await;
    let home = dir.path().join("home");
    let error = refusal(&home, &write("escape.tar", "../../../etc/passwd")).await;
    assert!(error.to_string().contains("outside of it"), "{error}");
    let error = refusal(&home, &write("loop.tar", "../2/layer.tar")).await;
    assert!(error.to_string().contains("loop of links"), "{error}");
}

#[tokio::test]
async fn bad_archives_are_named_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let config = serde_json::json!({
        "architecture": boxlite_test_utils::oci::host_architecture(), "os": "linux",
        "rootfs": { "diff_ids": [digest_of(b"x")] },
    });
    let config = config.to_string();
    let saved = |config: &str, layer: &str| {
        serde_json::json!([{ "Config": config, "RepoTags": ["app:v1"], "Layers": [layer] }]).to_string()
    };
    let write = |name: &str, manifest: &str| {
        let files = [("manifest.json", manifest.as_bytes()), ("config", config.as_bytes())];
        fs::write(at(name), tar_of(&files).expect("a tar")).expect("an archive");
    };
    write("escape", &saved("config", "../../../../etc/passwd"));
    write("escape-config", &saved("../config", "config"));
    write("lacks", &saved("config", "no-such-layer"));
    write("words", "words");
    fs::write(at("empty"), tar_of(&[]).expect("a tar")).expect("an archive");
    fs::write(at("noise"), [42; 2000]).expect("a file");
    let whole = tar_of(&[("manifest.json", &[b' '; 5000])]).expect("a tar");
    fs::write(at("cut"), &whole[..1024]).expect("an archive");
    fs::write(at("cut.gz"), [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2]).expect("a file");
    for (name, reason) in [
        ("escape", "`../../../../etc/passwd`, outside of it"),
        ("escape-config", "`../config`, outside of it"),
        ("lacks", "lacks `no-such-layer`"),
        ("words", "not JSON"),
        ("empty", "lacks `manifest.json`"),
        ("noise", "no intact tar"),
        ("cut", "is cut off"),
        ("cut.gz", "cannot be unpacked"),
    ] {
        let home = at("homes").join(name);
        let error = refusal(&home, &format!("docker-archive:{}", at(name).display())).await;
        assert!(matches!(error, BoxliteError::Image(_)), "{name}: {error}");
        assert!(error.to_string().contains(reason), "{name}: {error}");
    }
}
