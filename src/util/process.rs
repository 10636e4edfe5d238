//! Questions about processes, answered from `/proc`.

use std::fs;

/// Whether process `pid` runs. A zombie is dead.
pub fn is_process_alive(pid: u32) -> bool {
    stat_fields(pid).is_some_and(|fields| !matches!(fields.state, 'Z' | 'X' | 'x'))
}

/// When `pid` started, in clock ticks since boot (field 22 of `/proc/PID/stat`). A pid whose start time differs from
/// the recorded one is somebody else's.
pub fn process_start_time(pid: u32) -> Option<u64> {
    stat_fields(pid).map(|fields| fields.start_time)
}

struct StatFields {
    state: char,
    start_time: u64,
}

fn stat_fields(pid: u32) -> Option<StatFields> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses: fields are counted from its closing one.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some(StatFields { state, start_time })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_a_zombie_does_not() {
        let me = std::process::id();
        assert!(is_process_alive(me));
        assert!(process_start_time(me).unwrap() > 0);

        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while !matches!(stat_fields(pid), Some(StatFields { state: 'Z', .. })) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!is_process_alive(pid));
        child.wait().unwrap();
        assert_eq!(process_start_time(pid), None);
    }
}
