package main

// What each op is: itself, where one call does it.

import (
	"os"
	"syscall"

	"boxlite"
)

type driver struct {
	runtime *boxlite.Runtime
	box     *boxlite.Box
}

func options(image string, memory int64) boxlite.BoxOptions {
	return boxlite.BoxOptions{Image: image, MemoryMiB: memory}
}

func (d *driver) perform(r request) answer {
	a := answer{}
	copying := boxlite.CopyOptions{NoOverwrite: r.number("overwrite", 1) == 0}
	switch r.op {
	case "run":
		d.run(r, a)
	case "stream":
		d.stream(r, a)
	case "untaken":
		d.untaken(r, a)
	case "attach":
		d.attach(r, a)
	case "start":
		d.start(r, a)
	case "create":
		with := options(r.text("image"), r.number("memory_mib", 256))
		with.Name = r.text("name")
		_, err := d.runtime.Create(forever, with)
		a.failed("error", err)
	case "get":
		_, err := d.runtime.Get(forever, r.text("name"))
		a.failed("error", err)
	case "remove":
		a.failed("error", d.runtime.Remove(forever, r.text("name"), r.number("force", 0) != 0))
	case "copy_in":
		a.failed("error", d.box.CopyIn(forever, r.text("host"), r.text("box"), copying))
	case "copy_out":
		a.failed("error", d.box.CopyOut(forever, r.text("box"), r.text("host"), copying))
	case "read_file":
		data, err := d.box.ReadFile(forever, r.text("box"), r.number("max", 1<<20))
		if !a.failed("error", err) {
			exitOn(os.WriteFile(r.text("out"), data, 0o600))
		}
	case "write_file":
		a.failed("error", d.box.WriteFile(forever, r.text("box"), r.input(), 0o644))
	case "stop":
		a.failed("error", d.box.Stop(forever))
	case "reopen":
		again, err := d.runtime.Get(forever, d.box.ID())
		if !a.failed("error", err) {
			d.box.Close()
			d.box = again
		}
	case "rounds":
		d.rounds(r, a)
	case "measure":
		measure(a)
	default:
		a["unknown"] = r.op
	}
	return a
}

func (d *driver) killShim() {
	info, err := d.box.Info(forever)
	exitOn(err)
	exitOn(syscall.Kill(info.PID, syscall.SIGKILL))
}
