//! What the processes of a box take.

use std::fs;

/// The processes that name the box: its shim and its engine.
pub(crate) fn tree(id: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == id.as_bytes())
    })
    .collect()
}

pub(crate) fn smaps(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// KiB of private pages that hold code and belong to no file: what QEMU has translated.
pub(crate) fn translations(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    let (mut is_code, mut kib) = (false, 0.0);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [range, rights, _, _, _] if range.contains('-') => is_code = rights.contains('x'),
            [range, _, _, _, _, ..] if range.contains('-') => is_code = false,
            [field, size, _] if is_code && field.starts_with("Private_") => {
                kib += size.parse::<f64>().unwrap_or_default();
            }
            _ => {}
        }
    }
    kib
}

pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|text| text.parse::<f64>().ok()).sum();
    ticks / 100.0
}
