//! What may lie in a home in which nobody works: anything else was left behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Files of a box that doesn't run, and those that a running one has besides.
const AT_REST: [&str; 6] = ["box.json", "box.qcow2", "logs", "exit", "exit.previous", "shim.lock"];
const RUNNING: [&str; 3] = ["shim.pid", "agent.sock", "transfer"];
const DATABASE: [&str; 3] = ["boxlite.db", "tsc-khz", "kvm-report"];
/// Directories that are empty when nobody works.
const EMPTY: [&str; 6] = ["locks", "tmp", "spares", "images/locks", "images/tmp", "templates/locks"];
/// Files of a template (the disk where a box is set up in it), and what lies beside templates.
const TEMPLATE: [&str; 5] = ["ram", "state", "box.qcow2", "template.json", "checked"];
const BESIDE_TEMPLATES: [&str; 2] = ["locks", "digests"];

/// Everything in `home` that should not be there, given the boxes there are and those that run.
pub(crate) fn leftovers(home: &Path, boxes: &BTreeSet<String>, running: &BTreeSet<String>) -> Vec<String> {
    let mut left = Vec::new();
    for name in EMPTY {
        left.extend(names(&home.join(name)).into_iter().map(|found| format!("{name}/{found}")));
    }
    for found in names(&home.join("db")) {
        if !DATABASE.contains(&found.as_str()) {
            left.push(format!("db/{found}"));
        }
    }
    for found in names(&home.join("bases")) {
        if !found.ends_with(".raw") || found.starts_with('.') {
            left.push(format!("bases/{found}"));
        }
    }
    for found in names(&home.join("templates")) {
        if BESIDE_TEMPLATES.contains(&found.as_str()) {
            continue;
        }
        if found.starts_with('.') {
            left.push(format!("templates/{found}"));
            continue;
        }
        let files = names(&home.join("templates").join(&found)).into_iter();
        left.extend(
            files
                .filter(|file| !TEMPLATE.contains(&file.as_str()))
                .map(|file| format!("templates/{found}/{file}")),
        );
    }
    for id in names(&home.join("boxes")) {
        if !boxes.contains(&id) {
            left.push(format!("boxes/{id}"));
            continue;
        }
        for found in names(&home.join("boxes").join(&id)) {
            let name = found.as_str();
            if !(AT_REST.contains(&name) || running.contains(&id) && RUNNING.contains(&name)) {
                left.push(format!("boxes/{id}/{found}"));
            }
        }
    }
    left
}

/// What SQLite says of the database, and whether all of it is in one file.
pub(crate) fn integrity(home: &Path) -> Result<(), String> {
    let path = home.join("db/boxlite.db");
    let check = || {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = rusqlite::Connection::open_with_flags(&path, flags)?;
        connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
    };
    match check() {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(format!("the database is damaged: {answer}")),
        Err(error) => Err(format!("the database can't be read: {error}")),
    }
}

/// The home, file by file, for a person.
pub(crate) fn listing(directory: &Path, depth: usize, text: &mut String) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => "/",
            kind if kind.is_socket() => "=",
            kind if kind.is_symlink() => "@",
            _ => "",
        };
        text.push_str(&format!("{}{name}{kind} {}\n", "  ".repeat(depth + 1), metadata.len()));
        if metadata.is_dir() {
            listing(&path, depth + 1, text);
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
