//! The writable layer on the box's disk, and the mark of a box that nobody has asked for yet.
//!
//! Owns the layer's directories, never what lies in them. A layer belongs to one image. A box that was set up ahead (a
//! spare) has one of the image it was given; the box that it becomes may have another, and then begins with a new layer.
//! What was deleted for that may still be on the disk when the machine is killed. So a spare's disk is marked with the
//! image, before there is a layer, and the mark goes after the layer: the journal keeps that order. Whoever finds a
//! mark with another image than the box's has a disk from before the box was claimed.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use crate::error::{AgentError, Context};

/// A symbolic link so short lies in its inode: it is there as a whole or not at all.
const MARK_LENGTH: usize = 40;

/// The two directories of an overlay's upper layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    mark: PathBuf,
}

impl Layer {
    /// The layer on the disk that is mounted at `disk`.
    pub(crate) fn on(disk: &Path) -> Self {
        Self { upper: disk.join("upper"), work: disk.join("work"), mark: disk.join("spare") }
    }

    /// Deletes a layer that is not the box's, and marks the disk of a box that nobody has asked for yet.
    pub(crate) fn settle(&self, image: &str, spare: bool) -> Result<(), AgentError> {
        let image = short(image);
        match fs::read_link(&self.mark) {
            Ok(marked) if marked == Path::new(image) => self.unmark()?,
            Ok(_) => self.delete()?,
            Err(_) => {}
        }
        if spare {
            symlink(image, &self.mark).step(|| "mark the disk of a spare".into())?;
        }
        Ok(())
    }

    /// The layer is the box's, or gone.
    fn unmark(&self) -> Result<(), AgentError> {
        gone(fs::remove_file(&self.mark)).step(|| "unmark the disk of a spare".into())
    }

    /// Deletes it; what is above it is no longer mounted.
    pub(crate) fn delete(&self) -> Result<(), AgentError> {
        self.empty()?;
        self.unmark()
    }

    /// Deletes it but for its mark; what is above it is no longer mounted.
    pub(crate) fn empty(&self) -> Result<(), AgentError> {
        for directory in [&self.upper, &self.fresh(), &self.work] {
            gone(fs::remove_dir_all(directory)).step(|| format!("delete {}", directory.display()))?;
        }
        Ok(())
    }

    /// Makes it where there is none; its root looks like the image's.
    pub(crate) fn make(&self, image_root: &Path) -> Result<(), AgentError> {
        if self.upper.exists() {
            return Ok(());
        }
        let step = || format!("make the writable layer {}", self.upper.display());
        if !self.work.exists() {
            fs::create_dir(&self.work).step(step)?;
        }
        let image = fs::metadata(image_root).step(step)?;
        // Made aside and renamed, so that a start cut off here begins anew.
        let fresh = self.fresh();
        if !fresh.exists() {
            fs::create_dir(&fresh).step(step)?;
        }
        look_like(&fresh, &image).step(step)?;
        fs::rename(&fresh, &self.upper).step(step)
    }

    fn fresh(&self) -> PathBuf {
        self.upper.with_extension("new")
    }
}

/// As much of an image's digest as tells it from all others.
fn short(image: &str) -> &str {
    let digest = image.rsplit(':').next().unwrap_or_default();
    // A link to nowhere at all can't be made.
    let digest = if digest.is_empty() { "-" } else { digest };
    digest.get(..MARK_LENGTH).unwrap_or(digest)
}

fn look_like(directory: &Path, image: &Metadata) -> io::Result<()> {
    std::os::unix::fs::chown(directory, Some(image.uid()), Some(image.gid()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(image.mode()))?;
    let modified = TimeSpec::new(image.mtime(), image.mtime_nsec());
    Ok(utimensat(AT_FDCWD, directory, &modified, &modified, UtimensatFlags::FollowSymlink)?)
}

fn gone(deleted: io::Result<()>) -> io::Result<()> {
    match deleted {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        deleted => deleted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a box from an image on the disk, as far as its layer goes.
    fn start(disk: &Path, image: &str, spare: bool) -> Layer {
        let layer = Layer::on(disk);
        layer.settle(image, spare).unwrap();
        layer.make(disk).unwrap();
        layer
    }

    fn on_a_disk(test: impl FnOnce(&Path)) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or_default().replace(':', "-");
        let disk = std::env::temp_dir().join(format!("boxlite-guest-{}-{name}", std::process::id()));
        fs::create_dir(&disk).unwrap();
        test(&disk);
        fs::remove_dir_all(&disk).unwrap();
    }

    #[test]
    fn what_a_box_has_written_stays() {
        on_a_disk(|disk| {
            let layer = start(disk, "sha256:aa", false);
            fs::write(layer.upper.join("data"), "").unwrap();
            // Also over what else: only a mark says that nobody has had the box.
            for image in ["sha256:aa", "sha256:bb", ""] {
                assert!(start(disk, image, false).upper.join("data").exists());
            }
        });
    }

    #[test]
    fn a_spare_that_was_claimed_with_its_image_keeps_its_layer() {
        on_a_disk(|disk| {
            let layer = start(disk, "sha256:aa", true);
            fs::write(layer.upper.join("data"), "").unwrap();
            // Its claim is not on the disk.
            assert!(start(disk, "sha256:aa", false).upper.join("data").exists());
            assert!(!layer.mark.is_symlink());
        });
    }

    #[test]
    fn nothing_of_a_spare_is_found_by_a_box_of_another_image() {
        on_a_disk(|disk| {
            let layer = start(disk, "sha256:aa", true);
            fs::write(layer.upper.join("data"), "").unwrap();
            fs::write(layer.work.join("data"), "").unwrap();
            let layer = start(disk, "sha256:bb", false);
            assert!(!layer.upper.join("data").exists() && !layer.work.join("data").exists());
            fs::write(layer.upper.join("own"), "").unwrap();
            assert!(start(disk, "sha256:bb", false).upper.join("own").exists());
        });
    }

    #[test]
    fn marks_lie_in_their_inodes() {
        assert_eq!(short(&format!("sha256:{}", "5".repeat(64))), "5".repeat(40));
        assert_eq!((short("sha256:abc"), short("")), ("abc", "-"));
    }
}
