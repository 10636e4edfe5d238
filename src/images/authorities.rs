//! Certificate authorities that are trusted beside the system's.
//!
//! Owns reading them from PEM files. What the system trusts is the TLS client's own business.

use std::path::{Path, PathBuf};

use oci_client::client::{Certificate, CertificateEncoding};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// The certificates, each known to be one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads all certificates of all `files`; one without any is refused. Blocking, but short.
    pub(crate) fn read(files: &[PathBuf]) -> BoxliteResult<Self> {
        let mut all = Vec::new();
        for file in files {
            all.extend(certificates(file)?);
        }
        Ok(Self(all))
    }

    /// As the registry client takes them.
    pub(super) fn for_client(&self) -> Vec<Certificate> {
        let one = |der: &CertificateDer<'_>| Certificate {
            encoding: CertificateEncoding::Der,
            data: der.as_ref().to_vec(),
        };
        self.0.iter().map(one).collect()
    }

    /// As a plain HTTP client takes them. What was read here is known to be certificates.
    pub(super) fn for_http(&self) -> Vec<reqwest::Certificate> {
        self.0.iter().filter_map(|der| reqwest::Certificate::from_der(der).ok()).collect()
    }
}

fn certificates(file: &Path) -> BoxliteResult<Vec<CertificateDer<'static>>> {
    let pem = std::fs::read(file).map_err(|error| {
        let what = format!("the CA file {} can't be read: {error}", file.display());
        refused(file, Detail::new(what).errno(error.raw_os_error().unwrap_or(0)))
    })?;
    let broken = |why: String| {
        refused(file, Detail::new(format!("the CA file {} holds a bad certificate: {why}", file.display())))
    };
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| broken(error.to_string()))?;
        // Tried here, where the file can still be named.
        RootCertStore::empty().add(certificate.clone()).map_err(|error| broken(error.to_string()))?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(refused(file, Detail::new(format!("the CA file {} has no certificate", file.display()))));
    }
    Ok(found)
}

fn refused(file: &Path, detail: Detail) -> BoxliteError {
    BoxliteError::Config(
        detail
            .subject(file.display().to_string())
            .hint("name a PEM file with -----BEGIN CERTIFICATE----- blocks"),
    )
}

#[cfg(test)]
#[path = "tests/authorities.rs"]
mod tests;
