//! Small files in which a home remembers what was found out about its host. They are there whole or not at all, and
//! whatever can't be kept, or was lost, is found out again: nothing here is an error.

use std::fs;
use std::path::Path;

use crate::layout::Layout;
use crate::model::id::mint_text;
use crate::replace::replace_by;

/// Between a file's name and a draft's own.
const DRAFT: &str = ".new-";

/// Keeps `bytes` at `path` in place of what is there.
pub(super) fn keep(path: &Path, bytes: &[u8]) {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!("{DRAFT}{}", mint_text(6)));
    let _ = replace_by(Path::new(&draft), path, bytes);
}

/// Deletes the drafts of killed writers. One whose writer lives is lost with them, which does no harm.
pub(crate) fn sweep_drafts(layout: &Layout) {
    for path in [layout.tsc_rate(), layout.kvm_report()] {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let drafts = format!("{}{DRAFT}", name.to_string_lossy());
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&drafts) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_writers_draft_goes_and_what_is_kept_stays() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(home.path()).unwrap();
        let kept = layout.kvm_report();
        keep(&kept, b"old");
        keep(&kept, b"new");
        let draft = kept.with_file_name("kvm-report.new-abcdef");
        fs::write(&draft, "hal").unwrap();
        sweep_drafts(&layout);
        assert_eq!(fs::read(&kept).unwrap(), b"new");
        assert!(!draft.exists());
    }

    #[test]
    fn what_cannot_be_kept_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        // A directory can't be replaced by a file.
        let taken = home.path().join("taken");
        fs::create_dir(&taken).unwrap();
        keep(&taken, b"x");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
