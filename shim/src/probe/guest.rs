//! The guest that the probe runs: one page of kernel code in long mode.
//!
//! At privilege level 0, since emulating machines may run ring 3 natively. Owns the code, the tables and the timing.

use std::time::{Duration, Instant};

use boxlite_proto::probe::{KvmVerdict, ProbeStep};
use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use vmm_sys_util::errno;

use super::broken;
use super::timer::{Ticks, cpu_time};

/// Turns of the loop in a round: 10 µs on hardware.
pub(super) const TURNS: u32 = 10_000;
/// The fastest counts: the first one pays for what a machine does once, and a busy host takes its time from others.
const ROUNDS: u32 = 10;
/// CPU time after which a guest that hasn't ended is too slow.
const PATIENCE: Duration = Duration::from_millis(30);
/// Time on the wall clock after which it is cut off too, for a machine so busy that the CPU time doesn't come.
const PATIENCE_ON_THE_WALL: Duration = Duration::from_millis(400);
/// How often the guest is interrupted to look at the clocks.
const TICK: Duration = Duration::from_millis(10);
/// Where the guest writes its answer.
const PORT: u16 = 0x101;
/// Where it writes at the end of each round.
const ROUND_PORT: u16 = 0x102;

/// The rounds, then CPUID and its answer.
const CODE: [u8; 35] = {
    let [r0, r1, r2, r3] = ROUNDS.to_le_bytes();
    let [t0, t1, t2, t3] = TURNS.to_le_bytes();
    let [e0, e1] = ROUND_PORT.to_le_bytes();
    let [p0, p1] = PORT.to_le_bytes();
    [
        0xbe, r0, r1, r2, r3, // mov esi, ROUNDS
        0xb9, t0, t1, t2, t3, // mov ecx, TURNS
        0xff, 0xc9, // dec ecx
        0x75, 0xfc, // jnz to the dec
        0x66, 0xba, e0, e1,   // mov dx, ROUND_PORT
        0xef, // out dx, eax
        0xff, 0xce, // dec esi
        0x75, 0xee, // jnz to the mov ecx
        0x31, 0xc0, // xor eax, eax
        0x0f, 0xa2, // cpuid
        0x89, 0xd8, // mov eax, ebx
        0x66, 0xba, p0, p1,   // mov dx, PORT
        0xef, // out dx, eax
        0xf4, // hlt
    ]
};

const CODE_AT: usize = 0x1000;
const PML4_AT: usize = 0x2000;
const PDPT_AT: usize = 0x3000;
const DIRECTORY_AT: usize = 0x4000;
const STACK_AT: usize = 0x8000;
const MEMORY: usize = 0x8000;

/// Intel needs three pages for itself: here, below the 4 GiB mark, nothing else is.
const TSS_AT: usize = 0xfffb_d000;
const PRESENT_AND_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const CR0_PE_ET_PG: u64 = 0x8000_0011;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME_LMA: u64 = 0x500;
const RFLAGS_RESERVED: u64 = 2;

/// Memory of the guest; whole pages.
#[repr(C, align(4096))]
struct Memory([u8; MEMORY]);

/// What the guest said, and what it should say.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) computed: u32,
    pub(super) expected: u32,
}

/// How the guest's run went.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It came to its end.
    Done { fastest: Duration, answers: Answers },
    /// It was cut off after so much CPU time and time on the wall clock. A first round that was not ended has its turns.
    CutOff { cpu: Duration, wall: Duration, fastest: Option<Duration>, turns: u32 },
}

/// A machine with one vCPU that is about to run the code.
pub(super) struct Guest {
    // Before the memory, so that it is gone first.
    vcpu: VcpuFd,
    _memory: Box<Memory>,
    expected: u32,
}

impl Guest {
    pub(super) fn new(kvm: &Kvm, vm: &VmFd) -> Result<Self, errno::Error> {
        let memory = image();
        let region = kvm_userspace_memory_region {
            memory_size: MEMORY as u64,
            userspace_addr: memory.0.as_ptr() as u64,
            ..kvm_userspace_memory_region::default()
        };
        // SAFETY: the region is whole pages of `memory`, which outlives the vCPU, the only thing that runs on them; no
        // reference to their content is made while it does.
        unsafe { vm.set_user_memory_region(region) }?;
        vm.set_tss_address(TSS_AT)?;
        let vcpu = vm.create_vcpu(0)?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?;
        let expected = cpuid.as_slice().iter().find(|leaf| leaf.function == 0).map_or(0, |leaf| leaf.ebx);
        vcpu.set_cpuid2(&cpuid)?;
        let mut system = vcpu.get_sregs()?;
        enter_long_mode(&mut system);
        vcpu.set_sregs(&system)?;
        vcpu.set_regs(&kvm_regs {
            rip: CODE_AT as u64,
            rsp: STACK_AT as u64,
            rflags: RFLAGS_RESERVED,
            ..kvm_regs::default()
        })?;
        Ok(Self { vcpu, _memory: memory, expected })
    }

    /// Runs it to its end, or as long as it is worth it: while it is slower than `slow` a round. Errors are verdicts.
    pub(super) fn run(&mut self, slow: Duration) -> Result<Outcome, KvmVerdict> {
        let _ticks =
            Ticks::every(TICK).map_err(|error| broken(ProbeStep::Run, &format!("no timer: {error}"), ""))?;
        let (began, cpu_before) = (Instant::now(), cpu_time());
        let mut round_before = cpu_before;
        let (mut computed, mut fastest) = (None, None);
        loop {
            match self.vcpu.run() {
                Ok(VcpuExit::IoOut(ROUND_PORT, _)) => {
                    let now = cpu_time();
                    let took = now.saturating_sub(round_before);
                    fastest = Some(fastest.map_or(took, |least: Duration| least.min(took)));
                    round_before = now;
                }
                Ok(VcpuExit::IoOut(PORT, data)) => {
                    computed = <[u8; 4]>::try_from(data).ok().map(u32::from_le_bytes);
                }
                Ok(VcpuExit::Hlt) => {
                    let (Some(fastest), Some(computed)) = (fastest, computed) else {
                        return Err(broken(ProbeStep::Answer, "it ended without an answer", ""));
                    };
                    return Ok(Outcome::Done {
                        fastest,
                        answers: Answers { computed, expected: self.expected },
                    });
                }
                Ok(other) => return Err(broken(ProbeStep::Run, &format!("it ended with {other:?}"), "")),
                Err(error) if error.errno() == libc::EINTR => {
                    let (cpu, wall) = (cpu_time().saturating_sub(cpu_before), began.elapsed());
                    let is_slow = fastest.is_none_or(|fastest| fastest > slow);
                    if (cpu >= PATIENCE && is_slow) || wall >= PATIENCE_ON_THE_WALL {
                        return Ok(Outcome::CutOff { cpu, wall, fastest, turns: self.turns_done()? });
                    }
                }
                Err(error) => return Err(broken(ProbeStep::Run, &error.to_string(), "")),
            }
        }
    }

    /// Of the round it is in; the loop counts down in ECX.
    fn turns_done(&self) -> Result<u32, KvmVerdict> {
        let registers =
            self.vcpu.get_regs().map_err(|error| broken(ProbeStep::Run, &error.to_string(), ""))?;
        let begun = registers.rip != CODE_AT as u64;
        let left = u32::try_from(registers.rcx).unwrap_or(TURNS);
        Ok(if begun { TURNS.saturating_sub(left) } else { 0 })
    }
}

/// Code and page tables: the first 2 MiB at their own addresses.
fn image() -> Box<Memory> {
    let mut memory = Box::new(Memory([0; MEMORY]));
    memory.0[CODE_AT..CODE_AT + CODE.len()].copy_from_slice(&CODE);
    for (table, entry) in [
        (PML4_AT, PDPT_AT as u64 | PRESENT_AND_WRITABLE),
        (PDPT_AT, DIRECTORY_AT as u64 | PRESENT_AND_WRITABLE),
        (DIRECTORY_AT, LARGE_PAGE | PRESENT_AND_WRITABLE),
    ] {
        memory.0[table..table + 8].copy_from_slice(&entry.to_le_bytes());
    }
    memory
}

fn enter_long_mode(system: &mut kvm_sregs) {
    const READ_WRITE: u8 = 3;
    const EXECUTE_READ: u8 = 11;
    let data = kvm_segment {
        limit: u32::MAX,
        selector: 16,
        type_: READ_WRITE,
        present: 1,
        s: 1,
        db: 1,
        g: 1,
        ..kvm_segment::default()
    };
    system.cs = kvm_segment { selector: 8, type_: EXECUTE_READ, l: 1, db: 0, ..data };
    for segment in [&mut system.ds, &mut system.es, &mut system.fs, &mut system.gs, &mut system.ss] {
        *segment = data;
    }
    system.cr3 = PML4_AT as u64;
    system.cr4 = CR4_PAE;
    system.cr0 = CR0_PE_ET_PG;
    system.efer = EFER_LME_LMA;
}
