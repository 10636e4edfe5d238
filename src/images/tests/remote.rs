//! Pulls from a real registry: transports, credentials, platforms, pins, and what a refusal says.

use boxlite_test_utils::oci::{Layout, Packing, host_architecture, tar_of};
use boxlite_test_utils::registry::{Registry, RegistryOptions};

use super::{assert_tidy, files_below, sample_layout, store_with};
use crate::errors::BoxliteError;
use crate::images::{ImageStore, ProgressSink, StoredImage};
use crate::model::registry::ImageRegistry;

const QUIET: fn() -> ProgressSink = ProgressSink::none;

fn pushed(dir: &std::path::Path, options: RegistryOptions) -> (Registry, Layout) {
    let registry = Registry::start_with(options).expect("a registry");
    let layout = sample_layout(dir);
    registry
        .push(&format!("oci:{}:v1", layout.dir().display()), "app:v1", &["--preserve-digests"])
        .expect("a push");
    (registry, layout)
}

async fn pull(store: &ImageStore, reference: &str) -> StoredImage {
    store.pull(reference, &QUIET()).await.expect("a pull")
}

async fn refusal(store: &ImageStore, reference: &str) -> BoxliteError {
    store.pull(reference, &QUIET()).await.expect_err("a refusal")
}

#[tokio::test]
async fn over_http_by_tag_by_short_name_and_by_digest() {
    let dir = tempfile::tempdir().expect("a directory");
    let (registry, _layout) = pushed(dir.path(), RegistryOptions::default());
    let entry = ImageRegistry::http(registry.host()).with_search(true);
    let store = store_with(dir.path(), vec![entry]);
    let image = pull(&store, "app:v1").await;
    assert_eq!(image.reference, registry.image("app:v1"));
    assert_eq!(image.repository, registry.image("app"));
    assert_eq!(image.layers.len(), 3);
    assert!(store.disk(&image, &QUIET()).await.expect("a disk").built);

    let pinned = format!("{}@{}", registry.image("app"), image.manifest_digest);
    let same = pull(&store, &pinned).await;
    assert_eq!((same.manifest_digest, same.tag), (image.manifest_digest, None));
    for layer in &image.layers {
        assert_eq!(registry.downloads(&layer.digest.to_string(), 1), 1, "{}", layer.digest);
    }
    // A stored reference needs no registry.
    let asked = registry.requests().len();
    assert_eq!(store.ensure("app:v1", &QUIET()).await, Ok(image));
    assert_eq!(registry.requests().len(), asked);
    drop(registry);
    assert!(store.ensure("app:v1", &QUIET()).await.is_ok());
    assert_tidy(dir.path());
}

#[tokio::test]
async fn over_https_with_a_certificate_of_no_known_ca() {
    let dir = tempfile::tempdir().expect("a directory");
    let (registry, _layout) = pushed(dir.path(), RegistryOptions { tls: true, ..Default::default() });
    let reference = registry.image("app:v1");

    let strict = store_with(&dir.path().join("strict"), vec![ImageRegistry::https(registry.host())]);
    let error = refusal(&strict, &reference).await;
    assert!(matches!(error, BoxliteError::Network(_)), "{error}");
    assert!(error.to_string().contains("TLS failed"), "{error}");
    assert!(error.hint().contains("with_skip_verify"), "{}", error.hint());
    assert_tidy(&dir.path().join("strict"));

    let trusting = ImageRegistry::https(registry.host()).with_skip_verify(true);
    let trusting = store_with(&dir.path().join("trusting"), vec![trusting]);
    assert_eq!(pull(&trusting, &reference).await.layers.len(), 3);

    let plain = store_with(&dir.path().join("plain"), vec![ImageRegistry::http(registry.host())]);
    let error = refusal(&plain, &reference).await;
    assert!(error.to_string().contains("HTTPS"), "{error}");
}

#[tokio::test]
async fn plain_http_where_https_is_configured_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let (registry, _layout) = pushed(dir.path(), RegistryOptions::default());
    let store = store_with(dir.path(), Vec::new());
    let error = refusal(&store, &registry.image("app:v1")).await;
    assert!(matches!(error, BoxliteError::Network(_)), "{error}");
    assert!(error.hint().contains("ImageRegistry::http"), "{error}: {}", error.hint());
}

#[tokio::test]
async fn basic_auth_right_wrong_and_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = RegistryOptions { basic_auth: Some(("ann".into(), "secret".into())), ..Default::default() };
    let (registry, _layout) = pushed(dir.path(), options);
    let reference = registry.image("app:v1");
    let entry = || ImageRegistry::http(registry.host());
    for (entry, who) in
        [(entry(), "without credentials"), (entry().with_basic_auth("ann", "no"), "user `ann`")]
    {
        let store = store_with(dir.path(), vec![entry]);
        let error = refusal(&store, &reference).await;
        assert!(matches!(error, BoxliteError::Network(_)), "{error}");
        assert!(error.to_string().contains("refuses access") && error.to_string().contains(who), "{error}");
        assert!(error.hint().contains("with_basic_auth"), "{}", error.hint());
        assert!(!format!("{error:?}").contains("secret"));
    }
    let store = store_with(dir.path(), vec![entry().with_basic_auth("ann", "secret")]);
    assert_eq!(pull(&store, &reference).await.layers.len(), 3);
    assert_tidy(dir.path());
}

#[tokio::test]
async fn what_is_not_there_and_who_does_not_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let (registry, _layout) = pushed(dir.path(), RegistryOptions::default());
    let store = store_with(dir.path(), vec![ImageRegistry::http(registry.host())]);
    for missing in ["app:v2", "nothing:v1"] {
        let error = refusal(&store, &registry.image(missing)).await;
        assert!(matches!(error, BoxliteError::NotFound(_)), "{error}");
        assert!(error.to_string().contains(missing), "{error}");
    }
    let host = registry.host();
    drop(registry);
    let error = refusal(&store, &format!("{host}/app:v1")).await;
    assert!(matches!(error, BoxliteError::Network(_)), "{error}");
    assert!(error.to_string().contains(&host) && error.to_string().contains("refused"), "{error}");
    let https = store_with(dir.path(), Vec::new());
    let error = refusal(&https, &format!("{host}/app:v1")).await;
    assert!(error.hint().contains("ImageRegistry::http"), "{}", error.hint());
    assert_tidy(dir.path());
}

#[tokio::test]
async fn short_names_go_on_to_the_next_registry() {
    let dir = tempfile::tempdir().expect("a directory");
    let empty = Registry::start().expect("a registry");
    let (registry, _layout) = pushed(dir.path(), RegistryOptions::default());
    let search = |registry: &Registry| ImageRegistry::http(registry.host()).with_search(true);
    // docker.io has a place in the order too: given here as a registry that nobody runs.
    let hub = ImageRegistry::http("docker.io");
    let store = store_with(dir.path(), vec![search(&empty), search(&registry), hub]);
    assert_eq!(pull(&store, "app:v1").await.reference, registry.image("app:v1"));
    assert_eq!(empty.requests().iter().filter(|line| line.contains("/manifests/")).count(), 1);
}

#[tokio::test]
async fn the_manifest_for_this_cpu_is_chosen_from_a_list() {
    let dir = tempfile::tempdir().expect("a directory");
    let registry = Registry::start().expect("a registry");
    let layout = Layout::new(dir.path().join("layout")).expect("a layout");
    let image = |name: &str| {
        let tar = tar_of(&[(name, b"x")]).expect("a tar");
        layout.image(&[(&*tar, Packing::Gzip)]).expect("an image")
    };
    let (ours, other) = (image("ours"), image("other"));
    let list = layout
        .index(&[
            ("linux", "s390x", &other),
            ("windows", host_architecture(), &other),
            ("linux", host_architecture(), &ours),
        ])
        .expect("an index");
    let strangers = layout.index(&[("linux", "s390x", &other)]).expect("an index");
    layout.tags(&[("list", &list), ("strangers", &strangers)]).expect("tags");
    for tag in ["list", "strangers"] {
        let source = format!("oci:{}:{tag}", layout.dir().display());
        registry.push(&source, &format!("app:{tag}"), &["--all", "--preserve-digests"]).expect("a push");
    }
    let store = store_with(dir.path(), vec![ImageRegistry::http(registry.host())]);
    let chosen = pull(&store, &registry.image("app:list")).await;
    assert_eq!(chosen.manifest_digest.to_string(), ours.digest);
    // A pin may be of the list: the image in it is still this machine's.
    let pinned = pull(&store, &format!("{}@{}", registry.image("app"), list.digest)).await;
    assert_eq!(pinned.manifest_digest, chosen.manifest_digest);
    let error = refusal(&store, &registry.image("app:strangers")).await;
    assert!(error.to_string().contains("linux/s390x"), "{error}");
}

#[tokio::test]
async fn a_blob_that_was_changed_at_the_registry_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let (registry, layout) = pushed(dir.path(), RegistryOptions::default());
    let store = store_with(dir.path(), vec![ImageRegistry::http(registry.host())]);
    let reference = registry.image("app:v1");
    let local = format!("oci:{}:v1", layout.dir().display());
    let known = store_with(&dir.path().join("known"), Vec::new());
    let digest = pull(&known, &local).await.layers[2].digest;

    let path = registry.blob_path(&digest.to_string());
    let good = std::fs::read(&path).expect("the registry's blob");
    for (wrong, reason) in [
        (
            {
                let mut bytes = good.clone();
                bytes[100] ^= 1;
                bytes
            },
            "wrong digest",
        ),
        ([&good[..], b"more"].concat(), "longer than"),
    ] {
        std::fs::write(&path, wrong).expect("a change");
        let error = refusal(&store, &reference).await;
        assert!(matches!(error, BoxliteError::Image(_)), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.to_string().contains(&digest.to_string()), "{error}");
        assert_eq!(store.get(&reference).await, Ok(None));
        let kept = files_below(&dir.path().join("images"));
        assert!(!kept.iter().any(|name| name.contains(&digest.hex())), "{kept:?}");
    }
    std::fs::write(&path, &good).expect("the right content");
    assert_eq!(pull(&store, &reference).await.layers[2].digest, digest);
    assert_tidy(dir.path());
}
