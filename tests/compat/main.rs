//! Callers of boxlite 0.9.7: what docs/compatibility.md calls *same* keeps the types they were compiled against, and the
//! words they look for. Most of this is proved by being compiled.

mod caller;
mod literals;
mod signatures;
mod texts;
mod traits;

use boxlite::runtime::options::BoxliteOptions;
use boxlite::{BoxOptions, BoxliteRuntime, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image};

fn open(home: &PerTestBoxHome) -> BoxliteRuntime {
    BoxliteRuntime::new(BoxliteOptions { home_dir: home.path.clone(), image_registries: vec![] })
        .expect("a runtime")
}

fn busybox() -> BoxOptions {
    BoxOptions { rootfs: RootfsSpec::Image(busybox_image()), auto_remove: false, ..Default::default() }
}
