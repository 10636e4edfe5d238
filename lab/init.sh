#!/bin/sh
# The first process of the lab's virtual machine: makes the disk writable in memory, runs the job in the tree's own
# directory and says on the console how it ended. Its own end is the machine's.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# As some labs do by themselves.
if grep -q lab.hang /proc/cmdline; then while :; do sleep 3600; done; fi
mount -t tmpfs -o mode=755 write /write
mkdir -p /write/up /write/work /write/root
mount -t overlay -o lowerdir=/,upperdir=/write/up,workdir=/write/work overlay /write/root
cd /write/root || exit 1
for each in dev proc sys; do
    mount -n -o move "/$each" "$each"
done
# Not only chroot: in one, nobody may make user namespaces.
mkdir old
pivot_root . old
exec chroot . /bin/sh -c '
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/run/tmp
    echo 1 >/proc/sys/kernel/printk
    (while sleep 10; do echo "lab: alive"; done) &
    mkdir -p /dev/pts /dev/shm
    mount -t devpts devpts /dev/pts
    mount -t tmpfs shm /dev/shm
    mount -t tmpfs run /run
    mkdir -m 1777 "$TMPDIR"
    chmod 1777 /tmp
    mount -t cgroup2 none /sys/fs/cgroup
    hostname lab
    cd "$(cat /lab-path)" || exit 1
    bash /lab-job </dev/null
    echo "lab: the job ended with $?"
    sync
'
