//! What a caller can ask of a runtime and of a box. Plain data: checked in `validate`, used elsewhere.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use boxlite_proto::shim::DiskCache;

use crate::model::advanced_options::AdvancedBoxOptions;
pub use crate::model::registry::{ImageRegistry, ImageRegistryAuth, RegistryTransport};

/// Options of a runtime that every caller knows; all others are set through
/// [`BoxliteRuntime::builder`](crate::BoxliteRuntime::builder).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct BoxliteOptions {
    /// Directory that holds everything this runtime keeps.
    pub home_dir: PathBuf,
    /// Registries with settings of their own; others are reached over TLS without credentials.
    pub image_registries: Vec<ImageRegistry>,
}

impl Default for BoxliteOptions {
    /// Home is `$BOXLITE_HOME`, else `~/.boxlite`.
    fn default() -> Self {
        Self { home_dir: crate::layout::default_home(), image_registries: Vec::new() }
    }
}

/// Which virtual machine monitor runs a box. Chosen anew at each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// libkrun where KVM runs guests at hardware speed, else QEMU with software emulation.
    #[default]
    Auto,
    /// libkrun, or an error that says why it can't run.
    Krun,
    /// QEMU, on KVM where that can be used.
    Qemu,
}

impl Engine {
    /// The engine of this name: `auto`, `krun` or `qemu`.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "krun" => Some(Self::Krun),
            "qemu" => Some(Self::Qemu),
            _ => None,
        }
    }
}

/// Where a box's root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootfsSpec {
    /// An image: a registry reference, `oci:DIR[:TAG]`, `oci-archive:FILE` or `docker-archive:FILE`.
    Image(String),
    /// A directory on the host; its content is packed, the box never sees later changes.
    RootfsPath(String),
}

impl Default for RootfsSpec {
    fn default() -> Self {
        Self::Image("alpine:latest".to_owned())
    }
}

/// A host directory or file made visible in the box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Path on the host.
    pub host_path: String,
    /// Absolute path in the box.
    pub guest_path: String,
    /// Whether the box may write.
    pub read_only: bool,
}

/// Transport protocol of a published port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the box published on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Port on the host; `None` = any free one.
    pub host_port: Option<u16>,
    /// Port in the box.
    pub guest_port: u16,
    /// Transport protocol.
    #[serde(default)]
    pub protocol: PortProtocol,
    /// Address on the host; `None` = loopback.
    pub host_ip: Option<String>,
}

/// What network a box gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkSpec {
    /// A network interface; a non-empty list names all that may be reached.
    Enabled {
        /// Names, addresses, CIDR ranges.
        #[serde(default)]
        allow_net: Vec<String>,
    },
    /// No network interface.
    Disabled,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self::Enabled { allow_net: Vec::new() }
    }
}

/// A value that the box uses by placeholder and never sees. `Debug` and `Display` never show the value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Hosts it may be sent to.
    pub hosts: Vec<String>,
    /// What stands for it in the box.
    pub placeholder: String,
    /// The value.
    pub value: String,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("name", &self.name)
            .field("hosts", &self.hosts)
            .field("placeholder", &self.placeholder)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (for {})", self.name, self.hosts.join(", "))
    }
}

/// What a box is made of. Built by struct update over `Default`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BoxOptions {
    /// vCPUs; default 1.
    pub cpus: Option<u8>,
    /// Memory in MiB; default 512.
    pub memory_mib: Option<u32>,
    /// Size of the writable disk in GiB; default 10.
    pub disk_size_gb: Option<u64>,
    /// What an `fsync` in the box comes to; default [`DiskCache::Writeback`].
    #[serde(default)]
    pub disk_cache: DiskCache,
    /// Default working directory of commands; default the image's.
    pub working_dir: Option<String>,
    /// Environment of every command, over the image's.
    pub env: Vec<(String, String)>,
    /// Where the root file system comes from.
    pub rootfs: RootfsSpec,
    /// Host directories made visible.
    pub volumes: Vec<VolumeSpec>,
    /// Network.
    pub network: NetworkSpec,
    /// Published ports.
    pub ports: Vec<PortSpec>,
    /// Remove the box when it is stopped or its runtime goes; default true.
    pub auto_remove: bool,
    /// Outlive the runtime; default false.
    pub detach: bool,
    /// Rarely needed settings.
    pub advanced: AdvancedBoxOptions,
    /// Main command, over the image's `Entrypoint`.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments of the main command, over the image's `Cmd`.
    pub cmd: Option<Vec<String>>,
    /// Default user of commands: `name`, `uid`, `uid:gid` or `name:group`; default the image's.
    pub user: Option<String>,
    /// Values used by placeholder.
    pub secrets: Vec<Secret>,
    /// Labels, for the caller's own use.
    pub labels: HashMap<String, String>,
    /// Which engine runs it; default the runtime's.
    pub engine: Option<Engine>,
    /// How long it may run after a start before it is stopped, also when it is detached; default: as long as it likes.
    pub max_lifetime: Option<Duration>,
    /// How long it may run without a command or an open stream of one before it is stopped, also when it is detached;
    /// default: as long as it likes.
    pub idle_timeout: Option<Duration>,
    /// How many processes there may be in it; default: what the agent allows.
    pub pids_max: Option<u32>,
    /// Thousandths of one CPU that all its commands together may use, 10 to 256,000 (less counts as 10); default and 0: what its
    /// vCPUs give.
    pub cpu_millis: Option<u32>,
    /// How many files each process of a command may have open, soft and hard (`RLIMIT_NOFILE`); default: 1024, and 1,048,576
    /// for those who ask. A command's own limit counts where it is lower.
    pub max_open_files: Option<u32>,
}

impl Default for BoxOptions {
    fn default() -> Self {
        Self {
            cpus: None,
            memory_mib: None,
            disk_size_gb: None,
            disk_cache: DiskCache::default(),
            working_dir: None,
            env: Vec::new(),
            rootfs: RootfsSpec::default(),
            volumes: Vec::new(),
            network: NetworkSpec::default(),
            ports: Vec::new(),
            auto_remove: true,
            detach: false,
            advanced: AdvancedBoxOptions::default(),
            entrypoint: None,
            cmd: None,
            user: None,
            secrets: Vec::new(),
            labels: HashMap::new(),
            engine: None,
            max_lifetime: None,
            idle_timeout: None,
            pids_max: None,
            cpu_millis: None,
            max_open_files: None,
        }
    }
}
