//! The rate of the host's time stamp counter: measured by the first shim of a host's boot (0.2 s), kept in the home for
//! all later ones.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::host::boot_id;
use super::remembered;
use crate::layout::Layout;

/// What is known of the rate; 0 kHz = nothing yet.
#[derive(Debug)]
pub(crate) struct TscRate {
    path: PathBuf,
    khz: AtomicU32,
}

impl TscRate {
    /// What the home at `layout` knows about this boot of the host.
    pub(crate) fn at(layout: &Layout) -> Self {
        let rate = Self { path: layout.tsc_rate(), khz: AtomicU32::new(0) };
        rate.look();
        rate
    }

    /// The rate in kHz, also if another runtime has noted it meanwhile; 0 if nobody has. Blocks for a moment.
    pub(crate) fn look(&self) -> u32 {
        let read = || parse(&fs::read_to_string(&self.path).ok()?, &boot_id()?);
        if self.khz() == 0
            && let Some(khz) = read()
        {
            self.khz.store(khz, Ordering::Relaxed);
        }
        self.khz()
    }

    /// The rate in kHz, or 0.
    pub(crate) fn khz(&self) -> u32 {
        self.khz.load(Ordering::Relaxed)
    }

    /// Keeps what a shim has measured. Blocks for a moment, once.
    pub(crate) fn note(&self, khz: u32) {
        if khz == 0 || self.khz.swap(khz, Ordering::Relaxed) == khz {
            return;
        }
        let Some(boot_id) = boot_id() else { return };
        remembered::keep(&self.path, format!("{boot_id} {khz}\n").as_bytes());
    }
}

fn parse(text: &str, boot_id: &str) -> Option<u32> {
    let (measured_in, khz) = text.trim().split_once(' ')?;
    if measured_in == boot_id { khz.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_holds_for_its_boot_only() {
        let home = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(home.path()).unwrap();
        let rate = TscRate::at(&layout);
        let other = TscRate::at(&layout);
        assert_eq!((rate.khz(), other.look()), (0, 0));
        rate.note(2_500_000);
        assert_eq!((other.khz(), other.look(), other.khz()), (0, 2_500_000, 2_500_000));
        assert_eq!(TscRate::at(&layout).khz(), 2_500_000);
        assert_eq!(parse("other-boot 2500000", "this-boot"), None);
        assert_eq!(parse("this-boot x", "this-boot"), None);
    }
}
