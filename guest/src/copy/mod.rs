//! The agent's program as a process of the box that copies: archives in and out, and a file's bytes.
//!
//! Owns the arguments (`boxlite_proto::copy`). It sees what every process of the box sees, and what it makes gets the owner
//! that the agent names. Shares nothing with the running agent but the binary.

mod incoming;
mod lane;
mod outgoing;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use boxlite_archive::direct::Aligned;
use boxlite_archive::{CopyError, PackOptions, Place, UnpackOptions, pack, unpack};
use boxlite_proto::transfer::SLOT_BYTES;
use boxlite_proto::{copy, transfer};

use incoming::Incoming;
use lane::Lane;
use outgoing::Outgoing;

/// Of a file that is only read, in memory at a time.
const CHUNK: usize = 256 * 1024;

/// The program.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<Vec<u8>> = std::env::args_os().skip(1).map(OsString::into_vec).collect();
    let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a reader nobody wants to know.
            let _ = io::stderr().write_all(&error.encode());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&[u8]]) -> Result<(), CopyError> {
    let has = |options: &[u8], option: char| options.contains(&(option as u8));
    match *arguments {
        [lane, what, path, name, options] if what == copy::IN.as_bytes() => {
            let include_parent = !has(options, copy::CONTENT);
            let place = Place::Named { destination: path, source_name: name, include_parent };
            take(lane, place, options)
        }
        [lane, what, path, options] if what == copy::IN_TAR.as_bytes() => {
            take(lane, Place::Directory(path), options)
        }
        [lane, what, path, root, options] if what == copy::OUT.as_bytes() => {
            let options = PackOptions {
                follow_symlinks: has(options, copy::FOLLOW),
                no_directories: has(options, copy::NO_DIRECTORIES),
                names_only: has(options, copy::DRY_RUN),
                direct: (lane != copy::NO_LANE.as_bytes()).then_some(SLOT_BYTES as usize),
            };
            give(lane, |out| pack(path, root, out, options).map(drop))
        }
        [lane, what, path, limit] if what == copy::READ.as_bytes() => {
            let limit = std::str::from_utf8(limit).ok().and_then(|limit| limit.parse().ok());
            give(lane, |out| read(path, limit.unwrap_or(0), out))
        }
        _ => Err(CopyError::refused(b"", "is no copy: library and agent are of different builds")),
    }
}

/// What the host takes.
fn give(lane: &[u8], make: impl FnOnce(&mut Outgoing) -> Result<(), CopyError>) -> Result<(), CopyError> {
    let (mut stream, answers) = (standard(io::stdout().as_fd())?, standard(io::stdin().as_fd())?);
    let lane = open_lane(lane, &mut stream)?;
    let mut out = Outgoing::new(stream, answers, lane);
    make(&mut out)?;
    out.end().map_err(CopyError::stream)
}

/// What the host gives.
fn take(lane: &[u8], place: Place<'_>, options: &[u8]) -> Result<(), CopyError> {
    let has = |option: char| options.contains(&(option as u8));
    let options = UnpackOptions {
        no_overwrite: has(copy::NO_OVERWRITE),
        dry_run: has(copy::DRY_RUN),
        owner: owner(),
        keep_set_id: true,
        through_links: true,
        direct: lane != copy::NO_LANE.as_bytes(),
    };
    let (stream, mut answers) = (standard(io::stdin().as_fd())?, standard(io::stdout().as_fd())?);
    let lane = open_lane(lane, &mut answers)?;
    unpack(Incoming::new(stream, answers, lane), place, options).map(drop)
}

/// The lane that the arguments name, if any; where they do, the host is told whether it can be used.
fn open_lane(name: &[u8], stdout: &mut File) -> Result<Option<Lane>, CopyError> {
    if name == copy::NO_LANE.as_bytes() {
        return Ok(None);
    }
    let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
    let lane = number.map_or(Ok(None), Lane::open).map_err(CopyError::stream)?;
    let word = if lane.is_some() { transfer::LOCKED } else { transfer::NO_LANE };
    stdout.write_all(&[word]).map_err(CopyError::stream)?;
    Ok(lane)
}

/// A standard stream without the buffers that are made for text.
fn standard(standard: BorrowedFd<'_>) -> Result<File, CopyError> {
    standard.try_clone_to_owned().map(File::from).map_err(CopyError::stream)
}

/// What the agent says; root's, should it say nothing.
fn owner() -> Option<(u32, u32)> {
    let owner = std::env::var(copy::OWNER).ok()?;
    let (uid, gid) = owner.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

fn read(path: &[u8], limit: u64, out: &mut Outgoing) -> Result<(), CopyError> {
    let shown = path;
    let failed = |error| CopyError::path("read", shown, error);
    // Not waiting for a FIFO.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(OsString::from_vec(path.to_vec()))
        .map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(CopyError::refused(path, "is no regular file"));
    }
    let too_large = || CopyError::TooLarge { path: path.to_vec(), limit };
    if found.len() > limit {
        return Err(too_large());
    }
    // The kernel's own files have no size before they are read, and others may grow.
    let mut file = file.take(limit.saturating_add(1));
    let mut buffer = Aligned::new(CHUNK);
    let mut total = 0;
    loop {
        let length = match file.read(buffer.bytes_mut()) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(failed)?,
        };
        out.write_all(&buffer.bytes()[..length]).map_err(CopyError::stream)?;
        total += length as u64;
    }
    if total > limit { Err(too_large()) } else { Ok(()) }
}
