//! What the public API promises about processes and pid files; nothing else belongs here.

pub(crate) mod pid_file;
mod process;

pub use pid_file::{PidFileReader, PidRecord};
pub use process::{is_process_alive, process_start_time};
