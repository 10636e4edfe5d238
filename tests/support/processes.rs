//! What tests ask about processes: which of them name a box.

use std::fs;

use boxlite::util::is_process_alive;

/// Every process that names the box anywhere in its arguments.
pub(crate) fn processes_naming(id: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if cmdline.windows(id.len()).any(|window| window == id.as_bytes()) && is_process_alive(pid) {
            found.push(pid);
        }
    }
    found
}
