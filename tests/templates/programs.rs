//! What programs with random numbers of their own make of being cloned: keys, seeds, names.

use std::collections::BTreeSet;
use std::path::Path;

use boxlite::{BoxOptions, CopyOptions, RootfsSpec};
use boxlite_test_utils::home::debian_image;

use crate::clones::how_many;
use crate::{home, is_clone, open, output};

/// One value a line: the 16 bytes that the kernel gave the process (AT_RANDOM, 25 in getauxval), Python's generator and
/// hash seed, its UUID, and what OpenSSH made a key of.
const PROGRAMS: &str = "
python3 -c '
import ctypes, os, random, uuid
libc = ctypes.CDLL(None)
libc.getauxval.restype = ctypes.c_ulong
print(ctypes.string_at(libc.getauxval(25), 16).hex())
print(random.getrandbits(128))
print(hash(\"boxlite\"))
print(uuid.uuid4())
print(os.getrandom(16).hex())
'
ssh-keygen -q -t ed25519 -N '' -f /tmp/key && cut -d' ' -f2 /tmp/key.pub
";

#[tokio::test]
async fn programs_in_clones_draw_different_numbers() {
    let home = home();
    let runtime = open(&home);
    let options =
        BoxOptions { rootfs: RootfsSpec::Image(debian_image()), auto_remove: false, ..BoxOptions::default() };
    runtime.prepare(&options).await.unwrap();
    let mut seen: Vec<BTreeSet<String>> = vec![BTreeSet::new(); 6];
    let count = how_many();
    for _ in 0..count {
        let sandbox = runtime.create(options.clone(), None).await.unwrap();
        sandbox.start().await.unwrap();
        assert!(is_clone(&sandbox));
        let program = Path::new("/usr/bin/ssh-keygen");
        sandbox.copy_into(program, "/usr/bin/ssh-keygen", CopyOptions::default()).await.unwrap();
        let told = output(&sandbox, PROGRAMS).await;
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), seen.len(), "{told}");
        for (values, line) in seen.iter_mut().zip(lines) {
            values.insert(line.to_owned());
        }
        runtime.remove(sandbox.id().as_str(), true).await.unwrap();
    }
    let distinct: Vec<usize> = seen.iter().map(BTreeSet::len).collect();
    assert_eq!(distinct, [count; 6], "{seen:?}");
    assert_eq!(runtime.start_counts().cloned, count as u64);
    runtime.shutdown(None).await.unwrap();
}
