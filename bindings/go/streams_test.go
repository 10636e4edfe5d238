package boxlite_test

// Streams by themselves, commands that are taken up, and output that is cut off.

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"boxlite"
)

// started starts a command whose streams are to be taken.
func started(t testing.TB, cmd *boxlite.Cmd) *boxlite.Execution {
	t.Helper()
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Execution.Kill(context.Background())
		_ = cmd.Wait()
	})
	return cmd.Execution
}

func TestSignals(t *testing.T) {
	ctx := within(t)
	cmd := sh(t, `trap "echo caught; exit 5" USR1; echo ready; while :; do sleep 0.05; done`)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 6))
	must(t, err)
	if err := cmd.Execution.Signal(ctx, 1000); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	must(t, cmd.Execution.Signal(ctx, syscall.SIGUSR1))
	rest, err := io.ReadAll(out)
	must(t, err)
	exit, err := cmd.Execution.Wait(ctx)
	if err != nil || exit.Code != 5 || string(rest) != "caught\n" {
		t.Errorf("got %v, %v, %q", exit, err, rest)
	}
	if again, err := cmd.Execution.Wait(ctx); err != nil || *again != *exit {
		t.Errorf("got %v, %v", again, err)
	}
	if err := cmd.Execution.Signal(ctx, syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("got %v", err)
	}
	if err := cmd.Execution.Resize(ctx, boxlite.Size{Rows: 1, Cols: 1}); err == nil {
		t.Error("a size for what has no terminal")
	}
	if cmd.Wait() == nil {
		t.Error("code 5, and well")
	}
}

func TestWaitIsGivenUp(t *testing.T) {
	execution := started(t, shared.box.Command(within(t), "sleep", "1000"))
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := execution.Wait(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, boxlite.ErrCancelled) {
		t.Errorf("got %v", err)
	}
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := execution.Wait(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	must(t, execution.Kill(within(t)))
	exit, err := execution.Wait(within(t))
	if err != nil || exit.Signal != syscall.SIGKILL || exit.Success() {
		t.Errorf("got %v, %v", exit, err)
	}
}

func TestTakenOverIsNoShortSuccess(t *testing.T) {
	ctx := within(t)
	cmd := shared.box.Command(ctx, "sh", "-c", "printf 0123456789; read line; printf abcdefghij")
	cmd.KeepStdin = true
	earlier, err := cmd.StdoutPipe()
	must(t, err)
	first := started(t, cmd)
	_, err = io.ReadFull(earlier, make([]byte, 10))
	must(t, err)
	second, err := shared.box.Attach(ctx, first.ID())
	must(t, err)
	defer second.Close()
	in, err := second.TakeStdin(ctx)
	must(t, err)
	out, err := second.TakeStdout(ctx, boxlite.Oldest)
	must(t, err)
	_, err = in.Write([]byte("go\n"))
	must(t, err)
	must(t, in.Close())
	got, err := io.ReadAll(out)
	if err != nil || string(got) != "abcdefghij" {
		t.Errorf("got %q, %v", got, err)
	}
	must(t, out.Close())
	// The process has ended and all of its output is somewhere: the earlier reader's half is half all the same.
	_, err = first.Wait(ctx)
	must(t, err)
	rest, err := io.ReadAll(earlier)
	if len(rest) != 0 || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "taken the stream over") {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestAttach(t *testing.T) {
	ctx := within(t)
	cmd := shared.box.Command(ctx, "sh", "-c", "printf 0123456789; cat; echo err >&2")
	cmd.KeepStdin, cmd.RetainOutput = true, true
	first := started(t, cmd)
	until(t, "the output", func() bool {
		state, err := first.StreamState(ctx, boxlite.Stdout)
		must(t, err)
		return state.Total == 10 && !state.Closed
	})

	runtime, err := boxlite.Open(boxlite.RuntimeOptions{HomeDir: shared.home})
	must(t, err)
	defer runtime.Close()
	box, err := runtime.Get(ctx, "shared")
	must(t, err)
	defer box.Close()
	second, err := box.Attach(ctx, first.ID())
	must(t, err)
	in, err := second.TakeStdin(ctx)
	must(t, err)
	if _, err := second.TakeStdin(ctx); !errors.Is(err, boxlite.ErrInvalidState) {
		t.Errorf("got %v", err)
	}
	_, err = in.Write([]byte("ab"))
	must(t, err)
	must(t, in.Release())
	out, err := second.TakeStdout(ctx, 4)
	must(t, err)
	must(t, second.CloseStdin(ctx, 2))
	told, err := second.TakeStderr(ctx, boxlite.Oldest)
	must(t, err)
	// What was taken outlives what it was taken through.
	must(t, second.Close())
	got, err := io.ReadAll(out)
	if err != nil || string(got) != "456789ab" {
		t.Errorf("got %q, %v", got, err)
	}
	said, err := io.ReadAll(told)
	if err != nil || string(said) != "err\n" {
		t.Errorf("got %q, %v", said, err)
	}
	must(t, out.Close())
	must(t, told.Close())

	exit, err := first.Wait(ctx)
	if err != nil || !exit.Success() {
		t.Errorf("got %v, %v", exit, err)
	}
	// What was taken through the one is nothing to the other.
	state, err := first.StreamState(ctx, boxlite.Stdout)
	if err != nil || state.First != 0 || state.Total != 12 || !state.Closed || state.TakenOver {
		t.Errorf("got %+v, %v", state, err)
	}
	list, err := box.Executions(ctx)
	must(t, err)
	found := false
	for _, one := range list {
		found = found || one.ID == first.ID() && one.Exit != nil && one.Exit.Success() && one.Args[0] == "sh" && !one.TTY &&
			one.Stdin == boxlite.StdinKeep && one.Stdout == boxlite.OutputRetain && one.Stderr == boxlite.OutputRetain &&
			!one.Merged && one.Taken == boxlite.Taken{}
	}
	if !found {
		t.Errorf("not listed: %+v", list)
	}
	if _, err := box.Attach(ctx, "nonsense"); !errors.Is(err, boxlite.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestTakenOver(t *testing.T) {
	ctx := within(t)
	cmd := shared.box.Command(ctx, "sh", "-c", "echo first; read line")
	cmd.KeepStdin, cmd.RetainOutput = true, true
	execution := started(t, cmd)
	out, err := execution.TakeStdout(ctx, boxlite.Oldest)
	must(t, err)
	_, err = io.ReadFull(out, make([]byte, 6))
	must(t, err)
	other, err := shared.box.Attach(ctx, execution.ID())
	must(t, err)
	again, err := other.TakeStdout(ctx, 0)
	must(t, err)
	defer again.Close()
	_, err = out.Read(make([]byte, 1))
	if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "cut off after 6 bytes") {
		t.Errorf("got %v", err)
	}
	if _, twice := out.Read(make([]byte, 1)); twice != err {
		t.Errorf("got %v", twice)
	}
}

func TestDeadlinesAndClose(t *testing.T) {
	ctx := within(t)
	cmd := shared.box.Command(ctx, "sleep", "1000")
	cmd.KeepStdin, cmd.RetainOutput = true, true
	execution := started(t, cmd)
	out, err := execution.TakeStdout(ctx, boxlite.Oldest)
	must(t, err)
	must(t, out.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	if _, err := out.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	must(t, out.SetReadDeadline(time.Time{}))
	in, err := execution.TakeStdin(ctx)
	must(t, err)
	must(t, in.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	if _, err := in.Write(make([]byte, 16<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := out.Read(make([]byte, 1))
		read <- err
	}()
	must(t, out.Close())
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestCutOff(t *testing.T) {
	ctx := within(t)
	runtime, _ := newRuntime(t, boxlite.RuntimeOptions{})
	box, err := runtime.Create(ctx, boxlite.BoxOptions{Image: image})
	must(t, err)
	cmd := box.Command(ctx, "sh", "-c", "yes | head -c 256000000")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	begun, err := io.CopyN(io.Discard, out, 2_000_000)
	must(t, err)
	info, err := box.Info(ctx)
	must(t, err)
	must(t, syscall.Kill(info.PID, syscall.SIGKILL))
	rest, err := io.Copy(io.Discard, out)
	if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, boxlite.ErrExecution) || begun+rest >= 256_000_000 {
		t.Errorf("got %v after %d", err, begun+rest)
	}
	if err := cmd.Wait(); !errors.Is(err, boxlite.ErrStopped) {
		t.Errorf("got %v", err)
	}
}
