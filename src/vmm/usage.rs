//! What a box's processes take of the host, read from /proc.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::tree::processes_of;
use crate::model::id::BoxID;

/// What the living processes of a box take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) processes: u32,
    /// Time on CPUs, user and system, since they were started.
    pub(crate) cpu_time: Duration,
    /// Resident memory; of what several processes share, each has its share.
    pub(crate) memory_bytes: u64,
}

/// What the box takes. A process that ends meanwhile counts as nothing. Blocking.
pub(crate) fn usage_of(id: &BoxID, dir: &Path) -> Usage {
    let mut usage = Usage::default();
    for pid in processes_of(id, dir) {
        let Some(cpu_time) = cpu_time(pid) else { continue };
        usage.processes += 1;
        usage.cpu_time += cpu_time;
        usage.memory_bytes += memory_bytes(pid).unwrap_or(0);
    }
    usage
}

fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses: fields are counted from its closing one.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // SAFETY: sysconf takes an integer and touches no memory of ours.
    let per_second =
        u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|rate| *rate > 0)?;
    Some(Duration::from_millis(ticks * 1000 / per_second))
}

fn memory_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_time_and_memory() {
        let me = std::process::id();
        let block = vec![1_u8; 32 << 20];
        let before = cpu_time(me).unwrap();
        assert!(memory_bytes(me).unwrap() >= block.len() as u64);
        while cpu_time(me).unwrap() == before {
            std::hint::black_box(block.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        assert_eq!(cpu_time(0), None);
    }
}
