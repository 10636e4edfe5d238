//! Makes the kernel file that QEMU boots, from the Linux image inside libkrunfw.
//!
//! Owns `boxlite-shim make-kernel LIBKRUNFW OUT`: the checks on the library, the ELF around the image, and the record
//! beside the file (`OUT` with the ending `.json`) that says which library it came from. It never boots anything and
//! never looks for the library itself.

mod elf;
pub(crate) mod library;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use elf::{pvh_entry, wrap_header};
use library::{KrunFw, check_library, unreadable};

/// What is known of a kernel file; kept beside it as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KernelInfo {
    /// SHA-256 of the library that the kernel was taken from, in hex.
    pub(crate) libkrunfw_sha256: String,
    /// Linux release, such as `6.12.91`.
    pub(crate) linux: String,
    /// Guest-physical address at which a PVH loader enters the kernel.
    pub(crate) pvh_entry: u32,
    /// Size of the kernel file in bytes.
    pub(crate) file_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KernelError {
    #[error("no libkrunfw at {}: run `make setup`, or install your distribution's libkrunfw 5", .path.display())]
    Missing { path: PathBuf },
    #[error("cannot read {}: {source}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a 64-bit little-endian ELF library: delete it and run `make setup`", .path.display())]
    NotElf { path: PathBuf },
    #[error(
        "{} is for another CPU (ELF machine {machine}, this machine needs {expected}): install the libkrunfw for this CPU",
        .path.display()
    )]
    WrongMachine { path: PathBuf, machine: u16, expected: u16 },
    #[error("{} is cut off: {bytes} bytes of at least {needed}; delete it and run `make setup`", .path.display())]
    Truncated { path: PathBuf, bytes: u64, needed: u64 },
    #[error("cannot load {}: {reason}", .path.display())]
    Load { path: PathBuf, reason: String },
    #[error("{} has no function krunfw_get_kernel: it is not libkrunfw 5", .path.display())]
    NotKrunFw { path: PathBuf },
    #[error("{} does not call itself {soname}: it is another version of libkrunfw, or another library", .path.display())]
    WrongSoname { path: PathBuf, soname: &'static str },
    #[error("{} gives a kernel outside of itself: delete it and run `make setup`", .path.display())]
    BadRange { path: PathBuf },
    #[error("the kernel in {} has no PVH entry point, so QEMU cannot boot it: use libkrunfw 5.5 or newer", .path.display())]
    NoPvhEntry { path: PathBuf },
    #[error("cannot write {}: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Runs `make-kernel LIBKRUNFW OUT`; `args` are the words after `make-kernel`.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    let [lib, out] = args else {
        eprintln!("usage: boxlite-shim make-kernel LIBKRUNFW OUT");
        return ExitCode::from(2);
    };
    match make_kernel(Path::new(lib), Path::new(out)) {
        Ok(info) => {
            println!("Linux {}, {} bytes, PVH entry {:#x}", info.linux, info.file_bytes, info.pvh_entry);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("boxlite-shim make-kernel: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the kernel of `lib` to `out`, unless it is there already, made from this very library.
pub(crate) fn make_kernel(lib: &Path, out: &Path) -> Result<KernelInfo, KernelError> {
    let bytes = fs::read(lib).map_err(|source| unreadable(lib, source))?;
    let segments = check_library(lib, &bytes, bytes.len() as u64)?;
    let hash = hex(&Sha256::digest(&bytes));
    drop(bytes);
    let record = out.with_extension("json");
    if let Some(info) = cached(&record, out, &hash) {
        return Ok(info);
    }

    let library = KrunFw::open(lib)?;
    let kernel = library.kernel(lib, &segments)?;
    let entry = pvh_entry(kernel.image, kernel.load_address)
        .ok_or_else(|| KernelError::NoPvhEntry { path: lib.into() })?;
    let header = wrap_header(&kernel, entry);
    let info = KernelInfo {
        libkrunfw_sha256: hash,
        linux: linux_release(kernel.image).unwrap_or_else(|| "unknown".to_owned()),
        pvh_entry: entry,
        file_bytes: (header.len() + kernel.image.len()) as u64,
    };
    let json = serde_json::to_vec_pretty(&info)
        .map_err(|error| KernelError::Write { path: record.clone(), source: error.into() })?;
    // Without a record the kernel file counts as absent, so an interruption between the two renames is harmless.
    match fs::remove_file(&record) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(KernelError::Write { path: record, source });
        }
        _ => {}
    }
    replace(out, &[&header, kernel.image])?;
    replace(&record, &[&json, b"\n"])?;
    Ok(info)
}

/// The record of `out`, if it describes the file that is there and names this library.
fn cached(record: &Path, out: &Path, hash: &str) -> Option<KernelInfo> {
    let info: KernelInfo = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    let bytes = fs::metadata(out).ok()?.len();
    (info.libkrunfw_sha256 == hash && info.file_bytes == bytes).then_some(info)
}

/// Writes `parts` to `path` by way of a temporary file, which is gone afterwards whatever happens short of a kill.
fn replace(path: &Path, parts: &[&[u8]]) -> Result<(), KernelError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new.{}", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = fs::File::create(&temporary)
        .and_then(|mut file| {
            for part in parts {
                file.write_all(part)?;
            }
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|source| {
        // The first failure is the one to report; there may be no temporary file to remove.
        let _ = fs::remove_file(&temporary);
        KernelError::Write { path: path.into(), source }
    })
}

/// The release in the image's banner, `Linux version 6.12.91 (...)`.
fn linux_release(image: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    const LONGEST: usize = 64;
    let start = image.windows(BANNER.len()).position(|window| window == BANNER)? + BANNER.len();
    let rest = &image[start..image.len().min(start + LONGEST)];
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let release = std::str::from_utf8(&rest[..end]).ok()?;
    release.starts_with(|first: char| first.is_ascii_digit()).then(|| release.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
