//! A disk of a few megabytes.

use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// What `work` does, with a small disk of its own at `at`. Threads that it starts see that disk too; nobody else does,
/// and it goes with the last of them.
pub(crate) fn on_a_small_disk(at: &Path, mib: u32, work: impl FnOnce() + Send) {
    let isolated = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("this test needs root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("a private tree");
        let options = format!("size={mib}m,mode=0700");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, Some(options.as_str())).expect("a small disk");
        work();
    };
    std::thread::scope(|scope| {
        // The scope passes a panic on.
        scope.spawn(isolated);
    });
}
