package main

// Many commands, and what they have left in this process.

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

func (d *driver) rounds(r request, a answer) {
	failed := 0
	for left := r.number("count", 0); left > 0; left-- {
		if err := d.command(forever, r).Run(); err != nil {
			failed++
		}
	}
	a["failed"] = failed
}

func measure(a answer) {
	// Twice, since what a finalizer lets go of is collected by the second; each also returns memory to the system.
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	exitOn(err)
	for _, line := range strings.Split(string(status), "\n") {
		if rest := strings.TrimPrefix(line, "VmRSS:"); rest != line {
			var kib int
			_, err := fmt.Sscan(rest, &kib)
			exitOn(err)
			a["resident_kib"] = kib
		}
	}
	for key, dir := range map[string]string{"descriptors": "/proc/self/fd", "threads": "/proc/self/task"} {
		entries, err := os.ReadDir(dir)
		exitOn(err)
		a[key] = len(entries)
	}
}
