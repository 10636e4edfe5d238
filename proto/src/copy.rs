//! The agent's own program that copies: what its arguments and its streams are.
//!
//! It is an execution (`ExecRequest.own_program`) like any other. Arguments: [`PROGRAM`], LANE, what to do, a path in the
//! box, options. Exit code 0 is success; else stderr holds an error as `boxlite-archive` encodes it.
//!
//! - [`IN`] PATH NAME OPTIONS: unpacks the tar archive that comes, whose one root is `.`, to PATH (the source is called NAME).
//! - [`IN_TAR`] PATH OPTIONS: unpacks any tar archive that comes into the directory PATH.
//! - [`OUT`] PATH ROOT OPTIONS: packs PATH into an archive that goes, where it is called ROOT.
//! - [`READ`] PATH LIMIT: the file's bytes go, an error when there are more than LIMIT.
//!
//! What comes does so on stdin, what goes on stdout, and each with the other for answers, as [`transfer`](crate::transfer)
//! has it. LANE is the number of the lane on the transfer disk, which is open as descriptor [`DISK`], or [`NO_LANE`].
//! OPTIONS are single letters, see the constants.

/// The program's name.
pub const PROGRAM: &str = "boxlite-copy";
/// The descriptor on which the program finds the transfer disk.
pub const DISK: i32 = 3;
/// In the place of a lane: all goes by stream.
pub const NO_LANE: &str = "-";

/// Into the box.
pub const IN: &str = "in";
/// Into the box, an archive of the caller's.
pub const IN_TAR: &str = "in-tar";
/// Out of the box.
pub const OUT: &str = "out";
/// One file's bytes.
pub const READ: &str = "read";

/// Option: what exists is an error.
pub const NO_OVERWRITE: char = 'n';
/// Option: nothing is written, only looked for what is in the way; or packed without content.
pub const DRY_RUN: char = 'd';
/// Option: a directory's content without the directory.
pub const CONTENT: char = 'c';
/// Option: what symbolic links lead to, not the links.
pub const FOLLOW: char = 'f';
/// Option: directories are refused.
pub const NO_DIRECTORIES: char = 'r';

/// The environment variable in which the agent names the owner of what is made: `uid:gid`.
pub const OWNER: &str = "BOXLITE_OWNER";
