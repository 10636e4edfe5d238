//! The box that most tests need.

use boxlite::{BoxOptions, RootfsSpec};
use boxlite_test_utils::home::busybox_image;

/// Small, and there until it is removed.
pub(crate) fn small_box() -> BoxOptions {
    BoxOptions {
        rootfs: RootfsSpec::Image(busybox_image()),
        memory_mib: Some(128),
        auto_remove: false,
        ..BoxOptions::default()
    }
}
