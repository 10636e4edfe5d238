//! Limits of a box that are kept while it runs: how long, how idle, how many processes and open files, how much CPU time.

use std::time::Duration;

use super::argument::{builder, number, refused};
use super::box_options::boxlite_box_options;
use super::error::{boxlite_code, boxlite_error};
use super::guard::enter;
use crate::errors::BoxliteResult;
use crate::litebox::spec::MOST_CPU_MILLIS;

/// A limit in milliseconds; 0 is none.
fn limit(ms: i64, name: &'static str) -> BoxliteResult<Option<Duration>> {
    let Ok(given) = u64::try_from(ms) else {
        return Err(refused(name, format!("is negative: {ms}"), "give milliseconds, or 0 for no limit"));
    };
    Ok((given > 0).then(|| Duration::from_millis(given)))
}

/// Sets how long the box may run: so many milliseconds after a start it is stopped, as by boxlite_box_stop(), whatever it
/// does. Each start counts anew. 0 = as long as it likes, the default. Kept by the box's own process, so it holds for a
/// detached box, too; boxlite_box_end_reason() is BOXLITE_END_LIFETIME then.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `ms` is negative.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_max_lifetime_ms(
    options: *mut boxlite_box_options,
    ms: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.options.max_lifetime = limit(ms, "ms")?;
        Ok(())
    })
}

/// Sets how long the box may be idle: once no command has run in it and no stream of one was open for so many
/// milliseconds, it is stopped, as by boxlite_box_stop(). Processes that a command left in the background do not keep it.
/// 0 = as long as it likes, the default. It may take an eighth longer. Kept by the box's own process, so it holds for a
/// detached box, too; boxlite_box_end_reason() is BOXLITE_END_IDLE then.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `ms` is negative.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_idle_timeout_ms(
    options: *mut boxlite_box_options,
    ms: i64,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        unsafe { builder(options, "options") }?.options.idle_timeout = limit(ms, "ms")?;
        Ok(())
    })
}

/// Sets how many processes and threads there may be in the box, over all commands; 0 = the default. More are refused to
/// the program that would start them. For one command alone there is boxlite_command_set_limits().
///
/// Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `pids` is negative.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_pids_max(
    options: *mut boxlite_box_options,
    pids: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        let pids: u32 = number(pids.into(), 0..=i32::MAX.into(), "pids")?;
        options.options.pids_max = (pids > 0).then_some(pids);
        Ok(())
    })
}

/// Sets how much CPU time all commands of the box together may have, in thousandths of one CPU: 250 is a quarter of one,
/// 1500 one and a half. 0 = no limit besides its vCPUs, the default. Once the share of a tenth of a second is used up, they
/// stand still until the next; less than 10 counts as 10. It holds for processes in the box, not for what its machine needs
/// besides. For one command alone there is boxlite_command_set_limits(); where both say something, the lower one holds.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `millis` is not 0 to
/// 256000.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_cpu_millis(
    options: *mut boxlite_box_options,
    millis: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        let millis: u32 = number(millis.into(), 0..=MOST_CPU_MILLIS.into(), "millis")?;
        options.options.cpu_millis = (millis > 0).then_some(millis);
        Ok(())
    })
}

/// Sets how many files each process of a command may have open, descriptors of all kinds counted (RLIMIT_NOFILE, soft and
/// hard); 0 = the default: 1024, and up to 1048576 for a program that raises its own limit. It holds for all commands,
/// whatever runtime runs them; one with a limit of its own (boxlite_command_set_limits()) has the lower of both.
///
/// One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `files` is not 0 to
/// 1048576.
///
/// @ingroup box_options
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_box_options_set_max_open_files(
    options: *mut boxlite_box_options,
    files: i32,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or options that this thread alone uses.
        let options = unsafe { builder(options, "options") }?;
        let files: u32 = number(files.into(), 0..=1_048_576, "files")?;
        options.options.max_open_files = (files > 0).then_some(files);
        Ok(())
    })
}
