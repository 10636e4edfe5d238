//! The rate of the host's time stamp counter: measured by the first shim of a host's boot (0.2 s), kept in the home for
//! all later ones.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::layout::Layout;
use crate::model::id::mint_text;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What is known of the rate; 0 kHz = nothing yet.
#[derive(Debug)]
pub(crate) struct TscRate {
    path: PathBuf,
    khz: AtomicU32,
}

impl TscRate {
    /// What the home at `layout` knows about this boot of the host.
    pub(crate) fn at(layout: &Layout) -> Self {
        let path = layout.tsc_rate();
        let known = fs::read_to_string(&path).ok().and_then(|text| parse(&text, &boot_id()?));
        Self { path, khz: AtomicU32::new(known.unwrap_or(0)) }
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
        let draft = self.path.with_extension(mint_text(6));
        // A rate that can't be kept is measured again.
        let kept =
            fs::write(&draft, format!("{boot_id} {khz}\n")).and_then(|()| fs::rename(&draft, &self.path));
        if kept.is_err() {
            let _ = fs::remove_file(&draft);
        }
    }
}

fn boot_id() -> Option<String> {
    fs::read_to_string(BOOT_ID).ok().map(|text| text.trim().to_owned())
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
        assert_eq!(rate.khz(), 0);
        rate.note(2_500_000);
        assert_eq!(TscRate::at(&layout).khz(), 2_500_000);
        assert_eq!(parse("other-boot 2500000", "this-boot"), None);
        assert_eq!(parse("this-boot x", "this-boot"), None);
    }
}
