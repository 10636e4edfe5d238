//! OCI image layouts made of bytes given by a test, right ones and deliberately wrong ones.
//!
//! Owns writing blobs, configs, manifests and the index; reads nothing back.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Media type of an OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// A bare tar.
    Tar,
    /// In gzip.
    Gzip,
    /// In zstd.
    Zstd,
}

impl Packing {
    /// The layer media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    fn pack(self, tar: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Tar => Ok(tar.to_vec()),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(tar)?;
                encoder.finish()
            }
            Self::Zstd => zstd::encode_all(tar, 1),
        }
    }
}

/// A blob in a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

impl Blob {
    /// The blob as manifests and indexes describe it.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.size })
    }
}

/// `sha256:…` of `content`.
pub fn digest_of(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// A tar of regular files, mode 0644, owned by root.
///
/// # Errors
/// When a name does not fit into a tar.
pub fn tar_of(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, name, *content)?;
    }
    builder.into_inner()
}

/// The CPU of this machine in the words of image configs.
pub fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An OCI layout directory being written.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Starts a layout in `dir`, which is made.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a blob.
    pub fn path_of(&self, digest: &str) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
    }

    /// Adds a blob.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn blob(&self, media_type: &str, content: &[u8]) -> io::Result<Blob> {
        let digest = digest_of(content);
        fs::write(self.path_of(&digest), content)?;
        Ok(Blob { digest, size: content.len() as u64, media_type: media_type.into() })
    }

    /// Adds an image of these layers (tars) for this machine; returns its manifest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn image(&self, layers: &[(&[u8], Packing)]) -> io::Result<Blob> {
        let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| digest_of(tar)).collect();
        let config = json!({
            "architecture": host_architecture(), "os": "linux",
            "config": { "Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/bin/sh"], "WorkingDir": "/srv" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(CONFIG, config.to_string().as_bytes())?;
        let layers = layers
            .iter()
            .map(|(tar, packing)| self.blob(packing.media_type(), &packing.pack(tar)?))
            .collect::<io::Result<Vec<_>>>()?;
        self.manifest(&config, &layers)
    }

    /// Adds a manifest of blobs already there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn manifest(&self, config: &Blob, layers: &[Blob]) -> io::Result<Blob> {
        let layers: Vec<Value> = layers.iter().map(Blob::descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": layers,
        });
        self.blob(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Adds an index of manifests by `(os, architecture)`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn index(&self, manifests: &[(&str, &str, &Blob)]) -> io::Result<Blob> {
        let entries: Vec<Value> = manifests
            .iter()
            .map(|(os, architecture, blob)| {
                let mut entry = blob.descriptor();
                entry["platform"] = json!({ "os": os, "architecture": architecture });
                entry
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        self.blob(INDEX, index.to_string().as_bytes())
    }

    /// Writes the layout's index: these tags and no others.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tags(&self, tags: &[(&str, &Blob)]) -> io::Result<()> {
        let entries: Vec<Value> = tags
            .iter()
            .map(|(tag, blob)| {
                let mut entry = blob.descriptor();
                entry["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
                entry
            })
            .collect();
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        fs::write(self.dir.join("index.json"), index.to_string())
    }
}
