//! The limit on open files of this process, lowered to see what happens when it is met.

use std::collections::BTreeSet;
use std::io;

/// The limit, and what it was before it was lowered.
#[derive(Debug, Default)]
pub(crate) struct FileLimit {
    before: Option<libc::rlimit>,
}

impl FileLimit {
    /// Lets this process open so many files more.
    pub(crate) fn lower(&mut self, more: u64) {
        let now = get();
        let mut low = *self.before.get_or_insert(now);
        low.rlim_cur = bound(more).min(low.rlim_cur);
        set(&low);
    }

    /// Takes the lowered limit away.
    pub(crate) fn raise(&mut self) {
        if let Some(before) = self.before.take() {
            set(&before);
        }
    }

    pub(crate) fn is_low(&self) -> bool {
        self.before.is_some()
    }
}

/// The number below which exactly `free` descriptors are free: the limit is on numbers, and the lowest are given first.
fn bound(free: u64) -> u64 {
    let entries = std::fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    let open: BTreeSet<u64> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut left = free;
    let mut bound = 0;
    while left > 0 || open.contains(&bound) {
        left -= u64::from(!open.contains(&bound));
        bound += 1;
    }
    bound
}

fn get() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes into a struct that is ours.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(got, 0, "getrlimit: {}", io::Error::last_os_error());
    limit
}

fn set(limit: &libc::rlimit) {
    // SAFETY: the kernel reads a struct that lives through the call. Only the soft limit ever differs.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) };
    assert_eq!(done, 0, "setrlimit: {}", io::Error::last_os_error());
}
