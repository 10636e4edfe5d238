//! The image config: what an image says about how it wants to be run.
//!
//! Owns reading it from JSON, tolerant of what it doesn't know; never reads files.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::manifest::host_architecture;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::digest::Digest;

/// The config of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// The CPU it is built for, in Go's words (`amd64`, `arm64`).
    pub architecture: String,
    /// The operating system, `linux`.
    pub os: String,
    /// When the image was made, if it says so.
    pub created: Option<DateTime<Utc>>,
    /// `NAME=value` pairs.
    pub env: Vec<String>,
    /// Default arguments, or the command where there is no entrypoint.
    pub cmd: Vec<String>,
    /// The command.
    pub entrypoint: Vec<String>,
    /// `user[:group]`, by name or number; empty for root.
    pub user: String,
    /// Where the command starts; empty for `/`.
    pub working_dir: String,
    /// Free-form labels.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks the command to end.
    pub stop_signal: Option<String>,
    /// Paths meant to be volumes.
    pub volumes: Vec<String>,
    /// Ports meant to be published, such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct RawConfig {
    architecture: Option<String>,
    os: Option<String>,
    created: Option<String>,
    config: Option<RawExecution>,
    rootfs: Option<RawRootfs>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawExecution {
    env: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    stop_signal: Option<String>,
    volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    exposed_ports: Option<BTreeMap<String, serde::de::IgnoredAny>>,
}

#[derive(Deserialize)]
struct RawRootfs {
    diff_ids: Option<Vec<String>>,
}

impl ImageConfig {
    /// Reads a config; `subject` (a digest or reference) is named in errors.
    pub fn parse(json: &[u8], subject: &str) -> BoxliteResult<Self> {
        let fail = |what: String| {
            BoxliteError::Image(
                Detail::new(format!("the config of image {subject} {what}"))
                    .subject(subject)
                    .hint("the image is damaged: build or push it again"),
            )
        };
        let raw: RawConfig = serde_json::from_slice(json)
            .map_err(|error| fail(format!("is not a JSON image config: {error}")))?;
        let required = |field: Option<String>, name: &str| {
            field.filter(|value| !value.is_empty()).ok_or_else(|| fail(format!("has no `{name}`")))
        };
        let rootfs = raw.rootfs.ok_or_else(|| fail("has no `rootfs`".into()))?;
        let diff_ids = rootfs
            .diff_ids
            .ok_or_else(|| fail("has no `rootfs.diff_ids`".into()))?
            .iter()
            .map(|text| {
                Digest::parse(text).map_err(|error| fail(format!("has a bad diff_id `{text}`: {error}")))
            })
            .collect::<Result<_, _>>()?;
        let execution = raw.config.unwrap_or_default();
        let created = raw.created.and_then(|text| DateTime::parse_from_rfc3339(&text).ok());
        Ok(Self {
            architecture: required(raw.architecture, "architecture")?,
            os: required(raw.os, "os")?,
            created: created.map(|time| time.with_timezone(&Utc)),
            env: execution.env.unwrap_or_default(),
            cmd: execution.cmd.unwrap_or_default(),
            entrypoint: execution.entrypoint.unwrap_or_default(),
            user: execution.user.unwrap_or_default(),
            working_dir: execution.working_dir.unwrap_or_default(),
            labels: execution.labels.unwrap_or_default(),
            stop_signal: execution.stop_signal.filter(|signal| !signal.is_empty()),
            volumes: execution.volumes.unwrap_or_default().into_keys().collect(),
            exposed_ports: execution.exposed_ports.unwrap_or_default().into_keys().collect(),
            diff_ids,
        })
    }

    /// Refuses an image that this machine's CPU cannot run.
    pub fn check_platform(&self, subject: &str) -> BoxliteResult<()> {
        let host = host_architecture();
        if self.os == "linux" && self.architecture == host {
            return Ok(());
        }
        Err(BoxliteError::Image(
            Detail::new(format!(
                "image {subject} is for {}/{}, this machine runs linux/{host}",
                self.os, self.architecture
            ))
            .subject(subject)
            .hint(format!("choose an image or a tag built for linux/{host}")),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_docker_writes_is_read_and_what_is_unknown_is_passed_over() {
        let json = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2024-05-06T07:08:09.5Z","x":[1],
               "config":{{"Env":["PATH=/bin"],"Cmd":null,"Entrypoint":["/init","-v"],"User":"1:2",
                 "WorkingDir":"/srv","Labels":{{"a":"b"}},"StopSignal":"SIGINT","Volumes":{{"/data":{{}}}},
                 "ExposedPorts":{{"80/tcp":{{}}}},"Healthcheck":{{"Test":[]}}}},
               "rootfs":{{"type":"layers","diff_ids":["{LAYER}"]}},"history":[]}}"#
        );
        let config = ImageConfig::parse(json.as_bytes(), "x").expect("a good config");
        assert_eq!(config.entrypoint, ["/init", "-v"]);
        assert!(config.cmd.is_empty());
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1:2", "/srv"));
        assert_eq!(config.volumes, ["/data"]);
        assert_eq!(config.exposed_ports, ["80/tcp"]);
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.diff_ids.len(), 1);
        assert_eq!(config.created.map(|time| time.timestamp()), Some(1_714_979_289));
    }

    #[test]
    fn a_config_that_is_no_config_is_named() {
        let diff_ids = format!(r#""rootfs":{{"diff_ids":["{LAYER}"]}}"#);
        for (json, reason) in [
            ("not JSON".to_owned(), "not a JSON image config"),
            ("[]".to_owned(), "not a JSON image config"),
            (format!(r#"{{"os":"linux",{diff_ids}}}"#), "no `architecture`"),
            (format!(r#"{{"architecture":"amd64",{diff_ids}}}"#), "no `os`"),
            (r#"{"architecture":"amd64","os":"linux"}"#.to_owned(), "no `rootfs`"),
            (
                r#"{"architecture":"a","os":"linux","rootfs":{"diff_ids":["x"]}}"#.to_owned(),
                "bad diff_id `x`",
            ),
        ] {
            let error = ImageConfig::parse(json.as_bytes(), "the-image").expect_err(&json);
            assert!(matches!(error, BoxliteError::Image(_)));
            assert!(error.to_string().contains(reason), "{error}");
            assert!(error.to_string().contains("the-image"), "{error}");
        }
    }

    #[test]
    fn an_image_for_another_cpu_is_refused() {
        let config = ImageConfig { architecture: "s390x".into(), os: "linux".into(), ..Default::default() };
        let error = config.check_platform("app").expect_err("s390x");
        assert!(error.to_string().contains("linux/s390x"), "{error}");
        let config = ImageConfig { architecture: host_architecture().into(), os: "linux".into(), ..config };
        assert_eq!(config.check_platform("app"), Ok(()));
    }
}
