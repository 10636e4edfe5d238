//! How an output stream stood when somebody asked.

use super::argument::{field, free};
use super::guard::value;
use crate::litebox::StreamState;

/// How an output stream stands. Read-only, so any number of threads may read it.
///
/// @ingroup execution_streams
pub struct boxlite_stream_state {
    pub(super) state: StreamState,
}

/// Offset of the first byte that the descriptor taken through this handle was owed; 0 when none was taken through it, or
/// `state` is NULL. The bytes that came begin there, unless the box had to give up kept output (see
/// boxlite_command_set_stdout()): then it is where the gap begins, and first + received stays below total. Any thread;
/// does not block.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_stream_state_first(state: *const boxlite_stream_state) -> u64 {
    // SAFETY: the caller passes NULL or a live state.
    unsafe { field(state, 0, |state| state.state.first) }
}

/// How many bytes the process has written; 0 when `state` is NULL. Any thread; does not block.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_stream_state_total(state: *const boxlite_stream_state) -> u64 {
    // SAFETY: the caller passes NULL or a live state.
    unsafe { field(state, 0, |state| state.state.total) }
}

/// How many bytes were dropped because nobody took them; 0 when `state` is NULL. Any thread; does not block.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_stream_state_dropped(state: *const boxlite_stream_state) -> u64 {
    // SAFETY: the caller passes NULL or a live state.
    unsafe { field(state, 0, |state| state.state.dropped) }
}

/// 1 when somebody else has taken the stream over since it was taken through this handle: what this handle's descriptor
/// got ends there. Else, and when `state` is NULL, 0. After the box's end nobody can tell any more: 0. Any thread; does
/// not block.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_stream_state_taken_over(state: *const boxlite_stream_state) -> i32 {
    // SAFETY: the caller passes NULL or a live state.
    unsafe { field(state, 0, |state| i32::from(state.state.taken_over)) }
}

/// 1 when no process holds the stream any more, so that nothing will follow, else 0; 0 when `state` is NULL. Any
/// thread; does not block.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_stream_state_closed(state: *const boxlite_stream_state) -> i32 {
    // SAFETY: the caller passes NULL or a live state.
    unsafe { field(state, 0, |state| i32::from(state.state.closed)) }
}

/// Frees a state. Does nothing when `state` is NULL. Any thread; does not block.
///
/// @ingroup execution_streams
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_stream_state_free(state: *mut boxlite_stream_state) {
    // SAFETY: the caller passes NULL or a state it has not freed yet.
    value((), || unsafe { free(state) });
}
