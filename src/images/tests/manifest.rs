//! Manifests and indexes: what is read, what is refused and by which name.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn manifest(config_type: &str, layer_type: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{config_type}","digest":"sha256:{HEX}","size":7}},
           "layers":[{{"mediaType":"{layer_type}","digest":"sha256:{HEX}","size":9}}]}}"#
    )
}

fn refusal(json: &str) -> String {
    let error = Document::parse(json.as_bytes(), "app:1").expect_err(json);
    assert!(matches!(error, BoxliteError::Image(_)), "{error}");
    assert_eq!(error.subject(), Some("app:1"));
    error.to_string()
}

#[test]
fn every_packing_of_a_layer_is_known() {
    for (media_type, format) in [
        ("application/vnd.oci.image.layer.v1.tar", LayerFormat::Tar),
        ("application/vnd.oci.image.layer.v1.tar+gzip", LayerFormat::TarGzip),
        ("application/vnd.oci.image.layer.v1.tar+zstd", LayerFormat::TarZstd),
        ("application/vnd.docker.image.rootfs.diff.tar", LayerFormat::Tar),
        ("application/vnd.docker.image.rootfs.diff.tar.gzip", LayerFormat::TarGzip),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", LayerFormat::TarGzip),
    ] {
        let document = Document::parse(manifest(OCI_CONFIG, media_type).as_bytes(), "x");
        let Ok(Document::Image(image)) = document else { panic!("{media_type}: {document:?}") };
        assert_eq!(image.layers[0].format, format);
        assert_eq!((image.config.size, image.layers[0].blob.size), (7, 9));
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    assert!(refusal(&manifest(OCI_CONFIG, encrypted)).contains(encrypted));
    let gzip = LayerFormat::TarGzip.media_type();
    assert!(refusal(&manifest("application/vnd.cncf.helm.config.v1+json", gzip)).contains("helm"));
    assert!(refusal("{").contains("not JSON"));
    assert!(refusal(r#"{"schemaVersion":1,"layers":[]}"#).contains("schema version 1"));
    assert!(refusal(r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#).contains("at once"));
    assert!(refusal(r#"{"schemaVersion":2}"#).contains("neither"));
    assert!(refusal(&manifest(OCI_CONFIG, gzip).replace(HEX, "../../x")).contains("bad digest"));
    assert!(refusal(&manifest(OCI_CONFIG, gzip).replace("\"size\":9", "\"size\":-9")).contains("not JSON"));
    assert!(refusal(r#"{"schemaVersion":2,"mediaType":"text/html","layers":[]}"#).contains("text/html"));
}

fn entry(platform: Option<(&str, &str)>) -> IndexEntry {
    let platform =
        platform.map(|(os, architecture)| Platform { os: os.into(), architecture: architecture.into() });
    let name = platform.as_ref().map_or("none".into(), |platform| platform.architecture.clone());
    let blob = Descriptor { digest: Digest::of(name.as_bytes()), size: 1 };
    IndexEntry { blob, platform, ref_name: None }
}

#[test]
fn the_platform_of_this_machine_is_chosen() {
    let host = host_architecture();
    let entries = [
        entry(Some(("unknown", "unknown"))),
        entry(Some(("linux", "s390x"))),
        entry(Some(("windows", host))),
        entry(Some(("linux", host))),
    ];
    assert_eq!(select_platform(&entries, "x"), Ok(&entries[3]));
    assert_eq!(select_platform(&[entry(None)], "x"), Ok(&entry(None)));
    let error = select_platform(&entries[..3], "app:1").expect_err("no match");
    let text = error.to_string();
    assert!(text.contains(&format!("windows/{host}")) && text.contains("linux/s390x"), "{text}");
    assert!(!text.contains("unknown"), "{text}");
}
