//! What an engine, or the C library in it, says when something of the host has run out.

use crate::supervisor::failure::Shortage;

const WORDS: [(&str, Shortage); 7] = [
    ("cannot set up guest memory", Shortage::Memory),
    ("Cannot allocate memory", Shortage::Memory),
    ("cannot allocate memory", Shortage::Memory),
    ("os error 12", Shortage::Memory),
    ("No space left on device", Shortage::Disk),
    ("Disk quota exceeded", Shortage::Disk),
    ("Too many open files", Shortage::Descriptors),
];

/// What has run out, if the engine's last words tell of that.
pub(super) fn told_by(messages: &str) -> Option<Shortage> {
    WORDS.iter().find(|(words, _)| messages.contains(words)).map(|(_, shortage)| *shortage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_both_engines_are_known() {
        let told = [
            ("qemu-system-x86_64: cannot set up guest memory 'microvm.ram': x", Some(Shortage::Memory)),
            (
                "qemu-system-x86_64: -blockdev x: Could not open: No space left on device",
                Some(Shortage::Disk),
            ),
            ("Building the microVM failed: GuestMemoryMmap(os error 12)", Some(Shortage::Memory)),
            ("boxlite-shim vm: Too many open files", Some(Shortage::Descriptors)),
            ("qemu-system-x86_64: invalid kernel header", None),
            ("", None),
        ];
        for (messages, shortage) in told {
            assert_eq!(told_by(messages), shortage, "{messages}");
        }
    }
}
