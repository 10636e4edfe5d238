package boxlite_test

// Commands to their end, as os/exec has them.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"boxlite"
)

func sh(t testing.TB, script string, args ...string) *boxlite.Cmd {
	return shared.box.Command(within(t), "sh", append([]string{"-c", script, "sh"}, args...)...)
}

func TestOutput(t *testing.T) {
	out, err := sh(t, "echo out; echo err >&2").Output()
	must(t, err)
	if string(out) != "out\n" {
		t.Errorf("got %q", out)
	}
	both, err := sh(t, "echo 1; echo 2 >&2; echo 3").CombinedOutput()
	must(t, err)
	if string(both) != "1\n2\n3\n" {
		t.Errorf("got %q", both)
	}
}

func TestExitError(t *testing.T) {
	cmd := sh(t, "echo said >&2; exit 7")
	_, err := cmd.Output()
	var failed *boxlite.ExitError
	if !errors.As(err, &failed) || failed.Code != 7 || failed.ExitCode() != 7 || failed.Signal != 0 {
		t.Fatalf("got %#v", err)
	}
	if string(failed.Stderr) != "said\n" || failed.Error() != "exit status 7" || cmd.Exit.Code != 7 {
		t.Errorf("got %q, %v, %v", failed.Stderr, failed, cmd.Exit)
	}

	err = sh(t, "kill -USR1 $$").Run()
	if !errors.As(err, &failed) || failed.Code != -1 || failed.Signal != syscall.SIGUSR1 {
		t.Errorf("got %v", err)
	}

	_, err = sh(t, "yes 12345678 | head -n 20000 >&2; echo last >&2; false").Output()
	if !errors.As(err, &failed) || len(failed.Stderr) > 70_000 {
		t.Fatalf("got %v", err)
	}
	if said := string(failed.Stderr); !strings.HasPrefix(said, "12345678\n") || !strings.HasSuffix(said, "\nlast\n") ||
		!strings.Contains(said, "\n... omitting 114469 bytes ...\n") {
		t.Errorf("got %d bytes", len(said))
	}
}

func TestNotStarted(t *testing.T) {
	err := shared.box.Command(within(t), "no-such-program").Run()
	var told *boxlite.Error
	if !errors.As(err, &told) || !errors.Is(err, boxlite.ErrExecution) || told.ExitCode != 127 || told.Remedy == "" {
		t.Fatalf("got %#v", err)
	}
	if !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("got %v", err)
	}
	err = shared.box.Command(within(t), "/etc").Start()
	if !errors.As(err, &told) || told.ExitCode != 126 {
		t.Errorf("got %v", err)
	}
	err = shared.box.Command(within(t), "echo", "a\x00b").Run()
	if !errors.As(err, &told) || told.Code != boxlite.ErrInvalidArgument || told.Subject != "Args[1]" {
		t.Errorf("got %v", err)
	}
	if err = shared.box.Command(within(t), "").Run(); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	cmd := sh(t, ":")
	cmd.Env = []string{"novalue"}
	if err = cmd.Run(); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	cmd := sh(t, `pwd; echo "$A"; id -u; printf '<%s>' "$@"`, "", " x ", "\xff\xfe")
	cmd.Env, cmd.Dir, cmd.User = []string{"A=first", "A=\xffé="}, "/tmp", "12:34"
	out, err := cmd.Output()
	must(t, err)
	if want := "/tmp\n\xffé=\n12\n<>< x ><\xff\xfe>"; string(out) != want {
		t.Errorf("got %q, not %q", out, want)
	}
}

func TestStdin(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	cmd := shared.box.Command(within(t), "cat")
	cmd.Stdin = bytes.NewReader(sent)
	out, err := cmd.Output()
	must(t, err)
	if !bytes.Equal(out, sent) {
		t.Errorf("%d bytes came back of %d", len(out), len(sent))
	}

	// A process that doesn't read is no error, and neither is a file that never ends.
	cmd = sh(t, "exec <&-; exit 0")
	cmd.Stdin = bytes.NewReader(sent)
	must(t, cmd.Run())
	r, w, err := os.Pipe()
	must(t, err)
	defer w.Close()
	defer r.Close()
	cmd = sh(t, "exit 0")
	cmd.Stdin = r
	must(t, cmd.Run())

	// What the reader says is Wait's error, and the process is told the end.
	cmd = shared.box.Command(within(t), "cat")
	cmd.Stdin = io.MultiReader(strings.NewReader("x"), failing{})
	var got bytes.Buffer
	cmd.Stdout = &got
	if err := cmd.Run(); !errors.Is(err, errFailing) || got.String() != "x" {
		t.Errorf("got %v, %q", err, &got)
	}
	out, err = shared.box.Command(within(t), "readlink", "/proc/self/fd/0").Output()
	if err != nil || string(out) != "/dev/null\n" {
		t.Errorf("got %v, %q", err, out)
	}
}

var errFailing = errors.New("a reader or writer that fails")

type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, errFailing }
func (failing) Write([]byte) (int, error) { return 0, errFailing }

func TestWriterThatFails(t *testing.T) {
	cmd := sh(t, "yes | head -c 3000000; echo well >&2")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = failing{}, &said
	if err := cmd.Run(); !errors.Is(err, errFailing) || said.String() != "well\n" || !cmd.Exit.Success() {
		t.Errorf("got %v, %q", err, &said)
	}
}

func TestPipes(t *testing.T) {
	cmd := sh(t, "cat; echo done >&2; exit 4")
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	told, err := cmd.StderrPipe()
	must(t, err)
	if _, err := in.Write([]byte("early")); err == nil {
		t.Error("a pipe could be written to before the start")
	}
	must(t, cmd.Start())
	for _, part := range []string{"first ", "last"} {
		_, err = io.WriteString(in, part)
		must(t, err)
	}
	must(t, in.Close())
	must(t, in.Close())
	got, err := io.ReadAll(out)
	must(t, err)
	said, err := io.ReadAll(told)
	must(t, err)
	if string(got) != "first last" || string(said) != "done\n" {
		t.Errorf("got %q, %q", got, said)
	}
	var failed *boxlite.ExitError
	if err := cmd.Wait(); !errors.As(err, &failed) || failed.Code != 4 {
		t.Errorf("got %v", err)
	}
	if cmd.Wait() == nil || cmd.Start() == nil {
		t.Error("a command can be waited for or started twice")
	}
	if _, err := cmd.StdoutPipe(); err == nil {
		t.Error("a pipe after the start")
	}
	if _, err := out.Read(make([]byte, 1)); err == nil {
		t.Error("Wait left the pipe open")
	}
}

func TestContextKills(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := shared.box.Command(ctx, "sh", "-c", "setsid sleep 1000 & echo ready; sleep 1000")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 6))
	must(t, err)
	cancel()
	err = cmd.Wait()
	var failed *boxlite.ExitError
	if !errors.As(err, &failed) || failed.Signal != syscall.SIGKILL || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}

	err = shared.box.Command(ctx, "true").Run()
	if !errors.Is(err, context.Canceled) || !errors.Is(err, boxlite.ErrCancelled) {
		t.Errorf("got %v", err)
	}
	short, end := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer end()
	if err = shared.box.Command(short, "sleep", "1000").Run(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestCancelAndWaitDelay(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := shared.box.Command(ctx, "sh", "-c", "trap 'echo caught; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Cancel = func() error { return cmd.Execution.Signal(within(t), syscall.SIGTERM) }
	must(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, 6))
	must(t, err)
	cancel()
	rest, err := io.ReadAll(out)
	must(t, err)
	if err := cmd.Wait(); string(rest) != "caught\n" || !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v", rest, err)
	}

	// One that doesn't hear is killed after the delay.
	ctx, cancel = context.WithCancel(context.Background())
	cmd = shared.box.Command(ctx, "sleep", "1000")
	cmd.Cancel, cmd.WaitDelay = func() error { return nil }, 50*time.Millisecond
	must(t, cmd.Start())
	cancel()
	var failed *boxlite.ExitError
	if err := cmd.Wait(); !errors.As(err, &failed) || failed.Signal != syscall.SIGKILL {
		t.Errorf("got %v", err)
	}

	// Somebody in the background who has the output does not hold Wait up, and what was given back is left alone.
	cmd = sh(t, "yes & echo said")
	cmd.WaitDelay = 2 * time.Second
	said, err := cmd.CombinedOutput()
	if !errors.Is(err, boxlite.ErrWaitDelay) || !bytes.Contains(said, []byte("said\n")) {
		t.Errorf("got %d bytes, %v", len(said), err)
	}
	said[0]++
	must(t, shared.box.Command(within(t), "killall", "yes").Run())
}

func TestTimeoutAndLimits(t *testing.T) {
	cmd := sh(t, "sleep 1000")
	cmd.Timeout = 100 * time.Millisecond
	var failed *boxlite.ExitError
	if err := cmd.Run(); !errors.As(err, &failed) || !failed.TimedOut || failed.Success() {
		t.Errorf("got %v", err)
	}
	cmd = sh(t, "ulimit -n")
	cmd.Limits.OpenFiles = 77
	if out, err := cmd.Output(); err != nil || string(out) != "77\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestTerminal(t *testing.T) {
	cmd := sh(t, "test -t 0 && test -t 1 && stty -echo -onlcr; stty size; read line; stty size; cat")
	cmd.TTY = &boxlite.Size{Rows: 33, Cols: 99}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line := func() string {
		var got []byte
		for one := make([]byte, 1); !bytes.HasSuffix(got, []byte("\n")); got = append(got, one...) {
			_, err := io.ReadFull(out, one)
			must(t, err)
		}
		return string(got)
	}
	sizes := []string{line()}
	must(t, cmd.Execution.Resize(within(t), boxlite.Size{Rows: 44, Cols: 111}))
	_, err = io.WriteString(in, "\n")
	must(t, err)
	sizes = append(sizes, line())
	_, err = io.WriteString(in, "typed\n")
	must(t, err)
	sizes = append(sizes, line())
	must(t, in.Close())
	rest, err := io.ReadAll(out)
	must(t, err)
	must(t, cmd.Wait())
	if want := []string{"33 99\n", "44 111\n", "typed\n"}; !reflect.DeepEqual(sizes, want) || len(rest) != 0 {
		t.Errorf("got %q, then %q", sizes, rest)
	}

	cmd = sh(t, "tty -s; echo $?; cat >/dev/null")
	cmd.TTY, cmd.Stdin = &boxlite.Size{Rows: 24, Cols: 80}, strings.NewReader("")
	said, err := cmd.Output()
	must(t, err)
	if !strings.Contains(string(said), "0\r\n") {
		t.Errorf("got %q", said)
	}
	// Nothing of what is typed is read.
	cmd = sh(t, "exit 6")
	cmd.TTY, cmd.Stdin = &boxlite.Size{Rows: 24, Cols: 80}, bytes.NewReader(make([]byte, 16<<20))
	var failed *boxlite.ExitError
	if err := cmd.Run(); !errors.As(err, &failed) || failed.Code != 6 {
		t.Errorf("got %v", err)
	}
	cmd = sh(t, ":")
	cmd.TTY, cmd.Stderr = &boxlite.Size{Rows: 24, Cols: 80}, io.Discard
	if err := cmd.Start(); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
}
