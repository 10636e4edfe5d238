package boxlite_test

// Boxes: made, found, listed, stopped, removed; what goes wrong with them.

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boxlite"
)

func TestLife(t *testing.T) {
	ctx := within(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	defer log.Close()
	runtime, home := newRuntime(t, boxlite.RuntimeOptions{Log: log, LogLevel: boxlite.LogDebug})
	box, err := runtime.Create(ctx, boxlite.BoxOptions{
		Name: "one", Image: image, CPUs: 1, MemoryMiB: 256, DiskSizeGB: 2, DiskCache: boxlite.DiskCacheUnsafe,
		Engine: boxlite.EngineAuto, Env: []string{"A=b", "A=c"}, WorkingDir: "/tmp", User: "0:0",
		Labels: map[string]string{"k": "v", "empty": ""},
	})
	must(t, err)
	info, err := box.Info(ctx)
	must(t, err)
	if info.ID != box.ID() || info.Name != "one" || box.Name() != "one" || info.Status != boxlite.StatusConfigured ||
		info.Status.String() != "configured" || info.MemoryMiB != 256 || info.DiskSizeGB != 2 || info.Image != image ||
		!info.Started.IsZero() || time.Since(info.Created) > patience || len(info.Labels) != 2 || info.Labels["k"] != "v" {
		t.Errorf("got %+v", info)
	}
	var stages []string
	must(t, box.Start(boxlite.WithProgress(ctx, func(p boxlite.Progress) bool {
		stages = append(stages, p.Stage)
		return true
	})))
	if len(stages) == 0 || stages[len(stages)-1] != "done" {
		t.Errorf("got %q", stages)
	}
	info, err = box.Info(ctx)
	must(t, err)
	if info.Status != boxlite.StatusRunning || info.PID == 0 || info.Engine == "" || len(info.Stages) == 0 {
		t.Errorf("got %+v", info)
	}
	out, err := box.Command(ctx, "sh", "-c", "echo $A; pwd; echo kept >/kept").Output()
	if err != nil || string(out) != "c\n/tmp\n" {
		t.Errorf("got %q, %v", out, err)
	}

	_, err = runtime.Create(ctx, boxlite.BoxOptions{Name: "two", Image: image, Labels: map[string]string{"k": "w"}})
	must(t, err)
	names := func(filter boxlite.Filter) string {
		list, err := runtime.List(ctx, filter)
		must(t, err)
		var all []string
		for _, one := range list {
			all = append(all, one.Name)
		}
		return strings.Join(all, " ")
	}
	for want, filter := range map[string]boxlite.Filter{
		"two one": {}, "one": {Labels: map[string]string{"k": "v"}}, "": {Labels: map[string]string{"k": "v2"}},
	} {
		if got := names(filter); got != want {
			t.Errorf("%+v: got %q, not %q", filter, got, want)
		}
	}
	if got := names(boxlite.Filter{HasLabels: []string{"k"}}); got != "two one" {
		t.Errorf("got %q", got)
	}

	if err := runtime.Remove(ctx, "one", false); !errors.Is(err, boxlite.ErrInvalidState) {
		t.Errorf("got %v", err)
	}
	must(t, box.Stop(ctx))
	if err := box.Start(ctx); !errors.Is(err, boxlite.ErrStopped) {
		t.Errorf("got %v", err)
	}
	must(t, box.Close())
	again, err := runtime.Get(ctx, info.ID[:8])
	must(t, err)
	out, err = again.Command(ctx, "cat", "/kept").Output()
	if err != nil || string(out) != "kept\n" {
		t.Errorf("got %q, %v", out, err)
	}
	must(t, runtime.Remove(ctx, "one", true))
	if _, err := os.Stat(filepath.Join(home, "boxes", info.ID)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	text, err := os.ReadFile(log.Name())
	must(t, err)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %q", line)
		}
	}
}

func TestErrors(t *testing.T) {
	ctx := within(t)
	_, err := shared.runtime.Get(ctx, "nobody")
	var told *boxlite.Error
	if !errors.As(err, &told) || !errors.Is(err, boxlite.ErrNotFound) || !errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, boxlite.ErrBusy) || told.Subject != "nobody" || told.Remedy == "" || told.ExitCode != -1 {
		t.Errorf("got %#v", err)
	}
	_, err = shared.runtime.Create(ctx, boxlite.BoxOptions{Name: "shared", Image: image})
	if !errors.Is(err, boxlite.ErrAlreadyExists) || !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	for subject, options := range map[string]boxlite.BoxOptions{
		"Engine": {Engine: "none"}, "Image": {Image: "a\x00"}, "Env": {Env: []string{"x"}},
		"cpus": {CPUs: 1 << 40}, "disk_cache": {DiskCache: 9}, "key": {Labels: map[string]string{"": "x"}},
	} {
		_, err = shared.runtime.Create(ctx, options)
		if !errors.As(err, &told) || told.Code != boxlite.ErrInvalidArgument || told.Subject != subject {
			t.Errorf("%s: got %#v", subject, err)
		}
	}
	_, err = shared.runtime.Create(ctx, boxlite.BoxOptions{AutoRemove: true, Detach: true})
	if err == nil {
		t.Error("auto-remove with detach")
	}
	_, err = boxlite.Open(boxlite.RuntimeOptions{HomeDir: "/dev/null/x"})
	if !errors.Is(err, boxlite.ErrStorage) {
		t.Errorf("got %v", err)
	}
	_, err = boxlite.Open(boxlite.RuntimeOptions{HomeDir: t.TempDir(), Registries: []boxlite.Registry{{Host: ""}}})
	if !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	closed, _ := os.Open("/dev/null")
	closed.Close()
	_, err = boxlite.Open(boxlite.RuntimeOptions{HomeDir: t.TempDir(), Log: closed})
	if !errors.As(err, &told) || told.Subject != "fd" {
		t.Errorf("got %v", err)
	}

	done, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = shared.runtime.List(done, boxlite.Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Hour))
	defer cancel()
	if _, err = shared.box.Info(late); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, boxlite.ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestClosed(t *testing.T) {
	ctx := within(t)
	box, err := shared.runtime.Get(ctx, "shared")
	must(t, err)
	cmd := box.Command(ctx, "sleep", "1000")
	must(t, cmd.Start())
	must(t, box.Close())
	must(t, box.Close())
	if _, err := box.Info(ctx); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
	must(t, cmd.Execution.Kill(ctx))
	if cmd.Wait() == nil {
		t.Error("killed, and well")
	}
	if err := cmd.Execution.Kill(ctx); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestProgress(t *testing.T) {
	ctx := within(t)
	runtime, _ := newRuntime(t, boxlite.RuntimeOptions{})
	box, err := runtime.Create(ctx, boxlite.BoxOptions{Image: image})
	must(t, err)
	err = box.Start(boxlite.WithProgress(ctx, func(boxlite.Progress) bool { return false }))
	if !errors.Is(err, boxlite.ErrCancelled) || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() {
			if cause := recover(); cause != "from the function" {
				t.Errorf("got %v", cause)
			}
		}()
		_ = box.Start(boxlite.WithProgress(ctx, func(boxlite.Progress) bool { panic("from the function") }))
	}()
	info, err := box.Info(ctx)
	if err != nil || info.PID != 0 {
		t.Errorf("got %+v, %v", info, err)
	}
}

func TestDetached(t *testing.T) {
	ctx := within(t)
	first, home := newRuntime(t, boxlite.RuntimeOptions{})
	box, err := first.Create(ctx, boxlite.BoxOptions{Image: image, Detach: true})
	must(t, err)
	cmd := box.Command(ctx, "sh", "-c", "read line; echo got $line")
	cmd.KeepStdin, cmd.RetainOutput = true, true
	must(t, cmd.Start())
	must(t, first.Close())
	if _, err := first.List(ctx, boxlite.Filter{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
	before, err := os.ReadFile(filepath.Join(home, "boxes", box.ID(), "shim.pid"))
	must(t, err)

	second, _ := newRuntime(t, boxlite.RuntimeOptions{HomeDir: home})
	box, err = second.Get(ctx, box.ID())
	must(t, err)
	execution, err := box.Attach(ctx, cmd.Execution.ID())
	must(t, err)
	in, err := execution.TakeStdin(ctx)
	must(t, err)
	out, err := execution.TakeStdout(ctx, boxlite.Oldest)
	must(t, err)
	_, err = in.Write([]byte("hello\n"))
	must(t, err)
	if text, err := io.ReadAll(out); err != nil || string(text) != "got hello\n" {
		t.Errorf("got %q, %v", text, err)
	}
	after, err := os.ReadFile(filepath.Join(home, "boxes", box.ID(), "shim.pid"))
	must(t, err)
	if string(before) != string(after) {
		t.Errorf("the box was started anew: %s, %s", before, after)
	}
	must(t, second.Remove(ctx, box.ID(), true))
}

// A template is made with little right to the machine, so only one that does nothing else has it soon.
func TestPrepare(t *testing.T) {
	ctx := within(t)
	none := int64(0)
	without, _ := newRuntime(t, boxlite.RuntimeOptions{HomeDir: homeDir(t), TemplateSpace: &none})
	must(t, without.Prepare(ctx, boxlite.BoxOptions{}))

	home := homeDir(t)
	runtime, _ := newRuntime(t, boxlite.RuntimeOptions{HomeDir: home})
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := runtime.Prepare(short, boxlite.BoxOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if os.Getenv("BOXLITE_TEST_IDLE") != "" {
		must(t, runtime.Prepare(ctx, boxlite.BoxOptions{MemoryMiB: 128}))
		made, err := filepath.Glob(filepath.Join(home, "templates", "*", "checked"))
		if err != nil || len(made) != 1 {
			t.Errorf("got %q, %v", made, err)
		}
	}
}

func TestSystemCheckAndRepair(t *testing.T) {
	ctx := within(t)
	space, spares := int64(256<<20), int32(1)
	home := homeDir(t)
	runtime, _ := newRuntime(t, boxlite.RuntimeOptions{
		HomeDir: home, TemplateSpace: &space, Spares: &spares, Engine: boxlite.EngineQEMU,
		MaxLayerBytes: 1 << 40, MaxImageEntries: 1 << 20,
		Registries: []boxlite.Registry{
			{Host: "127.0.0.1:1", PlainHTTP: true, Search: true, Username: "u", Password: "p"},
			{Host: "127.0.0.1:2", SkipVerify: true, Token: "t"},
		},
	})
	checks, err := runtime.SystemCheck(ctx)
	must(t, err)
	for _, one := range checks {
		if one.Name == "" || one.Detail == "" || one.Status == boxlite.CheckFailed {
			t.Errorf("got %+v", one)
		}
	}
	if err = runtime.Prepare(ctx, boxlite.BoxOptions{Engine: "none"}); err == nil {
		t.Error("an engine that there is not")
	}
	box, err := runtime.Create(ctx, boxlite.BoxOptions{Name: "kept", Image: image})
	must(t, err)
	must(t, runtime.Shutdown(ctx, 0))
	if err = box.Start(ctx); !errors.Is(err, boxlite.ErrStopped) {
		t.Errorf("got %v", err)
	}
	report, err := boxlite.Repair(boxlite.RuntimeOptions{HomeDir: home})
	must(t, err)
	if len(report.Boxes) != 1 || report.Boxes[0].Name != "kept" || report.Boxes[0].Outcome != boxlite.RepairKept || len(report.Kept) != 0 {
		t.Errorf("got %+v", report)
	}
}
