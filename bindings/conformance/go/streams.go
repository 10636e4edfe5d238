package main

// Commands whose streams are taken: as they come, when nobody took them, by another one who attaches.

import (
	"bytes"
	"io"
	"syscall"

	"boxlite"
)

func (d *driver) stream(r request, a answer) {
	cmd := d.command(forever, r)
	tty := cmd.TTY != nil
	in, err := cmd.StdinPipe()
	exitOn(err)
	stdout, err := cmd.StdoutPipe()
	exitOn(err)
	var stderr io.Reader
	if !tty {
		stderr, err = cmd.StderrPipe()
		exitOn(err)
	}
	if a.failed("error", cmd.Start()) {
		return
	}
	out := newOutput(stdout, r.text("out"))
	feeding, reading := make(chan struct{}), make(chan struct{})
	var errors *output
	if !tty {
		errors = newOutput(stderr, r.text("err"))
		go func() {
			defer close(feeding)
			// A command that reads no more is no failure of the row.
			_, _ = in.Write(r.input())
			_ = in.Close()
		}()
		go func() {
			defer close(reading)
			errors.readAll()
		}()
	}
	out.readWhile(func() bool { return !bytes.Contains(out.seen, []byte(r.text("until"))) })
	out.readWhile(func() bool { return out.received < r.number("shim_after", 0) })
	if r.has("shim_after") {
		d.killShim()
	}
	if r.has("resize") {
		a.failed("resize", cmd.Execution.Resize(forever, r.size("resize")))
	}
	if tty {
		_, err := in.Write([]byte(r.text("type")))
		a.failed("typed", err)
	}
	if r.has("signal") {
		a.failed("sent", cmd.Execution.Signal(forever, syscall.Signal(r.number("signal", 0))))
	}
	if r.has("kill") {
		a.failed("sent", cmd.Execution.Kill(forever))
	}
	out.readAll()
	if !tty {
		<-reading
		<-feeding
		errors.finish(a, "stderr")
	}
	out.finish(a, "stdout")
	err = cmd.Wait()
	a.waited("wait", cmd.Exit, err)
}

// untaken lets a command write what nobody takes, waits, and takes what is left.
func (d *driver) untaken(r request, a answer) {
	cmd := d.command(forever, r)
	cmd.RetainOutput = true
	exitOn(cmd.Start())
	execution := cmd.Execution
	exit, err := execution.Wait(forever)
	a.waited("wait", exit, err)
	state, err := execution.StreamState(forever, boxlite.Stdout)
	exitOn(err)
	a["total"], a["dropped"], a["closed"] = state.Total, state.Dropped, state.Closed
	stdout, err := execution.TakeStdout(forever, boxlite.Oldest)
	exitOn(err)
	out := newOutput(stdout, r.text("out"))
	out.readAll()
	out.finish(a, "stdout")
	exitOn(stdout.Close())
	exitOn(cmd.Wait())
}

// attach: one starts a command and talks to it, another takes it up by its id and talks on.
func (d *driver) attach(r request, a answer) {
	first, second, offset := r.text("first"), r.text("second"), r.number("offset", 0)
	cmd := d.command(forever, r)
	cmd.KeepStdin = true
	in, err := cmd.StdinPipe()
	exitOn(err)
	stdout, err := cmd.StdoutPipe()
	exitOn(err)
	exitOn(cmd.Start())
	before := newOutput(stdout, r.text("err"))
	_, err = io.WriteString(in, first)
	exitOn(err)
	before.readWhile(func() bool { return before.received < offset })

	again, err := d.runtime.Get(forever, d.box.ID())
	exitOn(err)
	defer again.Close()
	attached, err := again.Attach(forever, cmd.Execution.ID())
	exitOn(err)
	defer attached.Close()
	input, err := attached.TakeStdin(forever)
	exitOn(err)
	taken, err := attached.TakeStdout(forever, uint64(offset))
	exitOn(err)
	after := newOutput(taken, r.text("out"))
	before.readAll()
	before.finish(a, "taken_over")
	_, err = io.WriteString(input, second)
	exitOn(err)
	exitOn(attached.CloseStdin(forever, uint64(len(first)+len(second))))
	after.readAll()
	after.finish(a, "stdout")
	exitOn(input.Close())
	exitOn(taken.Close())
	exit, err := attached.Wait(forever)
	a.waited("wait", exit, err)
	// Its output was taken over, which has been told.
	_ = cmd.Wait()
}
