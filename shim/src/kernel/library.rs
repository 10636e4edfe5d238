//! libkrunfw as a loaded library: checked as a file first, then opened, then asked for its kernel.
//!
//! Holds all of the maker's `unsafe`. Never writes anything.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;

use super::KernelError;
use super::elf::KernelImage;

/// The ELF machine number of the CPU this was built for; other CPUs have no PVH kernel and match no library.
const MACHINE: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 0 };
const PT_LOAD: u32 = 1;

/// The addresses a library takes up in memory, relative to its base: one range per PT_LOAD, as far as file bytes go.
#[derive(Debug)]
pub(super) struct Segments(Vec<Range<u64>>);

/// Enough of a library's beginning to hold its headers.
const HEADERS: u64 = 64 * 1024;

/// What [`check_library`] does, reading no more of the file than it needs.
pub(crate) fn check_file(path: &Path) -> Result<(), KernelError> {
    let read = |source| unreadable(path, source);
    let file = File::open(path).map_err(read)?;
    let total = file.metadata().map_err(read)?.len();
    let mut headers = Vec::new();
    file.take(HEADERS).read_to_end(&mut headers).map_err(read)?;
    check_library(path, &headers, total).map(drop)
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> KernelError {
    match source.kind() {
        io::ErrorKind::NotFound => KernelError::Missing { path: path.into() },
        _ => KernelError::Read { path: path.into(), source },
    }
}

/// Refuses what the dynamic loader would only refuse by a fault: another CPU, and a file shorter than its segments.
/// `bytes` are the beginning of a file of `total` bytes.
pub(super) fn check_library(path: &Path, bytes: &[u8], total: u64) -> Result<Segments, KernelError> {
    let not_elf = || KernelError::NotElf { path: path.into() };
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return Err(not_elf());
    }
    let cut = |needed: u64| KernelError::Truncated { path: path.into(), bytes: total, needed };
    let machine = u16::from_le_bytes(field(bytes, 18).ok_or_else(|| cut(64))?);
    if machine != MACHINE {
        return Err(KernelError::WrongMachine { path: path.into(), machine, expected: MACHINE });
    }
    let headers = u64::from_le_bytes(field(bytes, 32).ok_or_else(|| cut(64))?);
    let size = u64::from(u16::from_le_bytes(field(bytes, 54).ok_or_else(|| cut(64))?));
    let count = u64::from(u16::from_le_bytes(field(bytes, 56).ok_or_else(|| cut(64))?));

    let mut segments = Vec::new();
    for index in 0..count {
        let at = headers.checked_add(index * size).ok_or_else(not_elf)?;
        let end = at.checked_add(size.max(56)).ok_or_else(not_elf)?;
        let header = slice(bytes, at..end).ok_or_else(|| cut(end))?;
        let word = |offset| field(header, offset).map(u64::from_le_bytes).ok_or_else(not_elf);
        if field(header, 0).map(u32::from_le_bytes) != Some(PT_LOAD) {
            continue;
        }
        let (offset, address, file_bytes) = (word(8)?, word(16)?, word(32)?);
        let file_end = offset.checked_add(file_bytes).ok_or_else(not_elf)?;
        if file_end > total {
            return Err(cut(file_end));
        }
        segments.push(address..address.checked_add(file_bytes).ok_or_else(not_elf)?);
    }
    // The section headers close the file; a cut that spares the segments is still a cut.
    let sections = u64::from_le_bytes(field(bytes, 40).ok_or_else(|| cut(64))?);
    let section_size = u64::from(u16::from_le_bytes(field(bytes, 58).ok_or_else(|| cut(64))?));
    let section_count = u64::from(u16::from_le_bytes(field(bytes, 60).ok_or_else(|| cut(64))?));
    let file_end = sections.checked_add(section_size * section_count).ok_or_else(not_elf)?;
    if file_end > total {
        return Err(cut(file_end));
    }
    if segments.is_empty() { Err(not_elf()) } else { Ok(Segments(segments)) }
}

fn slice(bytes: &[u8], range: Range<u64>) -> Option<&[u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// `char *krunfw_get_kernel(uint64_t *load_addr, uint64_t *entry_addr, size_t *size)`
type GetKernel = unsafe extern "C" fn(*mut u64, *mut u64, *mut usize) -> *mut c_char;

/// An open libkrunfw; closed at drop.
pub(crate) struct KrunFw(NonNull<c_void>);

impl KrunFw {
    pub(crate) fn open(path: &Path) -> Result<Self, KernelError> {
        // An absolute path keeps the loader from searching its own directories.
        let absolute =
            path.canonicalize().map_err(|source| KernelError::Read { path: path.into(), source })?;
        let name = CString::new(absolute.as_os_str().as_bytes())
            .map_err(|error| KernelError::Load { path: path.into(), reason: error.to_string() })?;
        // SAFETY: `name` is NUL-terminated and outlives the call. The file's segments were found complete, so mapping
        // it cannot fault; its initialisers are those of the firmware library that every libkrun program loads.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        NonNull::new(handle)
            .map(Self)
            .ok_or_else(|| KernelError::Load { path: path.into(), reason: loader_message() })
    }

    /// Whether this process's next caller who opens a library called `soname` gets this one.
    pub(crate) fn is_known_as(&self, soname: &CStr) -> bool {
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NOLOAD;
        // SAFETY: `soname` is NUL-terminated and outlives the call, which loads nothing.
        let handle = unsafe { libc::dlopen(soname.as_ptr(), flags) };
        if !handle.is_null() {
            // SAFETY: gives back the reference that the call above has just taken.
            unsafe { libc::dlclose(handle) };
        }
        handle == self.0.as_ptr()
    }

    /// The kernel, which lies in the library's own memory and so lives as long as `self`.
    pub(super) fn kernel(&self, path: &Path, segments: &Segments) -> Result<KernelImage<'_>, KernelError> {
        // SAFETY: the handle is open, and the name is NUL-terminated.
        let symbol = unsafe { libc::dlsym(self.0.as_ptr(), c"krunfw_get_kernel".as_ptr()) };
        if symbol.is_null() {
            return Err(KernelError::NotKrunFw { path: path.into() });
        }
        // SAFETY: libkrunfw 5 (the ABI in its soname) declares the function with this signature.
        let get_kernel = unsafe { std::mem::transmute::<*mut c_void, GetKernel>(symbol) };
        let (mut load_address, mut entry, mut bytes) = (0_u64, 0_u64, 0_usize);
        // SAFETY: the three pointers are to live, aligned variables of the declared types.
        let start = unsafe { get_kernel(&mut load_address, &mut entry, &mut bytes) };

        let within = |base: u64| {
            let first = (start as u64).checked_sub(base)?;
            let last = first.checked_add(bytes as u64)?;
            segments.0.iter().find(|segment| segment.start <= first && last <= segment.end)
        };
        if start.is_null() || base_of(symbol).and_then(within).is_none() {
            return Err(KernelError::BadRange { path: path.into() });
        }
        // SAFETY: the range was just found inside one mapped, file-backed segment of the open library; nobody writes
        // to it, and the borrow of `self` keeps the library open.
        let image = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), bytes) };
        Ok(KernelImage { image, load_address, entry })
    }
}

impl Drop for KrunFw {
    fn drop(&mut self) {
        // SAFETY: the handle came from dlopen and is closed once; no borrow of the library's memory outlives `self`.
        unsafe { libc::dlclose(self.0.as_ptr()) };
    }
}

/// The address at which the library that holds `symbol` is mapped.
fn base_of(symbol: *mut c_void) -> Option<u64> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `info` is writable and large enough; dladdr only looks the address up.
    let found = unsafe { libc::dladdr(symbol, info.as_mut_ptr()) };
    if found == 0 {
        return None;
    }
    // SAFETY: all-zero is a valid Dl_info (null pointers), and a successful dladdr filled it in.
    Some(unsafe { info.assume_init() }.dli_fbase as u64)
}

/// The dynamic loader's own words about its last failure on this thread.
fn loader_message() -> String {
    // SAFETY: dlerror has no preconditions.
    let message = unsafe { libc::dlerror() };
    if message.is_null() {
        return "the dynamic loader gives no reason".to_owned();
    }
    // SAFETY: a non-null result is a NUL-terminated string, valid until this thread's next dl* call.
    unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned()
}
