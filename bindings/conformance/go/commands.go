package main

// A command, and one that runs to its end in one go, with what may happen to it meanwhile.

import (
	"bytes"
	"context"
	"errors"
	"os"
	"time"

	"boxlite"
)

func (d *driver) command(ctx context.Context, r request) *boxlite.Cmd {
	words := r.all("arg")
	cmd := d.box.Command(ctx, words[0], words[1:]...)
	cmd.Env = r.all("env")
	cmd.Dir, cmd.User = r.text("cwd"), r.text("user")
	cmd.Timeout = r.milliseconds("timeout_ms", 0)
	cmd.Limits.MemoryBytes = uint64(r.number("memory", 0))
	if r.has("tty") {
		size := r.size("tty")
		cmd.TTY = &size
	}
	return cmd
}

func (d *driver) run(r request, a answer) {
	ctx := forever
	if r.has("deadline_ms") {
		ending, cancel := context.WithTimeout(ctx, r.milliseconds("deadline_ms", 0))
		defer cancel()
		ctx = ending
	}
	var out, err bytes.Buffer
	cmd := d.command(ctx, r)
	cmd.Stdout, cmd.Stderr = &out, &err
	if r.has("merge") {
		cmd.Stderr = &out
	}
	if r.has("input") {
		cmd.Stdin = bytes.NewReader(r.input())
	}
	// Without one Wait waits for processes in the background, as os/exec does.
	cmd.WaitDelay = r.milliseconds("drain_ms", 0)
	if a.failed("error", cmd.Start()) {
		return
	}
	if r.has("kill_when") {
		go d.killWhen(r.text("kill_when"))
	}
	failed := cmd.Wait()
	open := errors.Is(failed, boxlite.ErrWaitDelay)
	if open {
		failed = nil
	}
	a.waited("error", cmd.Exit, failed)
	if a["error"] == nil {
		a["open"] = open
	}
	exitOn(os.WriteFile(r.text("out"), out.Bytes(), 0o600))
	exitOn(os.WriteFile(r.text("err"), err.Bytes(), 0o600))
}

// killWhen kills the box's shim once there is this file in the box.
func (d *driver) killWhen(path string) {
	for {
		_, err := d.box.ReadFile(forever, path, 1)
		if !errors.Is(err, boxlite.ErrNotFound) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.killShim()
}
