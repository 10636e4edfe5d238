//! Options of a box, collected.
//!
//! Owns a copy of all that was set, in the bytes it was set in. Whether it makes sense is found out at create.

use std::ffi::{OsStr, OsString, c_char};

use super::argument::{Out, builder, bytes, free, not_empty, number, refused, text, variable};
use super::engine::engine_of;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use crate::litebox::spec::{MOST_DISK_GB, RawBoxExtras};
use crate::model::options::{BoxOptions, DiskCache, RootfsSpec};

/// Disk cache: an fsync in the box reaches the host's disk. The default.
///
/// @ingroup box_options
pub const BOXLITE_DISK_CACHE_WRITEBACK: i32 = 0;
/// Disk cache: an fsync in the box ends in the host's memory. Faster, for boxes whose data can be made again.
///
/// @ingroup box_options
pub const BOXLITE_DISK_CACHE_UNSAFE: i32 = 1;

/// Options of a box. A builder: used by one thread at a time, copied by boxlite_create(), and usable for any number of
/// boxes, also in a forked child.
///
/// @ingroup box_options
pub struct boxlite_box_options {
    pub(super) options: BoxOptions,
    env: Vec<(String, OsString)>,
    working_dir: Option<OsString>,
    rootfs_path: Option<OsString>,
}

impl boxlite_box_options {
    /// Nothing set. A box made through C is kept when it stops: its program expects to find its data again.
    pub(super) fn unset() -> Self {
        Self {
            options: BoxOptions { auto_remove: false, ..BoxOptions::default() },
            env: Vec::new(),
            working_dir: None,
            rootfs_path: None,
        }
    }

    /// As the Rust API has it: what is UTF-8 in the options, what is not in the extras.
    pub(super) fn split(&self) -> (BoxOptions, RawBoxExtras) {
        let mut options = self.options.clone();
        let mut extras = RawBoxExtras::default();
        for (name, content) in &self.env {
            match content.to_str() {
                Some(text) => options.env.push((name.clone(), text.to_owned())),
                None => extras.env.push((name.clone(), content.clone().into())),
            }
        }
        if let Some(dir) = &self.working_dir {
            match dir.to_str() {
                Some(text) => options.working_dir = Some(text.to_owned()),
                None => extras.working_dir = Some(dir.clone().into()),
            }
        }
        if let Some(path) = &self.rootfs_path {
            options.rootfs = RootfsSpec::RootfsPath(path.to_string_lossy().into_owned());
            if path.to_str().is_none() {
                extras.rootfs_path = Some(path.clone().into());
            }
        }
        (options, extras)
    }
}

/// Makes options that say nothing yet: image "alpine:latest", 1 vCPU, 512 MiB of memory, a disk of 10 GiB, the image's
/// user and working directory; the box is kept when it stops and stopped when its runtime ends.
///
/// On success *options are new options, which the caller frees with boxlite_box_options_free(); on failure NULL. Any
/// thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_new(
    options: *mut *mut boxlite_box_options,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(options, "options") }?;
        out.fill(boxlite_box_options::unset());
        Ok(())
    })
}

/// Sets the image: a registry reference such as "debian:12" or "host:5000/name@sha256:...", "oci:DIR[:TAG]",
/// "oci-archive:FILE" or "docker-archive:FILE". UTF-8; copied. Replaces a root file system set before.
///
/// One thread at a time; does not block and does not look for the image. Errors: BOXLITE_INVALID_ARGUMENT when
/// `options` or `image` is NULL, or `image` is not UTF-8. A malformed reference is refused by boxlite_create().
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_image(
    options: *mut boxlite_box_options,
    image: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        options.options.rootfs = RootfsSpec::Image(unsafe { text(image, "image") }?.to_owned());
        options.rootfs_path = None;
        Ok(())
    })
}

/// Sets a directory on the host as the root file system: it is packed when the box starts, and the box sees no later
/// change. Any bytes; copied. Replaces an image set before.
///
/// One thread at a time; does not block and does not look at the directory. Errors: BOXLITE_INVALID_ARGUMENT when
/// `options` or `path` is NULL.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_rootfs_path(
    options: *mut boxlite_box_options,
    path: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        options.rootfs_path = Some(unsafe { bytes(path, "path") }?.to_owned());
        Ok(())
    })
}

/// Sets the number of vCPUs: 1 (the default) or more.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `cpus` is not
/// within 1 to 255. More than this machine has are refused by boxlite_create().
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_cpus(
    options: *mut boxlite_box_options,
    cpus: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        options.options.cpus = Some(number(cpus.into(), 1..=u8::MAX.into(), "cpus")?);
        Ok(())
    })
}

/// Sets the memory in MiB: 64 or more, default 512.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `memory_mib` is less
/// than 1 or more than 32 bits hold. Less than 64 is refused by boxlite_create().
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_memory_mib(
    options: *mut boxlite_box_options,
    memory_mib: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        options.options.memory_mib = Some(number(memory_mib, 1..=u32::MAX.into(), "memory_mib")?);
        Ok(())
    })
}

/// Sets the size of the writable disk in GiB: 1 to 16384, default 10. Space on the host is taken as it is written to.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `disk_size_gb` is
/// not within 1 to 16384.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_disk_size_gb(
    options: *mut boxlite_box_options,
    disk_size_gb: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        options.options.disk_size_gb = Some(number(disk_size_gb, 1..=MOST_DISK_GB.into(), "disk_size_gb")?);
        Ok(())
    })
}

/// Sets what an fsync in the box comes to: BOXLITE_DISK_CACHE_WRITEBACK (the default): synced data survives the death of
/// any process and of the host; BOXLITE_DISK_CACHE_UNSAFE: of any process only, after a loss of the host's power the
/// box's disk may be damaged as a whole.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `disk_cache` is
/// none of these.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_disk_cache(
    options: *mut boxlite_box_options,
    disk_cache: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        options.options.disk_cache = match disk_cache {
            BOXLITE_DISK_CACHE_WRITEBACK => DiskCache::Writeback,
            BOXLITE_DISK_CACHE_UNSAFE => DiskCache::Unsafe,
            other => {
                return Err(refused(
                    "disk_cache",
                    format!("is {other}, which is no disk cache"),
                    "pass BOXLITE_DISK_CACHE_WRITEBACK or BOXLITE_DISK_CACHE_UNSAFE",
                ));
            }
        };
        Ok(())
    })
}

/// Sets an environment variable of every command in the box, over the image's; setting it again replaces it. The name
/// is UTF-8, the value any bytes; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL, or `name` is empty,
/// not UTF-8 or has a "=" in it.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_env(
    options: *mut boxlite_box_options,
    name: *const c_char,
    value: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let name = unsafe { variable(name, "name") }?;
        // SAFETY: the caller passes NULL or a C string.
        let content = unsafe { bytes(value, "value") }?;
        set_variable(&mut options.env, name, content);
        Ok(())
    })
}

/// Sets `name` in `env`, at its old place when it has one.
pub(super) fn set_variable(env: &mut Vec<(String, OsString)>, name: &str, content: &OsStr) {
    match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = content.to_owned(),
        None => env.push((name.to_owned(), content.to_owned())),
    }
}

/// Sets the default working directory of commands, an absolute path in the box. Any bytes; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL. A relative path is
/// refused by boxlite_create().
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_working_dir(
    options: *mut boxlite_box_options,
    path: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        options.working_dir = Some(unsafe { bytes(path, "path") }?.to_owned());
        Ok(())
    })
}

/// Sets the default user of commands: "name", "uid", "uid:gid" or "name:group". UTF-8; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `user` is not
/// UTF-8. A name that the box does not know is an error of the command.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_user(
    options: *mut boxlite_box_options,
    user: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        options.options.user = Some(unsafe { text(user, "user") }?.to_owned());
        Ok(())
    })
}

/// Whether the box and its data are removed when it stops or its runtime ends (0 = no, the default in C).
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL. Together with detach
/// it is refused by boxlite_create().
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_auto_remove(
    options: *mut boxlite_box_options,
    auto_remove: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.options.auto_remove = auto_remove != 0;
        Ok(())
    })
}

/// Whether the box goes on when its runtime ends (0 = no, the default). Any later runtime on the same home finds it
/// running.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_detach(
    options: *mut boxlite_box_options,
    detach: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.options.detach = detach != 0;
        Ok(())
    })
}

/// Sets the engine that runs the box (BOXLITE_ENGINE_...), whatever the runtime's options and $BOXLITE_ENGINE say. One
/// that cannot run here is refused when the box starts, with BOXLITE_ENGINE and the reason.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `engine` is no
/// engine.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_engine(
    options: *mut boxlite_box_options,
    engine: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.options.engine = Some(engine_of(engine)?);
        Ok(())
    })
}

/// Gives the box a label, for the caller's own use; setting it again replaces it. boxlite_list() can select by labels.
/// UTF-8; copied.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or not UTF-8, or
/// `key` is empty.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_label(
    options: *mut boxlite_box_options,
    key: *const c_char,
    value: *const c_char,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        // SAFETY: the caller passes NULL or a C string.
        let key = unsafe { text(key, "key") }?;
        not_empty(key, "key", "give the label a key")?;
        // SAFETY: the caller passes NULL or a C string.
        let content = unsafe { text(value, "value") }?;
        options.options.labels.insert(key.to_owned(), content.to_owned());
        Ok(())
    })
}

/// Frees options; boxes made with them are not affected. Does nothing when `options` is NULL. Any thread; does not
/// block.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_free(options: *mut boxlite_box_options) {
    // SAFETY: the caller passes NULL or options it has not freed yet.
    value((), || unsafe { free(options) });
}
