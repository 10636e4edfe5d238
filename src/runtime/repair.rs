//! Repairs a home whose database is damaged or lost: the file is kept aside, a new one gets the rows that can still be
//! read, and for the rest what the boxes' directories remember.
//!
//! Never touches a disk, nor a sound database, but for rows that it lacks. Needs nobody to have closed the home: runtimes
//! that have the damaged file open find it replaced at their next call, and write to it no more.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Utc;

use crate::db::{self, BoxRow, BoxState, Database, beside};
use crate::errors::{BoxliteError, BoxliteResult};
use crate::layout::Layout;
use crate::litebox::record::BoxRecord;
use crate::lock::Locks;
use crate::model::id::{BoxID, mint_text};
use crate::runtime::recovery;
use crate::vmm;

/// How long a box that can't be kept may take to end, killed.
const REAP_TIME: Duration = Duration::from_secs(5);

/// What a repair came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairReport {
    /// The boxes of the home, oldest first, then those that could not be kept.
    pub boxes: Vec<RepairedBox>,
    /// Where what was damaged lies now: the database with its log, directories of boxes that could not be kept. Empty
    /// when the database was sound. Nothing reads these files any more; delete them when they are of no use to you.
    pub kept_aside: Vec<PathBuf>,
}

/// One box in a [`RepairReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairedBox {
    /// Its id.
    pub id: BoxID,
    /// Its name.
    pub name: Option<String>,
    /// What became of it.
    pub outcome: RepairOutcome,
    /// The same for a person, one sentence.
    pub detail: String,
}

/// What became of a box in a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// Its row could be read.
    Kept,
    /// Its row was made anew from its directory.
    Rebuilt,
    /// Neither was possible; its directory is kept aside.
    Lost,
}

/// Repairs the home of `layout`.
pub(super) fn repair(layout: &Layout, locks: &Locks) -> BoxliteResult<RepairReport> {
    let _lock = recovery::database::lock(locks, "repair the home")?;
    let mut repair = Repair {
        layout,
        suffix: format!(".damaged-{}", Utc::now().format("%Y%m%dT%H%M%S%.3fZ")),
        report: RepairReport { boxes: Vec::new(), kept_aside: Vec::new() },
        seen: HashSet::new(),
        lost: Vec::new(),
    };
    match sound(layout)? {
        Some(database) => {
            for row in database.list()?.into_iter().rev() {
                repair.kept(&row, "its row is sound");
            }
            repair.rebuild_rest(&database)?;
        }
        None => repair.rebuild_database()?,
    }
    // Last, as only this changes anything when the rest fails.
    for (id, error) in std::mem::take(&mut repair.lost) {
        repair.give_up(id, &error)?;
    }
    Ok(repair.report)
}

/// The home's database if nothing is wrong with it. A newer one, or one that can't be had for another reason than damage,
/// is an error.
fn sound(layout: &Layout) -> BoxliteResult<Option<Database>> {
    let opened =
        recovery::database::open_locked(layout).and_then(|database| database.list().map(|_| database));
    match opened {
        Ok(database) => Ok(Some(database)),
        Err(BoxliteError::Database(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

struct Repair<'a> {
    layout: &'a Layout,
    /// Ends the names of what is kept aside.
    suffix: String,
    report: RepairReport,
    seen: HashSet<BoxID>,
    /// Boxes with a disk and nothing to make a row from.
    lost: Vec<(BoxID, BoxliteError)>,
}

impl Repair<'_> {
    /// Makes a new database and puts it in the place of the damaged one, in this order: a repair that is killed can be
    /// done over.
    fn rebuild_database(&mut self) -> BoxliteResult<()> {
        let path = self.layout.database();
        let draft = beside(&path, ".new");
        for suffix in ["", "-wal", "-shm"] {
            // Left by a repair that was killed.
            remove_if_there(&beside(&draft, suffix))?;
        }
        let scratch = Scratch::make(self.layout)?;
        let rows = db::salvage(&path, &scratch.0)?;
        let database = Database::open(&draft)?;
        for row in rows {
            self.put(&database, row, RepairOutcome::Kept, "its row could be read")?;
        }
        self.rebuild_rest(&database)?;
        database.close()?;
        drop(database);
        self.put_aside(&path)?;
        fs::rename(&draft, &path).map_err(|error| BoxliteError::io("rename to", &path, &error))?;
        let directory = path.parent().unwrap_or(&path);
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| BoxliteError::io("sync", directory, &error))
    }

    /// Gives the damaged database and its log other names. The path itself stays taken until the new one replaces it, so
    /// that nobody takes the home for a new one.
    fn put_aside(&mut self, path: &Path) -> BoxliteResult<()> {
        let aside = beside(path, &self.suffix);
        let fail = |error: io::Error| BoxliteError::io("keep the damaged database as", &aside, &error);
        let log = beside(path, "-wal");
        if log.exists() {
            // SQLite finds it by this name.
            let log_aside = beside(&aside, "-wal");
            fs::rename(&log, &log_aside).map_err(fail)?;
            self.report.kept_aside.push(log_aside);
        }
        // Only an index of the log.
        remove_if_there(&beside(path, "-shm"))?;
        if fs::symlink_metadata(path).is_ok() {
            // What can't be linked is a directory, or on a file system without links.
            fs::hard_link(path, &aside).or_else(|_| fs::rename(path, &aside)).map_err(fail)?;
            self.report.kept_aside.insert(0, aside);
        }
        Ok(())
    }

    /// Makes rows for the directories that have none.
    fn rebuild_rest(&mut self, database: &Database) -> BoxliteResult<()> {
        let mut records = Vec::new();
        for id in recovery::database::box_directories(self.layout) {
            if self.seen.contains(&id) {
                continue;
            }
            let paths = self.layout.of_box(&id);
            match BoxRecord::read(&id, &paths).and_then(|record| record.to_row()) {
                Ok(row) => records.push(row),
                Err(error) if paths.box_disk().exists() => self.lost.push((id, error)),
                // It holds nothing: the next opening sweeps it away.
                Err(_) => {}
            }
        }
        records.sort_by_key(|row| row.created_ns);
        for mut row in records {
            let mut detail = "made anew from its directory's box.json".to_owned();
            if let Some(shim) = vmm::locate(&row.id, None, None, &self.layout.of_box(&row.id)) {
                row.state = BoxState::Running;
                row.pid = Some(shim.pid);
                row.pid_start = shim.start_time;
                detail = format!("{detail}; it runs, process {}", shim.pid);
            }
            self.put(database, row, RepairOutcome::Rebuilt, &detail)?;
        }
        Ok(())
    }

    fn kept(&mut self, row: &BoxRow, detail: &str) {
        self.add(row.id.clone(), row.name.clone(), RepairOutcome::Kept, detail.to_owned());
    }

    fn put(
        &mut self,
        database: &Database,
        mut row: BoxRow,
        outcome: RepairOutcome,
        detail: &str,
    ) -> BoxliteResult<()> {
        let mut detail = detail.to_owned();
        if !database.restore(&row)?
            && let Some(name) = row.name.take()
        {
            detail = format!("{detail}; its name {name:?} is another box's now");
            database.restore(&row)?;
        }
        self.add(row.id, row.name, outcome, detail);
        Ok(())
    }

    /// A box of which only the disk is left. Its directory gets a name that no box has, or it would be swept away.
    fn give_up(&mut self, id: BoxID, error: &BoxliteError) -> BoxliteResult<()> {
        let directory = self.layout.of_box(&id).dir().to_owned();
        // If it runs, nobody could reach it any more.
        vmm::reap_tree(&id, &directory, REAP_TIME);
        let aside = beside(&directory, &self.suffix);
        fs::rename(&directory, &aside)
            .map_err(|error| BoxliteError::io("keep the box directory as", &aside, &error))?;
        let detail =
            format!("no row and no readable box.json ({error}); its disk is kept in {}", aside.display());
        self.add(id, None, RepairOutcome::Lost, detail);
        self.report.kept_aside.push(aside);
        Ok(())
    }

    fn add(&mut self, id: BoxID, name: Option<String>, outcome: RepairOutcome, detail: String) {
        self.seen.insert(id.clone());
        self.report.boxes.push(RepairedBox { id, name, outcome, detail });
    }
}

/// A directory for copies; gone when dropped, or swept at the next opening.
struct Scratch(PathBuf);

impl Scratch {
    fn make(layout: &Layout) -> BoxliteResult<Self> {
        let path = layout.tmp().join(format!("{}repair-{}", recovery::QUARANTINED, mint_text(6)));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| BoxliteError::io("create", &path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn remove_if_there(path: &Path) -> BoxliteResult<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BoxliteError::io("delete", path, &error))
        }
        _ => Ok(()),
    }
}
