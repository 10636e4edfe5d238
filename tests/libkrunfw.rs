//! A libkrunfw that can't be used is named by who asks for libkrun, at once, whether or not this machine has KVM.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use boxlite::{BoxOptions, BoxStatus, BoxliteError, BoxliteRuntime, Engine, RootfsSpec};
use boxlite_proto::shim::libkrunfw::{NAME as LIBRARY, SYSTEM_PLACES};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, workspace};

/// A boot is given up after half a minute: what takes less has not waited for one, however busy the machine is.
const AT_ONCE: Duration = Duration::from_secs(20);

fn real(piece: &str) -> PathBuf {
    workspace().join("runtime/libexec/boxlite").join(piece)
}

/// Pieces with this library. The shim looks for it beside its own file, so that must be there and no link.
fn pieces(library: Option<&[u8]>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    // By another process: a child that another test forks meanwhile has what is written here open, too, and such a file
    // can't be run.
    let copied = Command::new("cp").arg(real("boxlite-shim")).arg(dir.path()).status().unwrap();
    assert!(copied.success());
    for piece in ["kernel.elf", "guest.erofs", "boxlite-guest"] {
        std::os::unix::fs::symlink(real(piece), dir.path().join(piece)).unwrap();
    }
    if let Some(bytes) = library {
        fs::write(dir.path().join(LIBRARY), bytes).unwrap();
    }
    dir
}

/// What a box that asks for libkrun is told.
async fn refusal(pieces: &Path) -> BoxliteError {
    let home = PerTestBoxHome::new();
    let runtime = BoxliteRuntime::builder().home_dir(&home.path).runtime_dir(pieces).build().unwrap();
    let options = BoxOptions {
        rootfs: RootfsSpec::Image(busybox_image()),
        auto_remove: false,
        engine: Some(Engine::Krun),
        ..BoxOptions::default()
    };
    let sandbox = runtime.create(options, None).await.unwrap();
    let began = Instant::now();
    let error = sandbox.start().await.unwrap_err();
    let took = began.elapsed();
    eprintln!("{took:?}: {error}\n  hint: {}", error.hint());
    assert!(took < AT_ONCE, "{took:?}");
    assert!(matches!(error, BoxliteError::Engine(_)), "{error:?}");
    assert_eq!((sandbox.info().status, sandbox.info().engine), (BoxStatus::Configured, None));
    let left = fs::read_dir(home.path.join("boxes").join(sandbox.id().as_str()));
    assert!(left.map_or(0, Iterator::count) == 0, "a refused start leaves something behind");
    runtime.remove(sandbox.id().as_str(), false).await.unwrap();
    error
}

#[tokio::test]
async fn a_library_that_cannot_be_used_is_named_with_what_is_wrong() {
    let good = fs::read(real(LIBRARY)).unwrap();
    // Where an ELF file says for which CPU it is; 183 is AArch64.
    let mut other_cpu = good.clone();
    other_cpu[18..20].copy_from_slice(&183_u16.to_le_bytes());
    let mut other_version = good.clone();
    let soname = format!("{LIBRARY}\0").into_bytes();
    let at = good.windows(soname.len()).position(|bytes| bytes == soname).unwrap();
    other_version[at + soname.len() - 2] = b'4';
    for (library, wrong) in [
        (&good[..good.len() / 2], "is cut off"),
        (&good[..50], "is cut off"),
        (b"".as_slice(), "is not a 64-bit little-endian ELF library"),
        (b"#!/bin/sh\n".as_slice(), "is not a 64-bit little-endian ELF library"),
        (&other_cpu, "is for another CPU"),
        (&other_version, "does not call itself libkrunfw.so.5"),
    ] {
        let pieces = pieces(Some(library));
        let error = refusal(pieces.path()).await;
        let path = pieces.path().join(LIBRARY).display().to_string();
        assert!(error.to_string().contains(&format!("{path} {wrong}")), "{error}");
        assert!(error.hint().contains("make setup"), "{error:?}");
    }
}

#[tokio::test]
async fn a_library_that_is_nowhere_is_named_with_where_it_should_be() {
    let pieces = pieces(None);
    if SYSTEM_PLACES.iter().any(|place| Path::new(place).join(LIBRARY).exists()) {
        eprintln!("the system has one, which is as good");
        return;
    }
    let error = refusal(pieces.path()).await;
    let path = pieces.path().join(LIBRARY).display().to_string();
    assert!(error.to_string().contains(&format!("no libkrunfw at {path}")), "{error}");
    assert!(error.hint().contains("make setup"), "{error:?}");
}
