//! Paths by which layers have been used to write outside an image, or to mean one thing to a reader and another to the
//! next: each is refused by name, and what resembles it but is harmless is not.

use boxlite::BoxliteError;
use boxlite_test_utils::layers::Item;

use super::model::lexical;
use super::support::{Bench, build};

/// The error of a build whose top layer is at fault: it names the layer and the entry.
#[track_caller]
fn refused(layers: &[&[Item]], entry: &str, problem: &str) {
    let mut bench = Bench::new();
    for items in layers {
        bench.items(items);
    }
    let error = bench.fail();
    let text = error.to_string();
    assert!(matches!(error, BoxliteError::Image(_)), "{error:?}");
    assert_eq!(error.subject(), Some(format!("layer-{}", layers.len() - 1).as_str()), "{text}");
    assert!(text.contains(&format!("entry `{entry}`: ")), "no {entry:?} in: {text}");
    assert!(text.contains(problem), "no {problem:?} in: {text}");
}

/// What the layers below have in the tests of duplicates.
fn bottom() -> Vec<Item> {
    vec![
        Item::file("a", "low"),
        Item::file("d/low", "low"),
        Item::file("usr/bin/low", "low"),
        Item::symlink("bin", "usr/bin"),
        Item::symlink("here", "."),
    ]
}

#[test]
fn a_path_that_appears_twice_in_a_layer_is_refused() {
    let pairs = [
        (Item::file("a", "1"), Item::file("a", "2")),
        (Item::file("new", "1"), Item::file("new", "1")),
        (Item::file("a", "1"), Item::file(".//x/../a", "2")),
        (Item::file("a", "1"), Item::dir("a")),
        (Item::dir("d"), Item::file("d", "2")),
        (Item::symlink("s", "a"), Item::symlink("s", "a")),
        (Item::symlink("s", "d"), Item::dir("s")),
        (Item::fifo("f"), Item::device("f", b'3', (0, 0))),
        (Item::file("a", "1"), Item::hard_link("a", "d/low")),
        (Item::hard_link("a", "d/low"), Item::file("a", "2")),
        // The same file by other ways.
        (Item::file("bin/x", "1"), Item::file("usr/bin/x", "2")),
        (Item::file("usr/bin/x", "1"), Item::file("bin/x", "2")),
        (Item::file("here/here/d/x", "1"), Item::file("d/x", "2")),
        // A directory by what lies below it.
        (Item::file("d/x", "1"), Item::file("d", "2")),
        (Item::file("d/e/f/x", "1"), Item::symlink("d/e", "/usr")),
        (Item::file("bin/x", "1"), Item::dir("bin")),
        (Item::file("bin/x", "1"), Item::symlink("bin", "d")),
        (Item::file("here/bin/x", "1"), Item::file("here", "2")),
    ];
    for (first, second) in pairs {
        // Told in its plain spelling.
        let path = lexical(&second.path).expect("a path inside the root");
        let both = [first.clone(), second.clone()];
        refused(&[&bottom(), &both], &path, "appears twice");
        // A whiteout between them acts on lower layers only.
        if !first.path.starts_with(b"bin/") && !first.path.starts_with(b"here/") {
            let apart = [first.clone(), Item::whiteout(&second.path), second.clone()];
            refused(&[&bottom(), &apart], &path, "appears twice");
        }
        // In two layers the same is right.
        build(&[&bottom(), &[first], &[second]]);
    }
}

#[test]
fn paths_that_only_resemble_each_other_are_not_the_same() {
    let top = [
        Item::file("A", "1"),
        Item::file("a", "1"),
        Item::file("a.", "1"),
        Item::file("bin/a", "1"),
        Item::dir("usr"),
        Item::file("usr/a", "1"),
        Item::dir("bin/../usr/bin/"),
        Item::whiteout("a"),
        Item::whiteout("a"),
    ];
    let built = build(&[&bottom(), &top]);
    assert_eq!(
        built.paths(),
        ["A", "a", "a.", "bin", "d", "d/low", "here", "usr", "usr/a", "usr/bin", "usr/bin/a", "usr/bin/low"]
    );
}

#[test]
fn a_path_through_a_symlink_that_climbs_out_of_the_root_is_refused() {
    let outside = tempfile::tempdir().expect("a temporary directory");
    let far = format!("{}{}", "../".repeat(40), outside.path().display());
    for (link, target) in [
        ("out", ".."),
        ("out", "../x"),
        ("out", "d/../../x"),
        ("out", "missing/../../x"),
        ("out", "/../x"),
        ("out", "/d/../../x"),
        ("out", "d/climbs/x"),
        ("d/out", "../../x"),
        ("d/out", "here/../../x"),
        ("out", &far),
    ] {
        let plant =
            [Item::symlink("d/here", "."), Item::symlink("d/climbs", "../.."), Item::symlink(link, target)];
        let below = format!("{link}/f");
        let file = Item::file(&below, "evil");
        let marker = format!("{link}/.wh.f");
        let opaque = format!("{link}/.wh..wh..opq");
        let problem = "leads out of the root through a symbolic link";
        refused(&[&plant, std::slice::from_ref(&file)], &below, problem);
        refused(&[&[&plant[..], &[file]].concat()], &below, problem);
        refused(&[&plant, &[Item::dir(format!("{below}/g/"))]], &format!("{below}/g"), problem);
        refused(&[&plant, &[Item::whiteout(&below)]], &marker, problem);
        refused(&[&plant, &[Item::opaque(link)]], &opaque, problem);
        let problem = format!("hard link target `{below}` leads out of the root");
        refused(&[&plant, &[Item::hard_link("l", &below)]], "l", &problem);
        assert_eq!(std::fs::read_dir(outside.path()).expect("listing").count(), 0);
        // The symlink itself, and a second name of it, are the image's own business.
        let built = build(&[&plant, &[Item::hard_link("l", link)]]);
        assert_eq!(built.get("l").target, target.as_bytes());
    }
}

#[test]
fn a_path_through_a_symlink_that_stays_inside_the_root_is_resolved() {
    for (link, target, lands) in [
        ("d/up", "..", "f"),
        ("d/e/up", "../..", "f"),
        ("d/e/up", "../../d", "d/f"),
        ("d/up", "../missing/../d", "d/f"),
        ("root", "/", "f"),
        ("root", "/.", "f"),
        ("var/run", "/run", "run/f"),
        ("bin", "usr/bin", "usr/bin/f"),
        ("chain", "d/e/first", "d/f"),
    ] {
        let plant =
            [Item::dir("d"), Item::symlink("d/e/first", "../e/second"), Item::symlink("d/e/second", "..")];
        let top = [Item::symlink(link, target), Item::file(format!("{link}/f"), "inside")];
        let built = build(&[&plant, &top]);
        assert_eq!(built.text(lands), "inside", "{link} -> {target}");
    }
}
