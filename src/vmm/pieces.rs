//! Where the programs and files are that a box needs besides this library.
//!
//! Order: the runtime option; `BOXLITE_RUNTIME_DIR`; an installation around the object that holds this code; the prefix
//! that was compiled in; the workspace that the object lies in. A missing piece is an error that names the file and the
//! places.

use std::ffi::{CStr, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use boxlite_proto::shim::libkrunfw;

use crate::errors::{BoxliteError, BoxliteResult, Detail};

/// Path of the pieces below an installation's prefix.
const LIBEXEC: &str = "libexec/boxlite";
/// Parents of the object below which an installation has its pieces: `lib/<triplet>/lib...so` is the deepest.
const PARENTS: usize = 3;
/// Parents of the object below which a workspace has its own: a test in `target/<triplet>/release/deps` is the deepest.
const WORKSPACE_PARENTS: usize = 5;
/// Where what is installed apart from its pieces finds them: set when the library is built.
const PREFIX: Option<&str> = option_env!("BOXLITE_PREFIX");

/// A file that a box needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The shim program.
    Shim,
    /// The guest's kernel, with a PVH entry.
    Kernel,
    /// The agent's root disk.
    GuestDisk,
    /// The agent itself, for libkrun.
    GuestAgent,
    /// The library that holds the guest's kernel, for libkrun.
    LibKrunFw,
}

impl Piece {
    pub(crate) const ALL: [Self; 3] = [Self::Shim, Self::Kernel, Self::GuestDisk];

    pub(crate) fn file_name(self) -> &'static str {
        match self {
            Self::Shim => "boxlite-shim",
            Self::Kernel => "kernel.elf",
            Self::GuestDisk => "guest.erofs",
            Self::GuestAgent => "boxlite-guest",
            Self::LibKrunFw => libkrunfw::NAME,
        }
    }
}

impl Piece {
    /// Where a distribution puts the piece, when it packages it.
    fn system_places(self) -> &'static [&'static str] {
        match self {
            Self::LibKrunFw => &libkrunfw::SYSTEM_PLACES,
            Self::Shim | Self::Kernel | Self::GuestDisk | Self::GuestAgent => &[],
        }
    }
}

/// Finds pieces in the places that this process's runtime may use.
#[derive(Clone, Debug)]
pub(crate) struct Finder {
    places: Vec<PathBuf>,
}

impl Finder {
    /// A finder that looks in `runtime_dir` alone when one is given, else in the usual places.
    pub(crate) fn new(runtime_dir: Option<PathBuf>) -> Self {
        if let Some(dir) = runtime_dir {
            return Self { places: vec![absolute(dir)] };
        }
        let mut places = Vec::new();
        if let Some(dir) = secure_env(c"BOXLITE_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
            places.push(absolute(dir.into()));
        }
        places.extend(around(own_object().as_deref(), PREFIX.map(Path::new)));
        Self { places }
    }

    /// The path of `piece`.
    pub(crate) fn find(&self, piece: Piece) -> BoxliteResult<PathBuf> {
        let name = piece.file_name();
        let places =
            || self.places.iter().map(PathBuf::as_path).chain(piece.system_places().iter().map(Path::new));
        places().map(|place| place.join(name)).find(|path| path.is_file()).ok_or_else(|| {
            let places: Vec<String> = places().map(|place| place.display().to_string()).collect();
            BoxliteError::Config(Detail::new(format!("{name} is missing (searched {})", places.join(", "))).subject(name).hint(
                "run `make setup build` in boxlite's source tree, install boxlite, or set BOXLITE_RUNTIME_DIR to the directory that holds it",
            ))
        })
    }
}

/// The places around the object that holds this code, and below the compiled-in prefix, in their order.
fn around(object: Option<&Path>, prefix: Option<&Path>) -> Vec<PathBuf> {
    let parents = |count| object.into_iter().flat_map(move |object| object.ancestors().skip(1).take(count));
    let installed = parents(PARENTS).map(|parent| parent.join(LIBEXEC));
    // A relative one would mean another place in each directory that a program is started in.
    let compiled_in = prefix.filter(|prefix| prefix.is_absolute()).map(|prefix| prefix.join(LIBEXEC));
    let workspace = parents(WORKSPACE_PARENTS).map(|parent| parent.join("runtime").join(LIBEXEC));
    installed.chain(compiled_in).chain(workspace).collect()
}

/// Finds the software emulator in PATH and the usual directories.
pub(crate) fn find_qemu() -> BoxliteResult<PathBuf> {
    const NAME: &str = "qemu-system-x86_64";
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/usr/local/bin".into(), "/usr/libexec".into()])
        .map(|place| place.join(NAME))
        .find(|program| program.is_file() && is_executable(program))
        .map(absolute)
        .ok_or_else(|| {
            BoxliteError::Config(
                Detail::new(format!(
                    "{NAME} is missing (searched PATH, /usr/bin, /usr/local/bin, /usr/libexec)"
                ))
                .subject(NAME)
                .hint("install QEMU 7.2 or newer (Debian: apt-get install qemu-system-x86)"),
            )
        })
}

/// The shim works in its box's directory: a path relative to this process's would lead it astray.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

unsafe extern "C" {
    /// glibc and musl: getenv(3), but NULL in a program that runs with raised privileges.
    fn secure_getenv(name: *const libc::c_char) -> *mut libc::c_char;
}

/// An environment variable, unless this program runs with raised privileges.
pub(crate) fn secure_env(name: &CStr) -> Option<OsString> {
    // SAFETY: `name` is NUL-terminated. The result, if any, is copied at once; the environment is the host's to guard,
    // as for any other reader of it.
    unsafe {
        let value = secure_getenv(name.as_ptr());
        (!value.is_null()).then(|| OsString::from_vec(CStr::from_ptr(value).to_bytes().to_vec()))
    }
}

/// The real path of the library or program that holds this code.
fn own_object() -> Option<PathBuf> {
    // SAFETY: an all-zero Dl_info is valid for dladdr to fill in.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: the address is one of our own functions; `info` is ours to write; the name it gives lives as long as the
    // object is loaded, which is as long as this code runs.
    let name = unsafe {
        if libc::dladdr(own_object as *const libc::c_void, &mut info) == 0 || info.dli_fname.is_null() {
            return None;
        }
        OsStr::from_bytes(CStr::from_ptr(info.dli_fname).to_bytes()).to_owned()
    };
    // For the main program dladdr gives argv[0], which needn't be a path.
    let path =
        if name.as_bytes().contains(&b'/') { PathBuf::from(name) } else { std::env::current_exe().ok()? };
    std::fs::canonicalize(path).or_else(|_| std::env::current_exe()).ok()
}

/// Whether `path` may be executed by this user.
pub(crate) fn is_executable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_piece_names_file_places_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let finder = Finder::new(Some(dir.path().to_owned()));
        let error = finder.find(Piece::Kernel).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("kernel.elf") && text.contains(&dir.path().display().to_string()), "{text}");
        assert!(error.hint().contains("make setup"));
        std::fs::write(dir.path().join("kernel.elf"), b"x").unwrap();
        assert_eq!(finder.find(Piece::Kernel).unwrap(), dir.path().join("kernel.elf"));
    }

    #[test]
    fn an_installation_comes_before_the_prefix_and_that_before_a_workspace() {
        let places = |object: &str, prefix: Option<&str>| -> Vec<String> {
            let places = around(Some(Path::new(object)), prefix.map(Path::new));
            places.iter().map(|place| place.display().to_string()).collect()
        };
        assert_eq!(
            places("/opt/b/lib/triplet/libboxlite.so.0", Some("/usr/local")),
            [
                "/opt/b/lib/triplet/libexec/boxlite",
                "/opt/b/lib/libexec/boxlite",
                "/opt/b/libexec/boxlite",
                "/usr/local/libexec/boxlite",
                "/opt/b/lib/triplet/runtime/libexec/boxlite",
                "/opt/b/lib/runtime/libexec/boxlite",
                "/opt/b/runtime/libexec/boxlite",
                "/opt/runtime/libexec/boxlite",
                "/runtime/libexec/boxlite",
            ]
        );
        let test = places("/src/target/x86_64/release/deps/test", Some("relative"));
        assert_eq!(test.last().map(String::as_str), Some("/src/runtime/libexec/boxlite"));
        assert_eq!(test.len(), 8);
        assert_eq!(around(None, Some(Path::new("/usr"))), [Path::new("/usr/libexec/boxlite")]);
        assert!(around(None, None).is_empty());
    }

    #[test]
    fn places_are_absolute() {
        assert!(Finder::new(Some("some/dir".into())).places[0].is_absolute());
    }

    #[test]
    fn the_test_program_finds_itself() {
        assert!(own_object().unwrap().is_file());
    }
}
