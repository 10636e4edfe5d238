//! Which CPU the host has, as far as a frozen machine may depend on it.

use std::fs;
use std::sync::OnceLock;

use crate::model::digest::Digest;

/// The lines of /proc/cpuinfo that say what the CPU is and can do; the others change from moment to moment.
const TELLING: [&str; 6] = ["vendor_id", "cpu family", "model", "model name", "stepping", "flags"];

/// The same for the same CPU; `None` when the host doesn't say what it has.
pub(super) fn identity() -> Option<&'static str> {
    static IDENTITY: OnceLock<Option<String>> = OnceLock::new();
    IDENTITY
        .get_or_init(|| {
            let told = told(&fs::read_to_string("/proc/cpuinfo").ok()?);
            (!told.is_empty()).then(|| Digest::of(told.as_bytes()).hex())
        })
        .as_deref()
}

/// What is told of the first CPU.
fn told(cpuinfo: &str) -> String {
    let first = cpuinfo.lines().take_while(|line| !line.trim().is_empty());
    let telling =
        first.filter(|line| line.split_once(':').is_some_and(|(name, _)| TELLING.contains(&name.trim())));
    telling.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_moment_to_moment_does_not_count() {
        let one = "processor\t: 0\nmodel name\t: X\ncpu MHz\t\t: 2500.1\nflags\t\t: fpu sse\n\nprocessor\t: 1\nflags\t: y\n";
        let two = "processor\t: 3\nmodel name\t: X\ncpu MHz\t\t: 1999.9\nflags\t\t: fpu sse\n\n";
        assert_eq!(told(one), told(two));
        assert_ne!(told(one), told("model name\t: X\nflags\t\t: fpu sse avx\n"));
        assert!(identity().is_some_and(|identity| identity.len() == 64));
    }
}
