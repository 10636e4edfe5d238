//! Where things lie in a home. Paths only: nothing here reads or writes, except that [`Layout::prepare`] makes the
//! top directories.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use boxlite_proto::shim::files;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::model::id::BoxID;

/// `$BOXLITE_HOME`, else `~/.boxlite`, else `.boxlite` in the working directory.
pub(crate) fn default_home() -> PathBuf {
    if let Some(home) = std::env::var_os("BOXLITE_HOME").filter(|home| !home.is_empty()) {
        return PathBuf::from(home);
    }
    std::env::home_dir().unwrap_or_default().join(".boxlite")
}

/// The paths of one home.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    home: PathBuf,
}

impl Layout {
    /// Makes the home and its top directories where missing. `images`, `bases`, `templates` and `tmp` may be symbolic links.
    pub(crate) fn prepare(home: &Path) -> BoxliteResult<Self> {
        if home.as_os_str().is_empty() {
            return Err(BoxliteError::Config(
                Detail::new("the home directory is empty")
                    .subject("home_dir")
                    .hint("set home_dir to a directory"),
            ));
        }
        let fail = |path: &Path, error: &std::io::Error| {
            let error_of_home = BoxliteError::io("use the home directory: cannot make", path, error);
            match error.raw_os_error() {
                Some(libc::ENOTDIR | libc::EEXIST) => error_of_home.with_hint(
                    "the home must be a directory: remove the file in its place or choose another",
                ),
                _ => error_of_home,
            }
        };
        make_dir(home).map_err(|error| fail(home, &error))?;
        let home = fs::canonicalize(home).map_err(|error| fail(home, &error))?;
        let layout = Self { home };
        for name in ["db", "boxes", "spares", "images", "bases", "templates", "tmp", "locks"] {
            let dir = layout.home.join(name);
            make_dir(&dir).map_err(|error| fail(&dir, &error))?;
        }
        Ok(layout)
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// `path` as seen from the home, where it lies in it: what is stored so survives a move of the home.
    pub(crate) fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.home).unwrap_or(path).to_owned()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.home.join("db/boxlite.db")
    }

    pub(crate) fn boxes(&self) -> PathBuf {
        self.home.join("boxes")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.home.join("images")
    }

    pub(crate) fn bases(&self) -> PathBuf {
        self.home.join("bases")
    }

    pub(crate) fn templates(&self) -> PathBuf {
        self.home.join("templates")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.home.join("tmp")
    }

    /// What was measured of the host, for the boot it was measured in.
    pub(crate) fn tsc_rate(&self) -> PathBuf {
        self.home.join("db/tsc-khz")
    }

    /// What the probe of KVM found, for the boot, kernel and device it looked at.
    pub(crate) fn kvm_report(&self) -> PathBuf {
        self.home.join("db/kvm-report")
    }

    /// The locks that serialise boxes' transitions between processes.
    pub(crate) fn locks(&self) -> PathBuf {
        self.home.join("locks")
    }

    /// Boxes that were made ahead; as deep in the home as `boxes`.
    pub(crate) fn spares(&self) -> PathBuf {
        self.home.join("spares")
    }

    /// The paths of one box that was made ahead.
    pub(crate) fn of_spare(&self, id: &BoxID) -> BoxLayout {
        BoxLayout { dir: self.spares().join(id.as_str()) }
    }

    /// The paths of one box.
    pub(crate) fn of_box(&self, id: &BoxID) -> BoxLayout {
        BoxLayout { dir: self.boxes().join(id.as_str()) }
    }
}

/// The paths of one box.
#[derive(Clone, Debug)]
pub(crate) struct BoxLayout {
    dir: PathBuf,
}

impl BoxLayout {
    /// A path stored relative to the home, as seen from this box's directory.
    pub(crate) fn from_here(stored: &Path) -> PathBuf {
        if stored.is_absolute() { stored.to_owned() } else { Path::new("../..").join(stored) }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.dir.join(files::PID)
    }

    /// Locked by the shim while it lives.
    pub(crate) fn shim_lock(&self) -> PathBuf {
        self.dir.join(files::LOCK)
    }

    /// What the box's row can be made anew from.
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.join("box.json")
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.dir.join(files::AGENT_SOCKET)
    }

    /// What copies go by.
    pub(crate) fn transfer_disk(&self) -> PathBuf {
        self.dir.join(files::TRANSFER)
    }

    /// What the shim makes of files, and has there while the box runs only.
    pub(crate) fn run_files(&self) -> [PathBuf; 3] {
        [self.pid_file(), self.agent_socket(), self.transfer_disk()]
    }

    pub(crate) fn exit(&self) -> PathBuf {
        self.dir.join(files::EXIT)
    }

    pub(crate) fn exit_previous(&self) -> PathBuf {
        self.dir.join(files::EXIT_PREVIOUS)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join(files::LOGS)
    }

    pub(crate) fn box_disk(&self) -> PathBuf {
        self.dir.join(files::BOX_DISK)
    }
}

/// What a file of a box is called until it is whole. The shim calls its own so, too.
pub(crate) fn draft_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Makes a directory that only its owner may enter; one that is there (or a link to one) is fine.
pub(crate) fn make_dir(path: &Path) -> std::io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(_) if path.is_dir() => Ok(()),
        other => other,
    }
}
