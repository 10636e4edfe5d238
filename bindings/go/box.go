package boxlite

// A box: its state, and the commands that are in it. It owns the box's handle; commands themselves are cmd.go's.

// #include <boxlite.h>
import "C"

import (
	"context"
	"time"
	"unsafe"
)

// How many calls that begin a command, and how many that ask about one, may hold a thread at a time, for each Box. A box
// that does not answer so holds up nobody but its own callers.
const (
	begins = 8
	asks   = 8
)

// A Box is a virtual machine made from an image, running or not.
type Box struct {
	handle *owned
	id     string
	name   string
	begin  gate
	ask    gate
	end    ending
}

func newBox(from *C.boxlite_box) *Box {
	free := func(ptr unsafe.Pointer) { C.boxlite_box_free((*C.boxlite_box)(ptr)) }
	return &Box{
		handle: own("box", unsafe.Pointer(from), free),
		id:     C.GoString(C.boxlite_box_id(from)),
		name:   C.GoString(C.boxlite_box_name(from)),
		begin:  newGate(begins),
		ask:    newGate(asks),
	}
}

// ID is 12 letters and digits, by which any process can get the box.
func (b *Box) ID() string { return b.id }

// Name is the box's name; empty when it has none.
func (b *Box) Name() string { return b.name }

// Close lets go of the box, which goes on. What was begun with it may be used on.
func (b *Box) Close() error {
	b.handle.close()
	b.end.close()
	return nil
}

// invoke makes a call on the box.
func (b *Box) invoke(
	ctx context.Context, do func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code,
) error {
	ptr, err := b.handle.use()
	if err != nil {
		return err
	}
	defer b.handle.done()
	return invoke(ctx, func(call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return do((*C.boxlite_box)(ptr), call, err)
	})
}

// Info is what the box is at this moment; also after it was stopped.
func (b *Box) Info(ctx context.Context) (Info, error) {
	var info *C.boxlite_info
	err := b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_info(ptr, call, &info, err)
	})
	if err != nil {
		return Info{}, err
	}
	defer C.boxlite_info_free(info)
	return infoFrom(info), nil
}

// Start pulls the image when it is not there yet, starts the virtual machine, and returns when commands can run. It does
// nothing when the box runs; commands do this by themselves. It reports progress. When ctx ends the call the virtual
// machine is ended; what was pulled is kept. After a stop get the box again: this is [ErrStopped].
func (b *Box) Start(ctx context.Context) error {
	return b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_start(ptr, call, err)
	})
}

// Stop stops the box: its processes get SIGTERM, 2 seconds later SIGKILL, then its disk is written back. What was written
// is there after the next start, unless the box is one that is removed when it stops. When ctx ends the wait the stop
// goes on.
func (b *Box) Stop(ctx context.Context) error {
	return b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_stop(ptr, call, err)
	})
}

// An ExecutionInfo is a command of a box at one moment.
type ExecutionInfo struct {
	ID      string
	Args    []string // the program, then its arguments
	Started time.Time
	TTY     bool
	Stdin   StdinMode
	Stdout  OutputMode // also of a terminal
	Stderr  OutputMode
	Merged  bool // it has no standard error of its own: that is written where its standard output is
	Taken   Taken
	Exit    *Exit // nil while it runs
}

// A StdinMode is what a command's standard input is.
type StdinMode int

// The modes of a standard input.
const (
	StdinNull StdinMode = C.BOXLITE_STDIN_NULL // /dev/null
	StdinOnce StdinMode = C.BOXLITE_STDIN_ONCE // a stream that ends with its connection
	StdinKeep StdinMode = C.BOXLITE_STDIN_KEEP // a stream that whoever attaches may go on with
)

// An OutputMode is what becomes of output that nobody has taken.
type OutputMode int

// The modes of an output.
const (
	OutputRetain OutputMode = C.BOXLITE_OUTPUT_RETAIN // the newest 1 MiB is kept
	OutputPipe   OutputMode = C.BOXLITE_OUTPUT_PIPE   // all of it is kept, and the process waits
	OutputNull   OutputMode = C.BOXLITE_OUTPUT_NULL   // it goes to /dev/null
)

// Taken says which streams of a command somebody is connected to; a terminal is Stdin and Stdout.
type Taken struct {
	Stdin, Stdout, Stderr bool
}

// Executions lists the box's commands, in the order they were started: those that run, and the newest 64 that have
// ended since the box started. A box that does not run has none, and is not started.
func (b *Box) Executions(ctx context.Context) ([]ExecutionInfo, error) {
	var list *C.boxlite_execution_list
	err := b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_executions(ptr, call, &list, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_execution_list_free(list)
	all := make([]ExecutionInfo, C.boxlite_execution_list_len(list))
	for i := range all {
		from := C.boxlite_execution_list_at(list, C.size_t(i))
		all[i] = ExecutionInfo{
			ID:      C.GoString(C.boxlite_execution_info_id(from)),
			Started: time.UnixMilli(int64(C.boxlite_execution_info_started_at_ms(from))),
			TTY:     C.boxlite_execution_info_tty(from) != 0,
			Stdin:   StdinMode(C.boxlite_execution_info_stdin(from)),
			Stdout:  OutputMode(C.boxlite_execution_info_stdout(from)),
			Stderr:  OutputMode(C.boxlite_execution_info_stderr(from)),
			Merged:  C.boxlite_execution_info_merge_stderr(from) != 0,
			Taken: Taken{
				Stdin:  C.boxlite_execution_info_stdin_taken(from) != 0,
				Stdout: C.boxlite_execution_info_stdout_taken(from) != 0,
				Stderr: C.boxlite_execution_info_stderr_taken(from) != 0,
			},
		}
		for word := C.size_t(0); word < C.boxlite_execution_info_arg_len(from); word++ {
			all[i].Args = append(all[i].Args, C.GoString(C.boxlite_execution_info_arg(from, word)))
		}
		if exit := C.boxlite_execution_info_exit(from); exit != nil {
			all[i].Exit = exitFrom(exit)
		}
	}
	return all, nil
}

// Attach takes up a command by its id, whichever process started it: one that runs, or one that Executions lists. The
// box is not started. A stream that is taken of it is taken over from who had it before.
func (b *Box) Attach(ctx context.Context, id string) (*Execution, error) {
	var strings builder
	defer strings.finish()
	which := strings.text("id", id)
	if strings.err != nil {
		return nil, strings.err
	}
	if err := b.begin.enter(ctx); err != nil {
		return nil, err
	}
	defer b.begin.leave()
	var taken *C.boxlite_execution
	err := b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_attach(ptr, which, call, &taken, err)
	})
	if err != nil {
		return nil, err
	}
	return newExecution(taken, b.ask), nil
}
