//! A guest whose init is an enemy. Whatever the engine, it gets no further than its own disk.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use boxlite::{BoxOptions, BoxliteError, BoxliteRuntime, RootfsSpec};
use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, target_dir, workspace};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

/// The init, which `make test` compiles.
fn hostile_init() -> PathBuf {
    let program = target_dir().join("test-images/hostile-init");
    assert!(program.is_file(), "{} is missing: run scripts/make-hostile-init.sh", program.display());
    program
}

/// A runtime directory like the real one, but for the agent: it is the hostile init, for either engine.
fn runtime_dir(at: &Path) -> PathBuf {
    let dir = at.join("pieces");
    fs::create_dir(&dir).unwrap();
    let real = workspace().join("runtime/libexec/boxlite");
    for piece in ["boxlite-shim", "kernel.elf", "libkrunfw.so.5"] {
        symlink(real.join(piece), dir.join(piece)).unwrap();
    }
    fs::copy(hostile_init(), dir.join("boxlite-guest")).unwrap();
    let tree = at.join("tree");
    for directory in ["dev", "proc", "sys"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    fs::copy(hostile_init(), tree.join("init")).unwrap();
    let made = Command::new("mkfs.erofs").arg(dir.join("guest.erofs")).arg(&tree).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    dir
}

/// Of a file's size, and of what it holds and where. An image's disk is a hole for the most part.
fn hash(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hash = Sha256::new().chain_update(size.to_le_bytes());
    let mut end = 0;
    loop {
        let start = match lseek(&file, end, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => return Ok(hash.finalize().to_vec()),
            Err(error) => return Err(error.into()),
        };
        end = lseek(&file, start, Whence::SeekHole)?;
        let mut data = vec![0; (end - start) as usize];
        file.read_exact_at(&mut data, start as u64)?;
        hash.update(start.to_le_bytes());
        hash.update(data);
    }
}

/// Every file below `dirs` with a hash of its content.
fn content(dirs: &[&Path]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left: Vec<PathBuf> = dirs.iter().map(|dir| (*dir).to_owned()).collect();
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let hash = hash(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.insert(path, hash);
            }
        }
    }
    found
}

#[tokio::test]
async fn a_hostile_init_reaches_nothing_of_the_host() {
    // The image is this test's own, so that one that got changed would harm no other.
    let home = PerTestBoxHome::isolated();
    let outer = tempfile::tempdir().unwrap();
    let pieces = runtime_dir(outer.path());
    let options = BoxOptions {
        rootfs: RootfsSpec::Image(busybox_image()),
        auto_remove: false,
        ..BoxOptions::default()
    };
    // An honest start first: it makes the image's disk.
    let honest = BoxliteRuntime::builder().home_dir(&home.path).build().unwrap();
    honest.create(options.clone(), None).await.unwrap().start().await.unwrap();
    honest.shutdown(None).await.unwrap();
    let images = home.path.join("images");
    let before = content(&[&pieces, &images]);

    let runtime = BoxliteRuntime::builder().home_dir(&home.path).runtime_dir(&pieces).build().unwrap();
    let sandbox = runtime.create(options, None).await.unwrap();
    let error = sandbox.start().await.unwrap_err();
    assert!(matches!(error, BoxliteError::Engine(_)), "{error}");

    let logs = home.path.join("boxes").join(sandbox.id().as_str()).join("logs");
    let console = String::from_utf8_lossy(&fs::read(logs.join("console.log")).unwrap()).replace('\r', "");
    let tries: Vec<&str> = console.lines().filter(|line| line.contains("hostile: ")).collect();
    assert!(tries.iter().any(|line| line.ends_with("hostile: end")), "it did not get to its end: {console}");
    assert!(tries.len() > 30, "{tries:#?}");
    assert!(tries.iter().any(|line| line.contains("write to the disk image")), "{tries:#?}");
    let through: Vec<_> = tries
        .iter()
        .filter(|line| line.ends_with("GOT THROUGH") && !line.contains("make the root writable"))
        .collect();
    assert!(through.is_empty(), "{through:#?}");
    assert_eq!(content(&[&pieces, &images]), before, "the host's files have changed");
    runtime.remove(sandbox.id().as_str(), true).await.unwrap();
    runtime.shutdown(None).await.unwrap();
}
