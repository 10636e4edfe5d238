//! libkrun's C API with Rust's types: one machine, described step by step and then entered.
//!
//! Holds all of the engine's calls into libkrun. Knows nothing of boxes.

use std::convert::Infallible;
use std::ffi::{CString, NulError, c_char};
use std::path::Path;
use std::ptr;

use super::sys;

/// Tag of the file system that libkrun's kernel mounts as root.
const ROOT_TAG: &std::ffi::CStr = c"/dev/root";
/// Standard error, which the supervisor reads.
const LOG_TO: i32 = 2;
/// Errors only.
const LOG_LEVEL: u32 = 1;
/// Without colours.
const LOG_STYLE_NEVER: u32 = 2;
/// The environment has no say in it.
const LOG_NO_ENVIRONMENT: u32 = 1;
/// Who may do what in a root that is in memory: as on any Linux file system.
const SEMANTICS_LINUX: u32 = 0;
/// No flush is offered to the guest, so that none reaches the host.
const SYNC_NONE: u32 = 0;
/// A guest's flush is one of the host's.
const SYNC_FULL: u32 = 2;
const DIRECTORY_MODE: u32 = 0o755;
const PROGRAM_MODE: u32 = 0o755;

/// libkrun would not do something.
#[derive(Debug, thiserror::Error)]
pub(super) enum KrunError {
    #[error("libkrun cannot {what}: {source}")]
    Refused { what: String, source: std::io::Error },
    #[error("{0:?} has a NUL byte or is no UTF-8, which libkrun cannot take")]
    Text(String),
}

/// How a disk's file is laid out.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum DiskFormat {
    Raw = 0,
    Qcow2 = 1,
}

/// What a guest may do to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    ReadOnly,
    /// Write, and flush what it has written to the host's disk.
    Synced,
    /// Write; what was written reaches the host's disk when the host likes.
    Unsynced,
}

/// A machine that is being described.
pub(super) struct Context(u32);

impl Context {
    pub(super) fn new() -> Result<Self, KrunError> {
        // SAFETY: takes plain values; called once per process, before libkrun logs anything.
        let logs = unsafe { sys::krun_init_log(LOG_TO, LOG_LEVEL, LOG_STYLE_NEVER, LOG_NO_ENVIRONMENT) };
        checked(logs, || "set up its messages".into())?;
        // SAFETY: takes nothing.
        let id = unsafe { sys::krun_create_ctx() };
        let id = checked(id, || "describe a machine".into())?;
        let this = Self(id);
        // SAFETY: take the context's id.
        let answers = unsafe { [sys::krun_disable_implicit_init(id), sys::krun_disable_implicit_vsock(id)] };
        for answer in answers {
            checked(answer, || "leave out its own init and sockets".into())?;
        }
        // A vsock device that carries the ports we name and nothing else: no socket of the guest's is passed on.
        // SAFETY: takes the context's id and a set of flags.
        let vsock = unsafe { sys::krun_add_vsock(id, 0) };
        checked(vsock, || "add a vsock device".into())?;
        Ok(this)
    }

    pub(super) fn set_size(&mut self, cpus: u8, memory_mib: u32) -> Result<(), KrunError> {
        // SAFETY: takes plain values.
        let answer = unsafe { sys::krun_set_vm_config(self.0, cpus, memory_mib) };
        checked(answer, || format!("give a machine {cpus} CPUs and {memory_mib} MiB")).map(drop)
    }

    /// A root of these directories and this program, read-only and of memory alone: nothing in it is a file of the
    /// host's, so that nothing the guest does to it reaches one.
    pub(super) fn set_root_in_memory(
        &mut self,
        directories: &[&str],
        program: &str,
        bytes: Vec<u8>,
    ) -> Result<(), KrunError> {
        let tag = ROOT_TAG.as_ptr();
        // SAFETY: the tag is NUL-terminated and read during the call; no host directory and no shared window.
        let root = unsafe { sys::krun_add_virtiofs4(self.0, tag, ptr::null(), 0, true, SEMANTICS_LINUX) };
        checked(root, || "add the root".into())?;
        for directory in directories {
            let path = text(directory)?;
            // SAFETY: both strings are NUL-terminated and read during the call.
            let answer = unsafe { sys::krun_fs_add_overlay_dir(self.0, tag, path.as_ptr(), DIRECTORY_MODE) };
            checked(answer, || format!("add the directory {directory}"))?;
        }
        let path = text(program)?;
        // The machine reads the program for as long as it lives, which is the process's life.
        let bytes: &'static [u8] = Vec::leak(bytes);
        // SAFETY: the strings are NUL-terminated and read during the call; the bytes are never freed or changed.
        let answer = unsafe {
            sys::krun_fs_add_overlay_file(
                self.0,
                tag,
                path.as_ptr(),
                bytes.as_ptr(),
                bytes.len(),
                PROGRAM_MODE,
                false,
            )
        };
        checked(answer, || format!("add the program {program}")).map(drop)
    }

    /// The guest finds the disk by `id`, its serial.
    pub(super) fn add_disk(
        &mut self,
        id: &str,
        path: &Path,
        format: DiskFormat,
        access: Access,
    ) -> Result<(), KrunError> {
        let shown = path.display().to_string();
        let file = text(path.to_str().ok_or_else(|| KrunError::Text(shown.clone()))?)?;
        let id = text(id)?;
        let sync = if access == Access::Unsynced { SYNC_NONE } else { SYNC_FULL };
        // SAFETY: both strings are NUL-terminated and read during the call.
        let answer = unsafe {
            sys::krun_add_disk3(
                self.0,
                id.as_ptr(),
                file.as_ptr(),
                format as u32,
                access == Access::ReadOnly,
                false,
                sync,
            )
        };
        checked(answer, || format!("attach the disk {shown}")).map(drop)
    }

    /// Whoever in the guest connects to this port of the host is connected to the Unix socket `path`.
    pub(super) fn add_vsock_port(&mut self, port: u32, path: &str) -> Result<(), KrunError> {
        let path = text(path)?;
        // SAFETY: the string is NUL-terminated and read during the call.
        let answer = unsafe { sys::krun_add_vsock_port2(self.0, port, path.as_ptr(), false) };
        checked(answer, || format!("open the vsock port {port}")).map(drop)
    }

    /// Where the console's output goes.
    pub(super) fn set_console(&mut self, path: &str) -> Result<(), KrunError> {
        let path = text(path)?;
        // SAFETY: the string is NUL-terminated and read during the call.
        let answer = unsafe { sys::krun_set_console_output(self.0, path.as_ptr()) };
        checked(answer, || "set the console".into()).map(drop)
    }

    /// Words at the end of the kernel's command line, which is where libkrun puts its own init's environment.
    pub(super) fn add_kernel_words(&mut self, words: &[&str]) -> Result<(), KrunError> {
        let words = words.iter().map(|word| text(word)).collect::<Result<Vec<CString>, _>>()?;
        let mut list: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        // libkrun makes a slice of this many out of the list before it looks for the end.
        list.resize(LONGEST_LIST, ptr::null());
        // SAFETY: the list has as many entries as libkrun takes, is ended by a null pointer, and its strings are
        // NUL-terminated; all of it is read during the call.
        let answer = unsafe { sys::krun_set_env(self.0, list.as_ptr()) };
        checked(answer, || "take words for the kernel".into()).map(drop)
    }

    /// Runs the machine. It ends the process when the guest does.
    pub(super) fn enter(self) -> Result<Infallible, KrunError> {
        // SAFETY: takes the context's id, and is the last thing this process does.
        let answer = unsafe { sys::krun_start_enter(self.0) };
        let code = if answer < 0 { -answer } else { libc::EINVAL };
        Err(KrunError::Refused {
            what: "build the machine (its own words are above)".into(),
            source: std::io::Error::from_raw_os_error(code),
        })
    }
}

/// Entries of a list that libkrun takes for granted.
const LONGEST_LIST: usize = 4096;

fn text(text: &str) -> Result<CString, KrunError> {
    CString::new(text).map_err(|_: NulError| KrunError::Text(text.into()))
}

/// libkrun answers with a negative error number, or a value.
fn checked(answer: i32, what: impl FnOnce() -> String) -> Result<u32, KrunError> {
    u32::try_from(answer).map_err(|_| KrunError::Refused {
        what: what(),
        source: std::io::Error::from_raw_os_error(answer.saturating_neg()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_and_why() {
        let error = checked(-libc::ENOENT, || "attach the disk /x".into()).unwrap_err().to_string();
        assert!(error.contains("attach the disk /x") && error.contains("No such file"), "{error}");
        assert_eq!(checked(7, String::new).unwrap(), 7);
        assert!(text("a\0b").is_err());
    }
}
