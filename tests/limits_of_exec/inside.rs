//! What a process of a box sees of the machine, and what it may.

use super::{Bench, shell};

#[tokio::test]
async fn a_box_looks_like_a_container_and_grants_no_more() {
    let bench = Bench::new().await;
    let script = r#"
        grep -E '^Cap(Prm|Eff|Bnd):' /proc/self/status | tr -d '\t'
        cat /proc/sys/fs/protected_hardlinks /proc/sys/fs/protected_symlinks
        for file in /sys/kernel/mm/transparent_hugepage/enabled /proc/sys/kernel/hostname /proc/sysrq-trigger; do
            (echo x > $file) 2>/dev/null && echo "wrote $file"
        done
        wc -c < /proc/kcore
        for device in null zero full random urandom tty ptmx; do test -c /dev/$device || echo "no $device"; done
        for link in fd stdin stdout stderr; do test -e /dev/$link || echo "no $link"; done
        test -d /dev/pts && test -d /dev/shm && echo directories
        wc -c < /etc/resolv.conf; cat /proc/sys/kernel/pid_max; cat /etc/hostname | wc -l"#;
    let (code, said) = bench.say(shell(script)).await;
    // Docker's fourteen; no file of the kernel can be written; an empty resolv.conf, as there is no network.
    let capabilities = "00000000a80425fb";
    let expected = format!(
        "CapPrm:{capabilities}\nCapEff:{capabilities}\nCapBnd:{capabilities}\n1\n1\n0\ndirectories\n0\n32768\n1\n"
    );
    assert_eq!((code, said.as_str()), (0, expected.as_str()));
    bench.end().await;
}
