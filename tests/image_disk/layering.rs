//! How layers act on each other: whiteouts, opaque directories, replaced types, links across layers.

use boxlite_test_utils::erofs_reader::Kind;
use boxlite_test_utils::layers::Item;

use super::support::{Bench, build};

#[test]
fn whiteouts_hide_only_what_lower_layers_have() {
    let bottom =
        [Item::file("a", "1"), Item::file("d/x", "1"), Item::file("d/y", "1"), Item::file("e/z", "1")];
    // The whiteout of `a` stands behind this layer's own `a`, that of `d` before this layer's own `d/new`.
    let top = [
        Item::file("a", "2"),
        Item::whiteout("a"),
        Item::whiteout("d"),
        Item::file("d/new", "2"),
        Item::whiteout("e/z"),
        Item::whiteout("never/was"),
    ];
    let built = build(&[&bottom, &top]);
    assert_eq!(built.paths(), ["a", "d", "d/new", "e"]);
    assert_eq!(built.text("a"), "2");
    assert_eq!(built.report.files_skipped, 4, "hidden data is not written");
    assert_eq!(built.report.layers_reread, 0);
}

#[test]
fn opaque_directories_hide_their_lower_content_wherever_the_marker_stands() {
    let mut dir = Item::dir("d");
    dir.mode = 0o700;
    let bottom = [dir, Item::file("d/low", "1"), Item::file("d/sub/low", "1"), Item::file("keep", "1")];
    let marker_last = [Item::file("d/sub/up", "2"), Item::file("d/up", "2"), Item::opaque("d")];
    let marker_first = [Item::opaque("d"), Item::file("d/sub/up", "2"), Item::file("d/up", "2")];
    for top in [&marker_last, &marker_first] {
        let built = build(&[&bottom, top]);
        assert_eq!(built.paths(), ["d", "d/sub", "d/sub/up", "d/up", "keep"]);
        assert_eq!(built.get("d").mode, 0o700, "the directory itself stays");
    }
    let built = build(&[&bottom, &[Item::opaque(""), Item::file("only", "2")]]);
    assert_eq!(built.paths(), ["only"]);
}

#[test]
fn a_later_entry_takes_the_place_of_an_earlier_one_whatever_its_type() {
    let bottom = [
        Item::file("file-dir", "1"),
        Item::file("dir-file/x", "1"),
        Item::symlink("link-dir", "dir-file"),
        Item::file("dir-link/x", "1"),
        Item::dir("stays"),
        Item::file("stays/x", "1"),
    ];
    let mut stays = Item::dir("stays");
    stays.mode = 0o711;
    let top = [
        Item::dir("file-dir"),
        Item::file("file-dir/y", "2"),
        Item::file("dir-file", "2"),
        Item::dir("link-dir"),
        Item::file("link-dir/y", "2"),
        Item::symlink("dir-link", "stays"),
        stays,
    ];
    let built = build(&[&bottom, &top]);
    let paths =
        ["dir-file", "dir-link", "file-dir", "file-dir/y", "link-dir", "link-dir/y", "stays", "stays/x"];
    assert_eq!(built.paths(), paths);
    assert_eq!(built.get("dir-link").kind, Kind::Symlink);
    assert_eq!(built.get("stays").mode, 0o711);
}

#[test]
fn a_directory_may_be_described_again_and_its_last_attributes_count() {
    let described = |path: &str, mode: u32| Item { mode, ..Item::dir(path) };
    let layer = [
        described("/", 0o700),
        Item::file("d/x", "before its directory"),
        described("d", 0o700),
        Item::file("d/y", "between"),
        described("./d/", 0o711),
        described(".", 0o711),
    ];
    let built = build(&[&layer]);
    assert_eq!(built.paths(), ["d", "d/x", "d/y"]);
    assert_eq!([built.get("").mode, built.get("d").mode], [0o711, 0o711]);
}

#[test]
fn a_whiteout_and_an_entry_of_the_same_path_stand_side_by_side() {
    let bottom = [Item::file("a", "1"), Item::file("d/old", "1"), Item::symlink("s", "d")];
    let entries = [Item::dir("a"), Item::file("d", "2"), Item::file("s", "2")];
    let whiteouts = ["a", "d", "s"].map(Item::whiteout);
    for (first, second) in [(&entries, &whiteouts), (&whiteouts, &entries)] {
        let built = build(&[&bottom, &[first.as_slice(), second].concat()]);
        assert_eq!(built.paths(), ["a", "d", "s"]);
        assert_eq!([built.text("d"), built.text("s")], ["2", "2"]);
    }
}

#[test]
fn hard_links_share_an_inode_within_and_across_layers() {
    let bottom = [Item::file("a", "data"), Item::hard_link("b", "a"), Item::symlink("s", "a")];
    let top = [Item::hard_link("c", "./b"), Item::hard_link("d/e", "d/../a"), Item::hard_link("t", "s")];
    let built = build(&[&bottom, &top]);
    let inode = built.get("a").inode;
    for path in ["a", "b", "c", "d/e"] {
        assert_eq!((built.get(path).inode, built.get(path).links), (inode, 4), "{path}");
    }
    assert_eq!((built.get("t").kind, built.get("t").inode), (Kind::Symlink, built.get("s").inode));
    assert_eq!(built.get("s").links, 2);
}

#[test]
fn a_hard_link_keeps_a_file_whose_own_name_an_upper_layer_hides() {
    let bottom = [Item::file("a", "kept"), Item::file("d/in", "kept too"), Item::file("z", "gone")];
    let middle = [Item::hard_link("b", "a"), Item::hard_link("out", "d/in"), Item::hard_link("y", "z")];
    let top = [Item::whiteout("a"), Item::whiteout("d"), Item::file("z", "new"), Item::whiteout("y")];
    let built = build(&[&bottom, &middle, &top]);
    assert_eq!(built.paths(), ["b", "out", "z"]);
    assert_eq!(built.text("out"), "kept too");
    assert_eq!(built.report.layers_reread, 0, "what links lead to was known in time");
    assert_eq!(built.text("b"), "kept");
    assert_eq!(built.get("b").links, 1);
    assert_eq!(built.text("z"), "new");
}

#[test]
fn a_file_hidden_before_its_hard_link_was_seen_is_read_again() {
    // Reading `lower`, the file comes before the link to it, and its name is known to be hidden.
    let lower = [Item::file("a", "kept"), Item::file("q", "gone"), Item::hard_link("b", "a")];
    let top = [Item::whiteout("a"), Item::whiteout("q")];
    let built = build(&[&lower, &top]);
    assert_eq!(built.paths(), ["b"]);
    assert_eq!(built.text("b"), "kept");
    assert_eq!(
        (built.report.layers_reread, built.report.files_written, built.report.files_skipped),
        (1, 1, 1)
    );
}

#[test]
fn a_hard_link_means_the_file_of_its_own_layer() {
    let built = build(&[
        &[Item::file("a", "old")],
        &[Item::hard_link("b", "a")],
        &[Item::file("a", "new"), Item::hard_link("c", "a")],
    ]);
    assert_eq!([built.text("a"), built.text("b"), built.text("c")], ["new", "old", "new"]);
    assert_eq!([built.get("a").links, built.get("b").links, built.get("c").links], [2, 1, 2]);
}

#[test]
fn paths_lead_through_the_images_own_symlinks_and_stay_inside_it() {
    let bottom = [
        Item::dir("usr/bin"),
        Item::symlink("bin", "usr/bin"),
        Item::symlink("abs", "/usr"),
        Item::symlink("usr/up", "../usr/../usr"),
        Item::symlink("chain", "usr/up/bin"),
        Item::file("usr/bin/old", "1"),
        Item::file("usr/bin/gone", "1"),
    ];
    let top = [
        Item::file("bin/one", "2"),
        Item::file("abs/two", "2"),
        Item::file("usr/up/three", "2"),
        Item::file("chain/four", "2"),
        Item::hard_link("five", "bin/old"),
        Item::whiteout("bin/gone"),
        Item::symlink("dangling", "new/place"),
        Item::file("dangling/six", "2"),
    ];
    let built = build(&[&bottom, &top]);
    let paths = [
        "abs",
        "bin",
        "chain",
        "dangling",
        "five",
        "new",
        "new/place",
        "new/place/six",
        "usr",
        "usr/bin",
        "usr/bin/four",
        "usr/bin/old",
        "usr/bin/one",
        "usr/three",
        "usr/two",
        "usr/up",
    ];
    assert_eq!(built.paths(), paths);
    assert_eq!(built.get("five").inode, built.get("usr/bin/old").inode);
}

#[test]
fn a_planted_symlink_cannot_be_written_through_to_the_outside() {
    let outside = tempfile::tempdir().expect("a temporary directory");
    let target = outside.path().to_str().expect("a name in UTF-8");
    let built = build(&[&[Item::symlink("planted", target), Item::file("planted/file", "evil")]]);
    assert_eq!(std::fs::read_dir(outside.path()).expect("listing").count(), 0);
    assert_eq!(built.text(&format!("{}/file", &target[1..])), "evil", "it lands inside the image");
}

#[test]
fn bookkeeping_of_aufs_is_no_part_of_the_image() {
    let built =
        build(&[&[Item::file(".wh..wh.plnk", ""), Item::file(".wh..wh.aufs", ""), Item::file("a", "")]]);
    assert_eq!(built.paths(), ["a"]);
}

#[test]
fn many_layers_are_read_and_none_is_kept_open() {
    let mut bench = Bench::new();
    for index in 0..200 {
        bench.items(&[Item::file("same", index.to_string()), Item::file(format!("own{index}"), "")]);
    }
    let built = bench.build();
    assert_eq!(built.text("same"), "199");
    assert_eq!((built.report.names, built.report.files_skipped), (201, 199));
}
