package boxlite

// A command, modelled on os/exec: what is to be run, and its start. Its wait is in cmd_wait.go.

// #include <boxlite.h>
import "C"

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// Limits bound what a command and all its processes may use; 0 is no limit besides the box's.
type Limits struct {
	PIDs        uint64 // processes at a time
	MemoryBytes uint64
	OpenFiles   uint64 // of each process
	CPUMillis   uint64 // thousandths of one CPU
}

// A Cmd is a command that is prepared or runs in a box. As one of os/exec it is run once, and is used by one goroutine at
// a time; the streams and the Execution may be used by others.
type Cmd struct {
	// Args are the program, a path in the box or a name that is looked up through the box's PATH, and its arguments.
	Args []string

	Env  []string // "name=value", over the box's and the image's
	Dir  string   // an absolute path in the box; default the box's
	User string   // "name", "uid", "uid:gid" or "name:group"; default the box's

	// Stdin is what the process reads; nil is /dev/null. The process sees its end. Wait waits until all was read, unless
	// it is an *os.File: a read of that may be left waiting, and takes what comes next.
	Stdin io.Reader
	// Stdout and Stderr get what the process writes; nil is /dev/null. When they are the same writer both are written
	// to it in the order of writing, by one goroutine. Wait waits for the ends of both, which processes in the
	// background may hold up: see WaitDelay.
	Stdout, Stderr io.Writer

	// TTY gives the process a terminal of this size, whose input is Stdin and whose output is Stdout. The end of Stdin
	// types Ctrl-D; Stderr must be nil.
	TTY *Size

	KeepStdin    bool // losing the connection is no end of stdin: whoever attaches may write on
	RetainOutput bool // of output without a writer the newest 1 MiB is kept for whoever attaches, instead of nothing

	Timeout time.Duration // how long the process may run before all of the command is killed; 0 is for ever
	Limits  Limits

	// Cancel is called when the context is done while the process runs. The default kills all of the command's
	// processes.
	Cancel func() error
	// WaitDelay, when it is not 0, bounds two waits: from the context's end to that of the process, which is killed
	// then, and from the process's end to that of its streams, which are closed then ([ErrWaitDelay]).
	WaitDelay time.Duration

	// Execution is the command once it was started.
	Execution *Execution
	// Exit is how the process ended, once Wait or Run has returned.
	Exit *Exit

	ctx     context.Context
	box     *Box
	streams cmdStreams
	waiting *waiting
	waited  bool
}

// cmdStreams are the ends that this side has, and what copies to and from them.
type cmdStreams struct {
	wantIn, wantOut, wantErr bool // as pipes
	in                       *pipe
	out, err                 *pipe
	copies                   []copying
	stray                    func() error // the copy that Wait doesn't wait for
	stderr                   *ends
}

// ErrWaitDelay is what Wait returns when the process ended well but its streams did not within WaitDelay.
var ErrWaitDelay = errors.New("boxlite: WaitDelay expired before the command's streams ended")

// Command prepares a command. Like that of exec.CommandContext its context ends it: when the context is done, the start
// is undone, or the process that runs is killed.
func (b *Box) Command(ctx context.Context, name string, arg ...string) *Cmd {
	return &Cmd{Args: append([]string{name}, arg...), ctx: ctx, box: b}
}

// String is the command for a person, not for a shell.
func (c *Cmd) String() string { return strings.Join(c.Args, " ") }

// StdinPipe gives what writes to the process's standard input once it was started. Close is the end of file. Wait closes
// it when the process has ended.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if c.Stdin != nil || c.streams.wantIn {
		return nil, errors.New("boxlite: Stdin already set")
	}
	if c.Execution != nil {
		return nil, errors.New("boxlite: StdinPipe after the command was started")
	}
	c.streams.wantIn = true
	c.streams.in = &pipe{}
	return c.streams.in, nil
}

// StdoutPipe gives what reads the process's standard output once it was started. Wait closes it when the process has
// ended: read to the end before. An end that is a cut is io.ErrUnexpectedEOF.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) {
	return c.outputPipe("Stdout", c.Stdout, &c.streams.wantOut, &c.streams.out)
}

// StderrPipe is for the process's standard error what StdoutPipe is for its standard output.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) {
	return c.outputPipe("Stderr", c.Stderr, &c.streams.wantErr, &c.streams.err)
}

func (c *Cmd) outputPipe(name string, writer io.Writer, want *bool, to **pipe) (io.ReadCloser, error) {
	if writer != nil || *want {
		return nil, errors.New("boxlite: " + name + " already set")
	}
	if c.Execution != nil {
		return nil, errors.New("boxlite: " + name + "Pipe after the command was started")
	}
	*want = true
	*to = &pipe{}
	return *to, nil
}

// Start starts the command, and the box when it does not run, and returns when the process runs. A command that could
// not be started is an [*Error] with ErrExecution and the ExitCode that a shell gives, 126 or 127. After a Start that
// succeeded, Wait must be called.
func (c *Cmd) Start() error {
	if c.Execution != nil {
		return errors.New("boxlite: already started")
	}
	if c.TTY != nil && (c.Stderr != nil || c.streams.wantErr) {
		return refused("Stderr", "is set for a command with a terminal", "a terminal's output is all in Stdout")
	}
	if err := c.box.begin.enter(c.ctx); err != nil {
		return err
	}
	execution, err := c.run()
	c.box.begin.leave()
	if err != nil {
		return err
	}
	if err := c.connect(execution); err != nil {
		end, cancel := context.WithTimeout(context.Background(), killTime)
		defer cancel()
		_ = execution.Kill(end)
		c.streams.closeAll()
		execution.Close()
		return err
	}
	c.Execution = execution
	c.waiting = c.begin()
	return nil
}

func (c *Cmd) merged() bool { return c.Stderr != nil && sameWriter(c.Stdout, c.Stderr) }

// sameWriter compares what may not be comparable.
func sameWriter(a, b io.Writer) (same bool) {
	defer func() { _ = recover() }()
	return a == b
}

// run starts the process.
func (c *Cmd) run() (*Execution, error) {
	var b builder
	defer b.finish()
	command := c.builder(&b)
	defer C.boxlite_command_free(command)
	if b.err != nil {
		return nil, b.err
	}
	var started *C.boxlite_execution
	err := c.box.invoke(c.ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_exec_start(ptr, command, call, &started, err)
	})
	if err != nil {
		return nil, err
	}
	return newExecution(started, c.box.ask), nil
}

// builder makes the C command, which the caller frees, also after a failure.
func (c *Cmd) builder(b *builder) *C.boxlite_command {
	var to *C.boxlite_command
	if len(c.Args) == 0 {
		b.err = refused("Args", "are empty", "name a program")
		return nil
	}
	program := b.text("Args[0]", c.Args[0])
	b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_command_new(program, &to, err) })
	for i, arg := range c.Args[1:] {
		if b.err == nil {
			b.err = noNUL("Args["+strconv.Itoa(i+1)+"]", arg)
		}
	}
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_command_add_args(to, b.texts("Args", c.Args[1:]), C.size_t(len(c.Args)-1), err)
	})
	b.env(c.Env, func(name, value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_command_set_env(to, name, value, err)
	})
	b.optional("Dir", c.Dir, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_command_set_working_dir(to, value, err)
	})
	b.optional("User", c.User, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_command_set_user(to, value, err)
	})
	if c.Timeout != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_command_set_timeout_ms(to, milliseconds(c.Timeout), err)
		})
	}
	if c.Limits != (Limits{}) {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			pids, memory := C.uint64_t(c.Limits.PIDs), C.uint64_t(c.Limits.MemoryBytes)
			files, cpu := C.uint64_t(c.Limits.OpenFiles), C.uint64_t(c.Limits.CPUMillis)
			return C.boxlite_command_set_limits(to, pids, memory, files, cpu, err)
		})
	}
	c.modes(b, to)
	return to
}

// modes says where the process's streams go.
func (c *Cmd) modes(b *builder, to *C.boxlite_command) {
	stdin := C.int32_t(C.BOXLITE_STDIN_NULL)
	switch {
	case c.KeepStdin:
		stdin = C.BOXLITE_STDIN_KEEP
	case c.Stdin != nil || c.streams.wantIn:
		stdin = C.BOXLITE_STDIN_ONCE
	}
	output := func(wanted bool) C.int32_t {
		switch {
		case wanted:
			return C.BOXLITE_OUTPUT_PIPE
		case c.RetainOutput:
			return C.BOXLITE_OUTPUT_RETAIN
		}
		return C.BOXLITE_OUTPUT_NULL
	}
	stdout := output(c.Stdout != nil || c.streams.wantOut)
	if c.TTY != nil {
		rows, cols := clamped(c.TTY.Rows), clamped(c.TTY.Cols)
		b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_command_set_tty(to, rows, cols, err) })
	} else {
		b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_command_set_stdin(to, stdin, err) })
		stderr := output(c.Stderr != nil || c.streams.wantErr)
		b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_command_set_stderr(to, stderr, err) })
	}
	b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_command_set_stdout(to, stdout, err) })
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_command_set_merge_stderr(to, flag(c.merged()), err)
	})
}

// Run starts the command and waits for its end: nil when its code is 0, else an [*ExitError].
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the command and gives its standard output. An [*ExitError] has the beginning and the end of standard
// error, unless Stderr was set.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil || c.streams.wantOut {
		return nil, errors.New("boxlite: Stdout already set")
	}
	var stdout bytes.Buffer
	c.Stdout = &stdout
	if c.Stderr == nil && !c.streams.wantErr && c.TTY == nil {
		c.streams.stderr = &ends{}
		c.Stderr = c.streams.stderr
	}
	err := c.Run()
	return stdout.Bytes(), err
}

// CombinedOutput runs the command and gives its standard output and standard error, in the order of writing.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil || c.streams.wantOut || c.streams.wantErr {
		return nil, errors.New("boxlite: Stdout or Stderr already set")
	}
	var both bytes.Buffer
	c.Stdout = &both
	if c.TTY == nil {
		c.Stderr = &both
	}
	err := c.Run()
	return both.Bytes(), err
}
