//! Guards the C interface: `include/boxlite.h` and `include/boxlite.symbols` say what `src/capi` has and the linked
//! library exports, and C and C++ compilers take the header and a call of every function in it.
//!
//! `BOXLITE_UPDATE=1` (`make header`) writes both files anew instead of comparing them.

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use boxlite_test_utils::home::{PerTestBoxHome, busybox_image, workspace};
use support::c_program::{calls_of_every_function, functions};
use support::forked_program::calls_with_inherited_handles;

/// The files of `src/capi` that have something in the header, in the header's order.
const SOURCES: [&str; 31] = [
    "version",
    "error",
    "call",
    "progress",
    "engine",
    "runtime_options",
    "registries",
    "credentials",
    "mirrors",
    "runtime",
    "templates",
    "images",
    "prune",
    "repair",
    "system_check",
    "box_options",
    "box_limits",
    "boxes",
    "box_end",
    "info",
    "list",
    "metrics",
    "command",
    "command_streams",
    "exec",
    "execution",
    "execution_streams",
    "stream_state",
    "executions",
    "copy_options",
    "copy",
];

/// The version that functions added now are recorded with.
const SYMBOL_VERSION: &str = "BOXLITE_0.1";

const C99: [&str; 6] = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wstrict-prototypes"];
const CXX17: [&str; 5] = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic"];

fn root() -> PathBuf {
    workspace()
}

fn updating() -> bool {
    std::env::var_os("BOXLITE_UPDATE").is_some_and(|value| value == "1")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The checked-in header; when updating, written anew first, with the symbol list.
fn header() -> &'static str {
    static HEADER: OnceLock<String> = OnceLock::new();
    HEADER.get_or_init(|| {
        let path = root().join("include/boxlite.h");
        if updating() {
            let generated = generated_header();
            std::fs::write(&path, &generated).expect("include/boxlite.h is writable");
            update_symbols(&functions(&generated).into_iter().map(|function| function.name).collect());
        }
        read(&path)
    })
}

fn generated_header() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join(format!("src/capi/{source}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().expect("cbindgen takes src/capi").write(&mut text);
    String::from_utf8(text).expect("a header in UTF-8")
}

/// `name VERSION` of each line of the recorded list.
fn recorded() -> BTreeSet<String> {
    read(&root().join("include/boxlite.symbols"))
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

/// Keeps the version each function was recorded with first; a function that is gone is an ABI break, not an update.
fn update_symbols(names: &BTreeSet<String>) {
    let path = root().join("include/boxlite.symbols");
    let mut lines = if path.exists() { recorded() } else { BTreeSet::new() };
    for name in names {
        if !lines.iter().any(|line| line.split(' ').next() == Some(name)) {
            lines.insert(format!("{name} {SYMBOL_VERSION}"));
        }
    }
    let about = "# Every function the shared library exports and the version it came with. Append only: a line that\n\
                 # changes or goes breaks programs that are linked already. Written by `make header`.\n";
    let text = lines.iter().fold(about.to_owned(), |text, line| text + line + "\n");
    std::fs::write(path, text).expect("include/boxlite.symbols is writable");
}

#[test]
fn the_checked_in_header_is_what_the_source_says() {
    assert!(
        header() == generated_header(),
        "include/boxlite.h is not what src/capi says: run `make header` and look at what changed"
    );
}

#[test]
fn the_headers_codes_are_the_error_table() {
    let name = |variant: &str| {
        variant.chars().fold(String::from("BOXLITE"), |name, letter| {
            name + if letter.is_ascii_uppercase() { "_" } else { "" }
                + &letter.to_ascii_uppercase().to_string()
        })
    };
    for (variant, code) in boxlite::BoxliteError::CODES {
        let line = format!("\n#define {} {code}\n", name(variant));
        assert!(header().contains(&line), "the header lacks{line}");
    }
}

#[test]
fn the_recorded_symbols_are_the_headers_functions() {
    let declared: BTreeSet<String> = functions(header()).into_iter().map(|function| function.name).collect();
    let listed: BTreeSet<String> =
        recorded().iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    assert!(declared.len() > 100, "only {} functions were found in the header", declared.len());
    let unlisted: Vec<_> = declared.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&declared).collect();
    assert!(unlisted.is_empty(), "not in include/boxlite.symbols (run `make header`): {unlisted:?}");
    assert!(gone.is_empty(), "recorded, so programs may use them, but no longer in the header: {gone:?}");
}

/// The library as it is shipped, or None when only the header is being made.
fn library() -> Option<PathBuf> {
    let path = root().join("runtime/lib/libboxlite.so");
    assert!(updating() || path.exists(), "no {}: run `make build`", path.display());
    (!updating()).then_some(path)
}

#[test]
fn the_linked_library_exports_the_recorded_symbols_and_no_others() {
    let Some(library) = library() else { return };
    let output = Command::new("nm")
        .args(["-D", "--defined-only", "--with-symbol-versions"])
        .arg(&library)
        .output()
        .expect("nm (binutils)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let exported: BTreeSet<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        // The version's own symbol, which the linker adds.
        .filter(|name| !name.starts_with("BOXLITE_"))
        .map(|name| name.replace("@@", " "))
        .collect();
    let recorded = recorded();
    let missing: Vec<_> = recorded.difference(&exported).collect();
    let extra: Vec<_> = exported.difference(&recorded).collect();
    assert!(missing.is_empty(), "recorded but not exported by {}: {missing:?}", library.display());
    assert!(extra.is_empty(), "exported by {} but not recorded: {extra:?}", library.display());
}

/// Compiles `source` with `compiler`; what the compiler says is the test's message.
fn compile(compiler: &str, flags: &[&str], source: &Path, output: &Path, more: &[&str]) {
    let include = root().join("include");
    let result = Command::new(compiler)
        .args(flags)
        .arg("-I")
        .arg(&include)
        .arg(source)
        .arg("-o")
        .arg(output)
        .args(more)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let said = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{compiler} {flags:?} refuses {}:\n{said}", source.display());
}

#[test]
fn c_and_cpp_compilers_take_the_header_alone() {
    header();
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (compiler, flags, name) in [("gcc", &C99[..], "alone.c"), ("g++", &CXX17[..], "alone.cpp")] {
        let source = dir.path().join(name);
        std::fs::write(&source, "#include <boxlite.h>\n#include <boxlite.h>\n").expect("write");
        compile(compiler, flags, &source, &dir.path().join("alone.o"), &["-c"]);
    }
}

#[test]
fn every_function_can_be_called_from_c_and_cpp_and_survives_null() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = calls_of_every_function(&functions(header()));
    for (compiler, flags, name) in [("gcc", &C99[..], "calls.c"), ("g++", &CXX17[..], "calls.cpp")] {
        let source = dir.path().join(name);
        std::fs::write(&source, &text).expect("write");
        let Some(library) = library() else {
            compile(compiler, flags, &source, &dir.path().join("calls.o"), &["-c"]);
            continue;
        };
        let program = dir.path().join("calls");
        let path = format!("-Wl,-rpath,{}", library.parent().expect("a parent").display());
        let library = library.to_str().expect("a path in UTF-8");
        compile(compiler, flags, &source, &program, &[library, &path]);
        let output = Command::new(&program).output().expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "calls with NULL ({compiler}): {:?}\n{said}", output.status);
        assert!(said.is_empty(), "the library printed something: {said}");
    }
}

#[test]
fn every_function_refuses_handles_that_a_forked_child_inherited() {
    let (text, count) = calls_with_inherited_handles(&functions(header()));
    assert!(count > 70, "only {count} calls with handles were found");
    let Some(library) = library() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (source, program) = (dir.path().join("forked.c"), dir.path().join("forked"));
    std::fs::write(&source, text).expect("write");
    let path = format!("-Wl,-rpath,{}", library.parent().expect("a parent").display());
    let flags = ["-std=gnu11", "-Wall", "-Wextra", "-Werror"];
    compile("gcc", &flags, &source, &program, &[library.to_str().expect("a path in UTF-8"), &path]);
    let (parents, own) = (PerTestBoxHome::new(), PerTestBoxHome::new());
    let output = Command::new(&program)
        .args([&parents.path, &own.path])
        .arg(busybox_image())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{}\n{said}", output.status);
}

/// A release that adds functions gives them a version node of its own, and raises the number by one.
#[test]
fn the_interfaces_number_counts_the_releases_that_added_functions() {
    let releases: BTreeSet<String> =
        recorded().iter().filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect();
    let line = format!("\n#define BOXLITE_ABI_VERSION {}\n", releases.len());
    assert!(header().contains(&line), "the header lacks{line}, as functions came with {releases:?}");
    let release = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    assert_eq!(
        SYMBOL_VERSION,
        format!("BOXLITE_{release}"),
        "functions come with the release that is being made"
    );
}

#[test]
fn the_programs_in_the_documentation_compile() {
    header();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = read(&root().join("docs/c-api.md"));
    let programs: Vec<&str> =
        text.split("```c\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!programs.is_empty(), "docs/c-api.md shows no program");
    for (index, program) in programs.iter().enumerate() {
        let source = dir.path().join(format!("documented{index}.c"));
        std::fs::write(&source, program).expect("write");
        compile("gcc", &C99, &source, &dir.path().join("documented.o"), &["-c"]);
    }
}
