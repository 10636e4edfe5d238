use super::*;

fn done(fastest: Duration, computed: u32) -> Outcome {
    Outcome::Done { fastest, answers: Answers { computed, expected: 7 } }
}

fn cut_off_after(cpu_ms: u64, fastest_us: Option<u64>, turns: u32) -> Outcome {
    let fastest = fastest_us.map(Duration::from_micros);
    Outcome::CutOff { cpu: Duration::from_millis(cpu_ms), wall: Duration::from_millis(400), fastest, turns }
}

fn verdict(outcome: &Outcome) -> KvmVerdict {
    judge(outcome).unwrap_or_else(|verdict| verdict)
}

#[test]
fn the_rate_decides() {
    assert_eq!(verdict(&done(Duration::from_nanos(10_100), 7)), KvmVerdict::Usable { ns_per_turn: 2 });
    assert_eq!(verdict(&done(Duration::from_millis(1), 7)), KvmVerdict::Usable { ns_per_turn: 100 });
    let slow = verdict(&done(Duration::from_nanos(1_000_001), 7));
    assert!(matches!(&slow, KvmVerdict::NotAccelerated { seen } if seen.contains("takes 101 ns")), "{slow}");
    for cut_off in [cut_off_after(12, None, 10_000), cut_off_after(35, Some(12_000), 17)] {
        let cut_off = verdict(&cut_off);
        assert!(
            matches!(&cut_off, KvmVerdict::NotAccelerated { seen } if seen.contains("takes 1200 ns")),
            "{cut_off}"
        );
    }
    let stuck = verdict(&cut_off_after(30, None, 0));
    assert!(matches!(&stuck, KvmVerdict::NotAccelerated { seen } if seen.contains("nowhere")), "{stuck}");
}

#[test]
fn a_fast_guest_that_computes_wrongly_is_broken() {
    let wrong = verdict(&done(Duration::from_micros(100), 8));
    assert!(matches!(wrong, KvmVerdict::Broken { step: ProbeStep::Answer, .. }), "{wrong}");
}

#[test]
fn a_busy_machine_is_no_emulating_one() {
    let starved = verdict(&cut_off_after(9, None, 100));
    assert!(matches!(starved, KvmVerdict::Broken { step: ProbeStep::Run, .. }), "{starved}");
    assert_eq!(verdict(&cut_off_after(300, Some(900), 17)).remedy(), starved.remedy());
    assert!(starved.remedy().contains("less load"), "{starved:?}");
    assert!(matches!(verdict(&cut_off_after(10, None, 100)), KvmVerdict::NotAccelerated { .. }));
}
