//! The templates of a home: frozen machines, ready to be cloned, in `templates/KEY/` each.
//!
//! Owns the directory: what a template is kept under, whether it can be used, how one gets there and goes. Freezes and
//! clones nothing: that is the shim's.

mod digests;
mod host_cpu;
mod key;
mod record;
mod sum;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use boxlite_proto::shim::files;

use super::tree;
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::layout::{Layout, make_dir};
use crate::lock::{LockGuard, Locks};
use crate::model::id::{BoxID, BoxIDMint};
use digests::Digests;
pub(crate) use key::{SetUp, Shape, TemplateKey};
use record::Record;

/// Begins the names of templates that aren't whole yet.
const DRAFT: &str = ".draft-";
/// Begins the names of templates that can't be used.
const SET_ASIDE: &str = ".bad-";
/// How long a maker of the same template is waited for as long as it makes progress.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// What a killed maker's machine may take to be gone.
const REAP_TIME: Duration = Duration::from_secs(2);

/// The templates of one home, or of several that share the directory.
#[derive(Debug)]
pub(crate) struct Templates {
    home: PathBuf,
    dir: PathBuf,
    /// Bytes on disk that all may take together; 0 = there are none.
    space: u64,
    digests: Digests,
}

/// A template that can be cloned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frozen {
    /// Its directory, seen from a box's.
    pub(crate) place: String,
    /// The disk of the box that is set up in it.
    pub(crate) disk: Option<PathBuf>,
}

/// A template on its way; deleted at drop unless it was sealed.
#[derive(Debug)]
pub(crate) struct Draft {
    id: BoxID,
    dir: PathBuf,
    /// One maker of a template at a time.
    _lock: LockGuard,
}

impl Draft {
    /// What the shim that makes it is called: an id like a box's, since its processes are found by it.
    pub(crate) fn id(&self) -> &BoxID {
        &self.id
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // A shim that is still at it has lost its owner and must not write into what is being deleted.
        if self.dir.exists() {
            tree::reap_tree(&self.id, &self.dir, REAP_TIME);
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

impl Templates {
    pub(crate) fn at(layout: &Layout, space: u64) -> Self {
        let dir = layout.templates();
        Self { home: layout.home().to_owned(), digests: Digests::at(dir.join("digests")), dir, space }
    }

    pub(crate) fn are_wanted(&self) -> bool {
        self.space > 0
    }

    /// What the template of machines of this shape is kept under, if it can be told at once.
    pub(crate) fn known_key(&self, shape: &Shape) -> Option<TemplateKey> {
        key::of(shape, |path| self.digests.known(path), |path| self.stamp(path))
    }

    /// Whether there can be a template of this shape: its disks are where a template's machine finds them, too.
    pub(crate) fn can_have(&self, shape: &Shape) -> bool {
        shape.set_up.iter().flat_map(SetUp::disks).all(|disk| self.stamp(disk).is_some())
    }

    /// Tells a disk in the home from any other that had its name. `None` when it can't be found by a path that holds both
    /// in a box's directory and in a template's, which is the case where several homes share only one of the two.
    fn stamp(&self, disk: &Path) -> Option<String> {
        let here = fs::metadata(self.home.join(disk)).ok()?;
        let there = fs::metadata(fs::canonicalize(&self.dir).ok()?.parent()?.join(disk)).ok()?;
        let is_one = (here.dev(), here.ino()) == (there.dev(), there.ino());
        is_one.then(|| format!("{} {}.{:09}", here.len(), here.mtime(), here.mtime_nsec()))
    }

    /// The same, also when files have to be read for it: tens of milliseconds. `None` where a machine of this shape
    /// can't be told from others: the rate of the time stamp counter is not known yet.
    pub(crate) fn key(&self, shape: &Shape) -> BoxliteResult<Option<TemplateKey>> {
        for file in shape.files() {
            self.digests.learn(file)?;
        }
        Ok(self.known_key(shape))
    }

    /// Whether there is a template under this key, sound or not.
    pub(crate) fn has(&self, key: &TemplateKey) -> bool {
        self.record(key).exists()
    }

    /// The template, ready to be cloned; `None` when there is none. Looks at each file's content
    /// once: tens of milliseconds for a template that nobody has looked at yet.
    ///
    /// # Errors
    /// Why the template that is there can't be used.
    pub(crate) fn usable(&self, key: &TemplateKey) -> Result<Option<Frozen>, String> {
        let dir = self.dir.join(key.as_str());
        let Some(record) = Record::read(&dir)? else { return Ok(None) };
        record.check(&dir)?;
        self.mark(key);
        let disk = record.has_disk().then(|| dir.join(files::BOX_DISK));
        Ok(Some(Frozen { place: format!("../../templates/{key}"), disk }))
    }

    /// The template of this shape, if there is one, is not to be missed.
    pub(crate) fn mark_used(&self, shape: &Shape) {
        if let Some(key) = self.known_key(shape) {
            self.mark(&key);
        }
    }

    /// What is used last goes last.
    fn mark(&self, key: &TemplateKey) {
        // A mark that can't be made costs no more than the order.
        let _ = fs::File::open(self.record(key)).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// The right to make a template of this shape, once nobody else is at it.
    pub(crate) async fn turn(&self, shape: &Shape) -> BoxliteResult<LockGuard> {
        self.locks()?.acquire(&shape.lock(), "make a template").await
    }

    /// Begins a template. Blocking for a moment.
    pub(crate) fn begin(&self, shape: &Shape, turn: LockGuard) -> BoxliteResult<Draft> {
        let id = BoxIDMint::mint();
        let dir = self.dir.join(format!("{DRAFT}{}-{id}", shape.lock()));
        let logs = dir.join(files::LOGS);
        let draft = Draft { id, dir, _lock: turn };
        make_dir(&logs).map_err(|error| BoxliteError::io("make", &logs, &error))?;
        Ok(draft)
    }

    /// Puts a draft whose machine is frozen in its place, and makes room for it.
    ///
    /// # Errors
    /// `Storage`, and `ResourceExhausted` when it is larger than all templates may be together.
    pub(crate) fn seal(&self, draft: &Draft, key: &TemplateKey) -> BoxliteResult<()> {
        let room = sum::blocks(&draft.dir)?;
        if room > self.space {
            return Err(BoxliteError::ResourceExhausted(
                Detail::new(format!("a template takes {room} bytes; all together may take {}", self.space))
                    .subject("template_space")
                    .hint("allow more with `template_space`, or give boxes less memory"),
            ));
        }
        Record::make(key, &draft.dir)?;
        for name in [files::PID, files::LOCK] {
            let _ = fs::remove_file(draft.dir.join(name));
        }
        let _ = fs::remove_dir_all(draft.dir.join(files::LOGS));
        let place = self.dir.join(key.as_str());
        self.discard(key);
        fs::rename(&draft.dir, &place).map_err(|error| BoxliteError::io("rename to", &place, &error))?;
        self.make_room(key);
        Ok(())
    }

    /// Takes a template out of use. Machines cloned from it don't notice.
    pub(crate) fn discard(&self, key: &TemplateKey) {
        let aside = self.dir.join(format!("{SET_ASIDE}{key}-{}", BoxIDMint::mint()));
        if fs::rename(self.dir.join(key.as_str()), &aside).is_ok() {
            // What can't be deleted now is swept later.
            let _ = fs::remove_dir_all(aside);
        }
    }

    /// Deletes what killed makers have left. What can't be deleted is met again.
    pub(crate) fn sweep(&self) {
        let Ok(locks) = self.locks() else { return };
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(SET_ASIDE) {
                let _ = fs::remove_dir_all(entry.path());
            } else if let Some((lock, id)) = name.strip_prefix(DRAFT).and_then(|rest| rest.rsplit_once('-')) {
                // Nobody makes it any more if its lock is free.
                let Ok(Some(_lock)) = locks.try_acquire(lock, "sweep") else { continue };
                if let Some(id) = BoxID::parse(id) {
                    tree::reap_tree(&id, &entry.path(), REAP_TIME);
                }
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        // One killed between its turn and its draft has left no more than its lock's file.
        // What can't be looked at now is met again.
        let _ = locks.sweep();
    }

    /// Deletes the templates that were used least recently until the others fit, but for `newest`.
    fn make_room(&self, newest: &TemplateKey) {
        let mut kept: Vec<(SystemTime, TemplateKey, u64)> = fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let key = TemplateKey::parse(entry.file_name().to_str()?)?;
                let used = fs::metadata(self.record(&key)).and_then(|record| record.modified());
                Some((used.unwrap_or(SystemTime::UNIX_EPOCH), key, sum::blocks(&entry.path()).unwrap_or(0)))
            })
            .collect();
        kept.sort_unstable_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut taken = kept.iter().find(|(_, key, _)| key == newest).map_or(0, |(.., room)| *room);
        for (_, key, room) in kept.into_iter().filter(|(_, key, _)| key != newest) {
            taken += room;
            if taken > self.space {
                self.discard(&key);
            }
        }
    }

    fn record(&self, key: &TemplateKey) -> PathBuf {
        Record::path(&self.dir.join(key.as_str()))
    }

    fn locks(&self) -> BoxliteResult<Locks> {
        Locks::open(self.dir.join("locks"), LOCK_PATIENCE)
    }
}

#[cfg(test)]
mod tests;
