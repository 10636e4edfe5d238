//! Struct literals and patterns as callers write them, and options read from JSON files of theirs.

use std::path::PathBuf;
use std::time::Duration;

use boxlite::runtime::advanced_options::{AdvancedBoxOptions, HealthCheckOptions};
use boxlite::runtime::options::{
    BoxliteOptions, ImageRegistry, ImageRegistryAuth, NetworkSpec, PortProtocol, PortSpec, RegistryTransport,
    Secret, VolumeSpec,
};
use boxlite::runtime::types::{BoxInfo, BoxStatus, HealthStatus, ImageInfo};
use boxlite::util::PidRecord;
use boxlite::{BoxOptions, ExecResult, HealthState, RootfsSpec};

#[test]
fn every_field_can_be_set_by_name() {
    let options = BoxOptions {
        cpus: Some(1_u8),
        memory_mib: Some(256_u32),
        disk_size_gb: Some(1_u64),
        working_dir: Some(String::from("/tmp")),
        env: vec![(String::from("KEY"), String::from("value"))],
        rootfs: RootfsSpec::RootfsPath("/srv/root".into()),
        volumes: vec![VolumeSpec { host_path: "/srv".into(), guest_path: "/mnt".into(), read_only: true }],
        network: NetworkSpec::Enabled { allow_net: vec![String::from("example.org")] },
        ports: vec![PortSpec {
            host_port: Some(8080_u16),
            guest_port: 80,
            protocol: PortProtocol::Udp,
            host_ip: Some("127.0.0.1".into()),
        }],
        auto_remove: false,
        detach: true,
        advanced: AdvancedBoxOptions {
            isolate_mounts: true,
            health_check: Some(HealthCheckOptions {
                interval: Duration::from_secs(1),
                timeout: Duration::from_secs(2),
                retries: 3_u32,
                start_period: Duration::ZERO,
            }),
            ..Default::default()
        },
        entrypoint: Some(vec![String::from("/bin/sh")]),
        cmd: Some(vec![String::from("-c")]),
        user: Some(String::from("1000:1000")),
        secrets: vec![Secret {
            name: "key".into(),
            hosts: vec!["example.org".into()],
            placeholder: "<key>".into(),
            value: "hidden".into(),
        }],
        ..Default::default()
    };
    assert!(!format!("{options:?} {}", options.secrets[0]).contains("hidden"));

    let defaults = BoxOptions::default();
    assert!(defaults.auto_remove && !defaults.detach && defaults.cpus.is_none());
    assert!(matches!(defaults.network, NetworkSpec::Enabled { allow_net } if allow_net.is_empty()));
    let _ = (
        PortSpec { guest_port: 80, ..Default::default() },
        VolumeSpec { read_only: true, ..Default::default() },
    );
    let _ = [PortProtocol::Tcp, PortProtocol::default()];
    let _ = NetworkSpec::Disabled;

    let BoxliteOptions { home_dir: _, image_registries } =
        BoxliteOptions { home_dir: PathBuf::from("/srv/home"), image_registries: vec![] };
    let _: Vec<ImageRegistry> = image_registries;
    let registry = ImageRegistry {
        host: "host:5000".into(),
        transport: RegistryTransport::Http,
        skip_verify: false,
        search: true,
        auth: ImageRegistryAuth::Basic { username: "user".into(), password: "hidden".into() },
    };
    assert!(!format!("{registry:?}").contains("hidden"));
    let _ = [ImageRegistryAuth::Anonymous, ImageRegistryAuth::Bearer { token: "t".into() }];
    let _ = RegistryTransport::Https;
}

#[test]
fn results_are_made_and_taken_apart_whole() {
    let ExecResult { exit_code, error_message } = ExecResult { exit_code: -9, error_message: None };
    let _: (i32, Option<String>) = (exit_code, error_message);
    let PidRecord { pid, start_time } = PidRecord { pid: 1, start_time: None };
    let _: (u32, Option<u64>) = (pid, start_time);
    let HealthStatus { state, failures, last_check } = HealthStatus::default();
    assert_eq!((state, failures, last_check), (HealthState::None, 0, None));
    let _ = [HealthState::Starting, HealthState::Healthy, HealthState::Unhealthy];
    let _: fn(ImageInfo) = |ImageInfo { reference, repository, tag, id, cached_at, size }| {
        let _: [String; 4] = [reference, repository, tag, id];
        let _: (chrono::DateTime<chrono::Utc>, Option<boxlite::runtime::types::Bytes>) = (cached_at, size);
    };
    let _: fn(BoxInfo) = |info| {
        let _: (boxlite::BoxID, Option<String>, BoxStatus) = (info.id, info.name, info.status);
        let _: [chrono::DateTime<chrono::Utc>; 2] = [info.created_at, info.last_updated];
        let _: (Option<u32>, String, u8, u32) = (info.pid, info.image, info.cpus, info.memory_mib);
        let _: (std::collections::HashMap<String, String>, HealthStatus) = (info.labels, info.health_status);
    };
    // Without a last arm: no status is new.
    let _: fn(BoxStatus) -> bool = |status| match status {
        BoxStatus::Unknown | BoxStatus::Configured | BoxStatus::Stopping | BoxStatus::Stopped => false,
        BoxStatus::Running | BoxStatus::Paused | BoxStatus::Failed => true,
    };
}

#[test]
fn options_are_read_from_the_json_callers_keep() {
    let options: BoxliteOptions = serde_json::from_str(
        r#"{"home_dir": "/srv/home", "image_registries": [
            {"host": "a", "search": true},
            {"host": "b", "transport": "http", "auth": {"type": "basic", "username": "u", "password": "p"}},
            {"host": "c", "skip_verify": true, "auth": {"type": "bearer", "token": "t"}}]}"#,
    )
    .expect("options");
    assert_eq!(options.home_dir, PathBuf::from("/srv/home"));
    assert_eq!(
        options.image_registries,
        [
            ImageRegistry::https("a").with_search(true),
            ImageRegistry::http("b").with_basic_auth("u", "p"),
            ImageRegistry::https("c").with_skip_verify(true).with_bearer_auth("t"),
        ]
    );
    let options: BoxOptions = serde_json::from_str(
        r#"{"rootfs": {"Image": "alpine"}, "network": {"Enabled": {}}, "advanced": {"isolate_mounts": true},
            "ports": [{"guest_port": 80, "host_port": null, "host_ip": null}]}"#,
    )
    .expect("options");
    assert!(options.auto_remove && options.advanced.isolate_mounts && options.ports[0].guest_port == 80);
}
