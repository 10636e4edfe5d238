//! What tests ask about processes: which of them name a box.

use std::fs;
use std::path::Path;

use boxlite::util::is_process_alive;

/// Every process that names the box anywhere in its arguments, also one that ends and has lost them: it works in the box's
/// directory to the last.
pub(crate) fn processes_naming(id: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_named = cmdline.windows(id.len()).any(|window| window == id.as_bytes());
        if (is_named || cmdline.is_empty() && works_in(&entry.path(), id)) && is_process_alive(pid) {
            found.push(pid);
        }
    }
    found
}

/// Whether the process works in a directory of this name.
fn works_in(process: &Path, id: &str) -> bool {
    let Ok(directory) = fs::read_link(process.join("cwd")) else { return false };
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(" (deleted)").unwrap_or(&name) == id
}
