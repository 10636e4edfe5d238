//! Copying into a box and out of it: files and trees, tar archives, the bytes of one file.
//!
//! Owns what callers ask for. The archive is made and read by `boxlite-archive` on both sides; how it travels, and
//! what a failure is called, is said next door.

mod errors;
mod lane;
mod receiving;
mod sending;
mod transfer;
mod wire;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use boxlite_archive::{
    CopyError, Header, PackOptions, Place, Stream, TarWriter, Timestamp, UnpackOptions, pack, unpack,
};
use boxlite_proto::copy;

use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::ProgressSink;
use crate::litebox::LiteBox;
use crate::litebox::command::nul_byte;
use transfer::{Amount, Job};

/// How to copy. By default directories are copied with all they hold, what exists is overwritten, and symbolic links
/// are copied as links.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Directories are copied, not refused.
    pub recursive: bool,
    /// What exists is replaced, not an error.
    pub overwrite: bool,
    /// What a symbolic link leads to is copied, not the link.
    pub follow_symlinks: bool,
    /// A directory that is copied into an existing one keeps its name there.
    pub include_parent: bool,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { recursive: true, overwrite: true, follow_symlinks: false, include_parent: true }
    }
}

impl CopyOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it an error when something exists already; it is found before anything is written.
    #[must_use]
    pub fn no_overwrite(mut self) -> Self {
        self.overwrite = false;
        self
    }

    /// Refuses directories.
    #[must_use]
    pub fn non_recursive(mut self) -> Self {
        self.recursive = false;
        self
    }

    /// Whether what a symbolic link leads to is copied instead of the link.
    #[must_use]
    pub fn follow_symlinks(mut self, follow: bool) -> Self {
        self.follow_symlinks = follow;
        self
    }

    /// Whether a directory keeps its own name below an existing directory.
    #[must_use]
    pub fn include_parent(mut self, include: bool) -> Self {
        self.include_parent = include;
        self
    }

    fn packing(&self) -> PackOptions {
        PackOptions {
            follow_symlinks: self.follow_symlinks,
            no_directories: !self.recursive,
            names_only: false,
            direct: None,
        }
    }

    /// The letters of `boxlite_proto::copy`.
    fn letters(&self, dry_run: bool) -> OsString {
        let letters = [
            (!self.overwrite, copy::NO_OVERWRITE),
            (dry_run, copy::DRY_RUN),
            (!self.include_parent, copy::CONTENT),
            (self.follow_symlinks, copy::FOLLOW),
            (!self.recursive, copy::NO_DIRECTORIES),
        ];
        letters.into_iter().filter_map(|(set, letter)| set.then_some(letter)).collect::<String>().into()
    }
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Bytes of files' content.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

impl LiteBox {
    /// Copies a file or a directory of the host into the box, starting it where needed.
    ///
    /// # Errors
    /// `NotFound` when the source is missing, `AlreadyExists` when something is in the way, `InvalidArgument` when a
    /// path can't be copied as asked; each names the path. No file has its name before it is complete.
    pub async fn copy_into(
        &self,
        host_path: impl AsRef<Path>,
        box_path: impl AsRef<str>,
        options: CopyOptions,
    ) -> BoxliteResult<()> {
        let box_path = box_path.as_ref().into();
        self.copy_in(host_path.as_ref().to_owned(), box_path, options, ProgressSink::none()).await.map(drop)
    }

    /// Copies a file or a directory of the box to the host, starting the box where needed.
    ///
    /// # Errors
    /// As [`LiteBox::copy_into`].
    pub async fn copy_out(
        &self,
        box_path: impl AsRef<str>,
        host_path: impl AsRef<Path>,
        options: CopyOptions,
    ) -> BoxliteResult<()> {
        let host_path = host_path.as_ref().to_owned();
        self.copy_from(box_path.as_ref().into(), host_path, options, ProgressSink::none()).await.map(drop)
    }

    /// [`LiteBox::copy_into`] for paths of any bytes.
    pub async fn copy_in(
        &self,
        host_path: PathBuf,
        box_path: OsString,
        options: CopyOptions,
        progress: ProgressSink,
    ) -> BoxliteResult<CopyReport> {
        let source = host(host_path)?;
        check_guest("box_path", &box_path)?;
        let (name, content) = own_name(&source);
        let options = CopyOptions { include_parent: options.include_parent && !content, ..options };
        let mut report = CopyReport::default();
        for dry_run in rounds(&options) {
            let packing = PackOptions { names_only: dry_run, ..options.packing() };
            let arguments = vec![
                copy::IN.into(),
                box_path.clone(),
                OsString::from_vec(name.clone()),
                options.letters(dry_run),
            ];
            let amount = if dry_run { Amount::AtMost(0) } else { Amount::OfFile(source.clone()) };
            let source = source.clone();
            let job = Job::into_box(arguments, move |wire| pack(&source, b".", wire, packing));
            let packed = self.transfer(job.of(amount), &progress).await?;
            report = CopyReport { bytes: packed.bytes, entries: packed.entries };
        }
        Ok(report)
    }

    /// [`LiteBox::copy_out`] for paths of any bytes.
    pub async fn copy_from(
        &self,
        box_path: OsString,
        host_path: PathBuf,
        options: CopyOptions,
        progress: ProgressSink,
    ) -> BoxliteResult<CopyReport> {
        let destination = host(host_path)?;
        check_guest("box_path", &box_path)?;
        let (name, content) = own_name(box_path.as_bytes());
        let include_parent = options.include_parent && !content;
        let mut report = CopyReport::default();
        for dry_run in rounds(&options) {
            let arguments = vec![copy::OUT.into(), box_path.clone(), ".".into(), options.letters(dry_run)];
            let (destination, name) = (destination.clone(), name.clone());
            let unpacking =
                UnpackOptions { no_overwrite: !options.overwrite, dry_run, ..UnpackOptions::default() };
            let job = Job::out_of_box(arguments, move |wire| {
                let place = Place::Named { destination: &destination, source_name: &name, include_parent };
                unpack(Stream::new(wire), place, unpacking)
            });
            let unpacked = self.transfer(job, &progress).await?;
            report = CopyReport { bytes: unpacked.bytes, entries: unpacked.entries };
        }
        Ok(report)
    }

    /// Unpacks the tar archive that `archive` gives into a directory of the box, which is made where it is missing.
    /// An archive can't be read twice: with `no_overwrite` what lies before the first conflict is written.
    ///
    /// # Errors
    /// As [`LiteBox::copy_into`], and `InvalidArgument` when the archive is damaged or cut off.
    pub async fn copy_in_tar(
        &self,
        archive: OwnedFd,
        box_path: OsString,
        options: CopyOptions,
        progress: ProgressSink,
    ) -> BoxliteResult<()> {
        check_guest("box_path", &box_path)?;
        let arguments = vec![copy::IN_TAR.into(), box_path, options.letters(false)];
        let job = Job::into_box(arguments, move |wire| wire.feed_from(&archive));
        self.transfer(job.of_callers_archive(), &progress).await.map(drop)
    }

    /// Writes a tar archive of a file or directory of the box to `archive`; its root has the path's own name.
    ///
    /// # Errors
    /// As [`LiteBox::copy_out`], and `Storage` when `archive` can't be written.
    pub async fn copy_out_tar(
        &self,
        box_path: OsString,
        archive: OwnedFd,
        options: CopyOptions,
        progress: ProgressSink,
    ) -> BoxliteResult<()> {
        check_guest("box_path", &box_path)?;
        let (name, content) = own_name(box_path.as_bytes());
        let root = if content || !options.include_parent { b".".to_vec() } else { name };
        let arguments = vec![copy::OUT.into(), box_path, OsString::from_vec(root), options.letters(false)];
        let job = Job::out_of_box(arguments, move |wire| wire.drain_to(&archive));
        self.transfer(job, &progress).await.map(drop)
    }

    /// The content of a file of the box.
    ///
    /// # Errors
    /// `NotFound` when it is missing, `ResourceExhausted` when it has more than `limit` bytes, `InvalidArgument` when
    /// it is no regular file.
    pub async fn read_file(
        &self,
        box_path: OsString,
        limit: u64,
        progress: ProgressSink,
    ) -> BoxliteResult<Vec<u8>> {
        check_guest("box_path", &box_path)?;
        let arguments = vec![copy::READ.into(), box_path.clone(), limit.to_string().into()];
        let path = box_path.into_vec();
        let job = Job::out_of_box(arguments, move |wire| {
            let bytes = wire.read_to_end(limit)?;
            if bytes.len() as u64 > limit { Err(CopyError::TooLarge { path, limit }) } else { Ok(bytes) }
        });
        self.transfer(job.of(Amount::AtMost(limit)), &progress).await
    }

    /// Makes a file in the box with this content, in the place of one that is there; missing directories are made.
    ///
    /// # Errors
    /// As [`LiteBox::copy_into`].
    pub async fn write_file(
        &self,
        box_path: OsString,
        content: Vec<u8>,
        mode: u32,
        progress: ProgressSink,
    ) -> BoxliteResult<()> {
        check_guest("box_path", &box_path)?;
        let (name, content_only) = own_name(box_path.as_bytes());
        if content_only || box_path.as_bytes().ends_with(b"/") {
            return Err(invalid("box_path", &box_path, "names a directory, not a file"));
        }
        let letters = CopyOptions::default().letters(false);
        let arguments = vec![copy::IN.into(), box_path, OsString::from_vec(name), letters];
        let length = content.len() as u64;
        let job = Job::into_box(arguments, move |wire| {
            let mut archive = TarWriter::new(wire);
            let size = content.len() as u64;
            let now = Timestamp { seconds: chrono::Utc::now().timestamp(), nanoseconds: 0 };
            archive
                .header(&Header { path: b".", flag: b'0', mode, mtime: now, ..Header::default() }, size)?;
            archive.data(&content)?;
            archive.pad(size)?;
            archive.finish().map(drop)
        });
        self.transfer(job.of(Amount::AtMost(length)), &progress).await
    }

    async fn transfer<T: Send + 'static>(&self, job: Job<T>, progress: &ProgressSink) -> BoxliteResult<T> {
        self.check_usable()?;
        let (sandbox, progress) = (self.clone(), progress.clone());
        self.core.run(async move { transfer::run(&sandbox, job, &progress).await }).await
    }
}

/// A dry run comes first where nothing may be overwritten: what is in the way is found before anything is written.
fn rounds(options: &CopyOptions) -> impl Iterator<Item = bool> + use<> {
    (!options.overwrite).then_some(true).into_iter().chain([false])
}

/// The last name of a path, and whether the path means a directory's content: `/a/.` and `/`.
fn own_name(path: &[u8]) -> (Vec<u8>, bool) {
    let trimmed = path.iter().rposition(|byte| *byte != b'/').map_or(&b""[..], |last| &path[..=last]);
    let name = trimmed.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    match name {
        b"" | b"." | b".." => (Vec::new(), true),
        name => (name.to_vec(), false),
    }
}

fn host(path: PathBuf) -> BoxliteResult<Vec<u8>> {
    let bytes = path.into_os_string().into_vec();
    match nul_byte("host_path", &bytes) {
        _ if bytes.is_empty() => Err(BoxliteError::InvalidArgument(
            Detail::new("host_path is empty").subject("host_path").hint("name a file or directory"),
        )),
        Some(message) => Err(BoxliteError::InvalidArgument(Detail::new(message).subject("host_path"))),
        None => Ok(bytes),
    }
}

fn check_guest(name: &'static str, path: &OsString) -> BoxliteResult<()> {
    if let Some(message) = nul_byte(name, path.as_bytes()) {
        return Err(BoxliteError::InvalidArgument(Detail::new(message).subject(name)));
    }
    if !path.as_bytes().starts_with(b"/") {
        return Err(invalid(name, path, "is not an absolute path in the box"));
    }
    Ok(())
}

fn invalid(name: &str, path: &OsString, problem: &str) -> BoxliteError {
    let shown = boxlite_archive::shown(path.as_bytes());
    BoxliteError::InvalidArgument(
        Detail::new(format!("{name} `{shown}` {problem}")).subject(shown).hint("correct the path in the box"),
    )
}
