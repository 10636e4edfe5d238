//! Hundreds of random layer stacks: each disk is compared with the model, and some with what `umoci unpack` makes. What
//! the model refuses is put on top of the entries before it, and must be refused.

use std::collections::BTreeMap;
use std::process::Command;

use boxlite::BoxliteError;
use boxlite::disk::layers::LayerCompression;
use boxlite_test_utils::erofs_reader::Kind;
use boxlite_test_utils::host_tree;
use boxlite_test_utils::layers::{Item, TarBuilder, gzip, zstd};
use boxlite_test_utils::oci::{Layout, Packing};

use super::model::{Model, Refused, lexical};
use super::support::{Bench, Random, sha256};

const NAMES: [&str; 5] = ["a", "b", "c", "-d", ".e"];

fn path(random: &mut Random) -> String {
    let names: Vec<&str> = (0..=random.below(3)).map(|_| *random.pick(&NAMES)).collect();
    names.join("/")
}

/// The same path in other spellings.
fn spelled(random: &mut Random, path: &str) -> String {
    match random.below(8) {
        0 => format!("./{path}"),
        1 => format!("/{path}"),
        2 => format!("x/../{path}"),
        3 => path.replace('/', "//"),
        _ => path.to_owned(),
    }
}

fn target(random: &mut Random) -> String {
    let path = path(random);
    match random.below(4) {
        0 => format!("/{path}"),
        1 => format!("../{path}"),
        2 => format!("../../../{path}/.."),
        _ => path,
    }
}

fn content(random: &mut Random) -> Vec<u8> {
    match random.below(12) {
        0 => Vec::new(),
        1 => random.bytes(4096),
        2 => {
            let mut data = vec![0; 150_000];
            let at = random.below(data.len());
            data[at] = 1;
            data
        }
        _ => {
            let length = random.below(6000);
            random.bytes(length)
        }
    }
}

fn item(random: &mut Random, model: &Model) -> Item {
    let path = path(random);
    let plain = spelled(random, &path);
    let mut item = match random.below(20) {
        0..=6 => Item::file(&plain, content(random)),
        7..=9 => Item::dir(&plain),
        10..=11 => Item::symlink(&plain, target(random)),
        12..=14 => {
            let leaves = model.leaves();
            let known = !leaves.is_empty() && !random.one_in(5);
            let linked = if known { random.pick(&leaves).clone() } else { target(random) };
            Item::hard_link(&plain, spelled(random, &linked))
        }
        15 => Item::device(&plain, b'3' + (random.below(2) as u8), (random.below(300) as u32, 70_000)),
        16 => Item::fifo(&plain),
        17 => Item::opaque(if random.one_in(6) { "" } else { &path }),
        18 => Item::dir("."),
        _ => Item::whiteout(&path),
    };
    item.mode = [0o644, 0o755, 0o4711, 0o1777, 0][random.below(5)];
    item.uid = [0, 1000, 4_294_967_294][random.below(3)];
    item.gid = random.below(70_000) as u64;
    item.mtime = (random.below(1 << 31) as i64 - (1 << 30), random.below(1_000_000_000) as u32);
    if random.one_in(6) {
        let length = random.below(300);
        item.xattrs = vec![
            (b"user.note".to_vec(), random.bytes(length)),
            (b"security.capability".to_vec(), random.bytes(20)),
        ];
    }
    item
}

/// Layers at random, with nothing in them that makes a layer invalid.
struct Stack {
    archives: Vec<Vec<u8>>,
    model: Model,
    /// Entries that were left out because they would have made their layer invalid.
    refused: Vec<Left>,
    /// What they hold and what was left out, for messages.
    listing: String,
}

/// An entry that was left out.
struct Left {
    why: Refused,
    item: Item,
    /// How many layers lie below its own.
    below: usize,
    /// The entries before it in its layer.
    before: Vec<Item>,
}

impl Stack {
    fn new(random: &mut Random, with_xattrs: bool) -> Self {
        let mut stack = Self {
            archives: Vec::new(),
            model: Model::default(),
            refused: Vec::new(),
            listing: String::new(),
        };
        for layer in 1..=1 + random.below(5) {
            let mut items: Vec<Item> = Vec::new();
            for _ in 0..1 + random.below(40) {
                let mut item = item(random, &stack.model);
                if !with_xattrs {
                    item.xattrs.clear();
                }
                let applied = stack.model.apply(layer, &item);
                let (path, link) = (item.path.escape_ascii(), item.link.escape_ascii());
                stack.listing.push_str(&format!("{layer} {} {path} -> {link}", item.flag as char));
                match applied {
                    Ok(()) => {
                        stack.listing.push('\n');
                        items.push(item);
                    }
                    Err(why) => {
                        stack.listing.push_str(&format!(" left out: {why:?}\n"));
                        stack.refused.push(Left { why, item, below: layer - 1, before: items.clone() });
                    }
                }
            }
            stack.archives.push(TarBuilder::archive(&items));
        }
        stack
    }
}

/// Builds one random stack and compares it; returns what was skipped and read again.
fn compare_with_model(seed: u64, with_fsck: bool) -> (u64, u64) {
    let mut random = Random::new(seed);
    let stack = Stack::new(&mut random, true);
    let mut bench = Bench::new();
    for archive in &stack.archives {
        let diff_id = Some(sha256(archive));
        match random.below(3) {
            0 => bench.blob(archive, LayerCompression::None, diff_id),
            1 => bench.blob(&gzip(archive), LayerCompression::Gzip, diff_id),
            _ => bench.blob(&zstd(archive), LayerCompression::Zstd, diff_id),
        };
    }
    let listing = &stack.listing;
    let report = bench.try_build().unwrap_or_else(|error| panic!("seed {seed}: {error}\n{listing}"));
    let built = bench.build();
    assert_eq!(built.report, report, "seed {seed}: built twice");
    if let Err(difference) = stack.model.compare(&built.entries) {
        panic!("seed {seed}: {difference}\n{listing}");
    }
    if with_fsck {
        bench.fsck();
    }
    (report.files_skipped, report.layers_reread)
}

#[test]
fn random_stacks_equal_the_model() {
    let results: Vec<(u64, u64)> = (0..600).map(|seed| compare_with_model(seed, seed % 20 == 0)).collect();
    let skipped: u64 = results.iter().map(|(skipped, _)| skipped).sum();
    let reread = results.iter().filter(|(_, reread)| *reread > 0).count();
    // Otherwise the stacks don't reach what makes skipping hard.
    assert!(skipped > 500, "only {skipped} files were skipped");
    assert!(reread > 10, "only {reread} stacks had a hidden file that was needed");
}

/// What the error of an entry says.
fn text_of(why: Refused) -> &'static str {
    match why {
        Refused::Absolute => "is absolute",
        Refused::Climbs => "leads out of the root",
        Refused::Twice => "appears twice",
        Refused::NotDirectory => "not a directory",
        Refused::Loop => "too many symbolic links",
        Refused::BadLink => "hard link target",
        Refused::Root => "root can only be a directory",
    }
}

#[test]
fn what_the_model_refuses_is_refused_for_the_same_reason() {
    let mut seen: BTreeMap<Refused, usize> = BTreeMap::new();
    for seed in 2000..2150 {
        let stack = Stack::new(&mut Random::new(seed), true);
        for left in &stack.refused {
            let mut bench = Bench::new();
            for archive in &stack.archives[..left.below] {
                bench.layer(archive);
            }
            bench.layer(&TarBuilder::archive(left.before.iter().chain([&left.item])));
            let listing = &stack.listing;
            let error = match bench.try_build() {
                Err(error) => error,
                Ok(_) => panic!("seed {seed}: {:?} was built: {:?}\n{listing}", left.why, left.item),
            };
            let text = error.to_string();
            // Read as it stands if its text is wrong, else told in its plain spelling.
            let path =
                lexical(&left.item.path).unwrap_or_else(|_| String::from_utf8_lossy(&left.item.path).into());
            let told = [path.as_bytes(), &left.item.path]
                .iter()
                .any(|path| text.contains(&format!("entry `{}`", path.escape_ascii())));
            assert!(matches!(error, BoxliteError::Image(_)), "seed {seed}: {error:?}\n{listing}");
            assert!(told, "seed {seed}: {path}: {text}\n{listing}");
            assert!(text.contains(text_of(left.why)), "seed {seed}: {:?}: {text}\n{listing}", left.why);
            assert_eq!(bench.leftovers(), Vec::<String>::new(), "seed {seed}");
            *seen.entry(left.why).or_default() += 1;
        }
    }
    let reasons =
        [Refused::Absolute, Refused::Climbs, Refused::Twice, Refused::NotDirectory, Refused::BadLink];
    for why in reasons {
        let count = seen.get(&why).copied().unwrap_or(0);
        assert!(count > 50, "only {count} entries were refused as {why:?}: {seen:?}");
    }
}

#[test]
fn random_stacks_equal_what_umoci_unpacks() {
    // Without privileges umoci keeps neither owners nor devices.
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not root: no comparison with umoci");
        return;
    }
    for seed in 1000..1060 {
        let stack = Stack::new(&mut Random::new(seed), false);
        let temp = tempfile::tempdir().expect("a temporary directory");
        let layers: Vec<_> =
            stack.archives.iter().map(|archive| (archive.as_slice(), Packing::Tar)).collect();
        let layout = Layout::new(temp.path().join("layout")).expect("a layout");
        let image = layout.image(&layers).expect("an image");
        layout.tags(&[("random", &image)]).expect("a tag");
        let bundle = temp.path().join("bundle");
        let output = Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!("{}:random", layout.dir().display()))
            .arg(&bundle)
            .output()
            .expect("umoci runs (`make setup` installs it)");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {words}\n{}", stack.listing);

        let mut bench = Bench::new();
        for archive in &stack.archives {
            bench.layer(archive);
        }
        let mut found = bench.build().entries;
        let mut want = host_tree::entries(&bundle.join("rootfs")).expect("walking");
        for entry in want.iter_mut().chain(&mut found) {
            match entry.kind {
                // A symlink of the host has no mode of its own.
                Kind::Symlink => entry.mode = 0,
                // A directory that no entry describes has the time of its unpacking, and the root its maker's owner.
                Kind::Directory => entry.mtime = (0, 0),
                _ => {}
            }
        }
        let differences = host_tree::differences(&want[1..], &found[1..]);
        assert!(differences.is_empty(), "seed {seed}: {differences:#?}\n{}", stack.listing);
    }
}
