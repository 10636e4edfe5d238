//! Authorities of one's own, with a real TLS registry; and proxies, which are in the way to it.

use std::process::Command;

use boxlite_test_utils::registry::{Registry, RegistryOptions};

use super::*;
use crate::images::tests::sample_layout;
use crate::images::{Access, ImageLimits, ImageStore, ProgressSink, StoredImage};
use crate::model::registry::ImageRegistry;

fn store(dir: &Path, registries: Vec<ImageRegistry>, files: &[PathBuf]) -> ImageStore {
    let access = Access { authorities: Authorities::read(files).expect("authorities"), ..Access::default() };
    ImageStore::open_with(dir.join("images"), registries, ImageLimits::default(), access).expect("a store")
}

async fn pull(store: &ImageStore, reference: &str) -> BoxliteResult<StoredImage> {
    store.pull(reference, &ProgressSink::none()).await
}

#[tokio::test]
async fn a_registry_of_a_named_authority_is_believed_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = sample_layout(dir.path());
    let tls =
        || Registry::start_with(RegistryOptions { tls: true, ..Default::default() }).expect("a registry");
    let (registry, other) = (tls(), tls());
    for registry in [&registry, &other] {
        registry.push(&format!("oci:{}:v1", layout.dir().display()), "app:v1", &[]).expect("a push");
    }
    let store = store(dir.path(), Vec::new(), &[registry.ca_certificate()]);
    assert_eq!(pull(&store, &registry.image("app:v1")).await.expect("a pull").layers.len(), 3);
    let error = pull(&store, &other.image("app:v1")).await.expect_err("another authority");
    assert!(error.to_string().contains("TLS failed") && error.hint().contains("ca_file"), "{error}");

    // Both in one file is both.
    let pem =
        [&registry, &other].map(|registry| std::fs::read(registry.ca_certificate()).expect("PEM")).concat();
    let both = dir.path().join("both.pem");
    std::fs::write(&both, pem).expect("a file");
    let store = self::store(&dir.path().join("both"), Vec::new(), &[both]);
    for registry in [&registry, &other] {
        pull(&store, &registry.image("app:v1")).await.expect("a pull");
    }
}

#[test]
fn a_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (name, text, reason) in [
        ("away.pem", None, "No such file"),
        ("empty.pem", Some(""), "no certificate"),
        ("words.pem", Some("certificates\n"), "no certificate"),
        ("bad.pem", Some(bad), "bad certificate"),
        ("cut.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n"), "bad certificate"),
    ] {
        let path = dir.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).expect("a file");
        }
        let error = Authorities::read(std::slice::from_ref(&path)).expect_err(name);
        assert!(matches!(error, BoxliteError::Config(_)), "{name}: {error}");
        assert!(error.to_string().contains(reason), "{name}: {error}");
        assert_eq!(error.subject(), Some(&*path.display().to_string()), "{name}");
    }
}

/// The environment is the process's: each case is one.
#[test]
fn proxies_of_the_environment_are_used_unless_they_are_not_for_this_host() {
    let Some(order) = std::env::var_os("BOXLITE_PROXY_TEST") else {
        let dir = tempfile::tempdir().expect("a directory");
        let layout = sample_layout(dir.path());
        // A registry takes the whole URL that a proxy is sent, and so can stand for one.
        let proxy = Registry::start().expect("a registry");
        proxy.push(&format!("oci:{}:v1", layout.dir().display()), "app:v1", &[]).expect("a push");
        let url = format!("http://{}", proxy.host());
        for (number, (names, through)) in [
            (vec![("HTTP_PROXY", url.as_str())], true),
            (vec![("http_proxy", url.as_str())], true),
            (vec![("ALL_PROXY", url.as_str())], true),
            (vec![("HTTPS_PROXY", url.as_str())], false),
            (vec![("HTTP_PROXY", url.as_str()), ("NO_PROXY", "other,.invalid")], false),
        ]
        .into_iter()
        .enumerate()
        {
            let mut child = Command::new(std::env::current_exe().expect("this program"));
            for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
                child.env_remove(name).env_remove(name.to_lowercase());
            }
            child.env("BOXLITE_PROXY_TEST", dir.path().join(number.to_string())).envs(names.clone());
            child.args([
                "--exact",
                concat!(
                    module_path!(),
                    "::proxies_of_the_environment_are_used_unless_they_are_not_for_this_host"
                )
                .split_once("::")
                .expect("a crate")
                .1,
            ]);
            let output = child.output().expect("a child");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("1 passed") || !output.status.success(), "no test ran: {text}");
            assert_eq!(output.status.success(), through, "{names:?}: {text}");
        }
        return;
    };
    let registries = vec![ImageRegistry::http("registry.invalid")];
    let limits = ImageLimits { attempts: 1, ..ImageLimits::default() };
    let store = ImageStore::open(PathBuf::from(order), registries, limits).expect("a store");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(pull(&store, "registry.invalid/app:v1")).expect("a pull");
}
