package boxlite

// A command's streams, straight on their descriptors. A stream is taken once through one Execution, belongs to who took
// it, and outlives the Execution. An end of file alone can't be told from a cut, so the box is asked.

// #include <boxlite.h>
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A Size is a terminal's, in characters.
type Size struct {
	Rows, Cols int
}

// Oldest is the offset of the oldest byte of an output that is still there.
const Oldest uint64 = C.BOXLITE_OFFSET_OLDEST

// A StreamName names an output stream.
type StreamName int

// The output streams; what comes from a terminal is Stdout.
const (
	Stdout StreamName = C.BOXLITE_STREAM_STDOUT
	Stderr StreamName = C.BOXLITE_STREAM_STDERR
)

// A StreamState is how an output stream stands.
type StreamState struct {
	First     uint64 // offset of the first byte owed to what was taken of it through this Execution
	Total     uint64 // bytes that the process has written
	Dropped   uint64 // bytes that were dropped because nobody took them
	Closed    bool   // no process holds the stream any more: nothing will follow
	TakenOver bool   // somebody else has taken it since it was taken through this Execution
}

// StreamState asks the box how an output stream stands.
func (e *Execution) StreamState(ctx context.Context, which StreamName) (StreamState, error) {
	var state *C.boxlite_stream_state
	err := e.invoke(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_stream_state(ptr, clamped(int(which)), call, &state, err)
	})
	if err != nil {
		return StreamState{}, err
	}
	defer C.boxlite_stream_state_free(state)
	return StreamState{
		First:     uint64(C.boxlite_stream_state_first(state)),
		Total:     uint64(C.boxlite_stream_state_total(state)),
		Dropped:   uint64(C.boxlite_stream_state_dropped(state)),
		Closed:    C.boxlite_stream_state_closed(state) != 0,
		TakenOver: C.boxlite_stream_state_taken_over(state) != 0,
	}, nil
}

// An Input writes to a command's standard input.
type Input struct {
	conn *net.UnixConn
	once sync.Once
	err  error
}

// Write gives bytes to the process, and waits for room. A process that reads no more is syscall.EPIPE.
func (i *Input) Write(p []byte) (int, error) { return i.conn.Write(p) }

// SetWriteDeadline ends Writes at that time with os.ErrDeadlineExceeded.
func (i *Input) SetWriteDeadline(t time.Time) error { return i.conn.SetWriteDeadline(t) }

// Close is end of file for the process. Closing it again does nothing.
func (i *Input) Close() error {
	i.once.Do(func() {
		// The half-close is what the process is told; a bare close would say nothing.
		i.err = i.conn.CloseWrite()
		if err := i.conn.Close(); i.err == nil {
			i.err = err
		}
	})
	return i.err
}

// Release lets go of the stream without ending it: with [Cmd.KeepStdin] whoever attaches later may write on, else it is
// end of file.
func (i *Input) Release() error {
	i.once.Do(func() { i.err = i.conn.Close() })
	return i.err
}

// An Output reads a command's standard output or standard error. What is not read blocks the process, as a pipe does.
// One goroutine reads at a time.
type Output struct {
	conn      *net.UnixConn
	execution *Execution
	which     StreamName
	received  uint64
	end       error

	open  context.Context
	close context.CancelFunc
}

// Read reads what has come, and waits while nothing has. At the end it is io.EOF when everything came from the stream's
// first byte on, else an error that is io.ErrUnexpectedEOF: the box ended, or somebody else took the stream.
func (o *Output) Read(p []byte) (int, error) {
	if o.end != nil {
		return 0, o.end
	}
	n, err := o.conn.Read(p)
	o.received += uint64(n)
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
		return n, err
	}
	o.end = o.verdict(err)
	o.execution.Close()
	return n, o.end
}

// verdict asks the box what the end of the connection was; a reset may be an end after all.
func (o *Output) verdict(cause error) error {
	state, err := o.execution.StreamState(o.open, o.which)
	switch {
	case err == nil && state.Closed && state.First+o.received == state.Total:
		return io.EOF
	case o.open.Err() != nil:
		return net.ErrClosed
	case err != nil:
		cause = err
	case state.TakenOver:
		cause = errTakenOver
	case state.Closed && state.Dropped > 0:
		cause = errGivenUp
	}
	return &cutError{o.received, cause}
}

// SetReadDeadline ends Reads at that time with os.ErrDeadlineExceeded.
func (o *Output) SetReadDeadline(t time.Time) error { return o.conn.SetReadDeadline(t) }

// Close lets go of the stream; the process never notices. Of what comes then the newest 1 MiB is kept for whoever
// attaches. A Read that waits ends with net.ErrClosed.
func (o *Output) Close() error {
	o.close()
	o.execution.Close()
	return o.conn.Close()
}

// A Terminal is a command's terminal: what it prints, and what is typed.
type Terminal struct {
	Output
}

// Write types.
func (t *Terminal) Write(p []byte) (int, error) { return t.conn.Write(p) }

// SetWriteDeadline ends Writes at that time with os.ErrDeadlineExceeded.
func (t *Terminal) SetWriteDeadline(at time.Time) error { return t.conn.SetWriteDeadline(at) }

// CloseWrite types the terminal's end of input, Ctrl-D.
func (t *Terminal) CloseWrite() error {
	_, err := t.conn.Write([]byte{4})
	return err
}

var (
	errTakenOver = errors.New("somebody else has taken the stream over")
	errGivenUp   = errors.New("the box has given up output that nobody had taken")
)

// A cutError is what a Read of output that was cut off comes to.
type cutError struct {
	received uint64
	cause    error
}

func (e *cutError) Error() string {
	said := fmt.Sprintf("boxlite: output cut off after %d bytes", e.received)
	if e.cause != nil && e.cause != io.EOF {
		said += ": " + e.cause.Error()
	}
	return said
}

func (e *cutError) Is(target error) bool {
	return target == io.ErrUnexpectedEOF || target == ErrExecution
}

func (e *cutError) Unwrap() error {
	if e.cause == io.EOF {
		return nil
	}
	return e.cause
}

// TakeStdin takes the command's standard input. It can be taken once through one Execution.
func (e *Execution) TakeStdin(ctx context.Context) (*Input, error) {
	conn, err := e.take(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, fd *C.int32_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_take_stdin(ptr, C.BOXLITE_FD_NONBLOCK, call, fd, err)
	})
	if err != nil {
		return nil, err
	}
	return &Input{conn: conn}, nil
}

// TakeStdout takes the command's standard output, from the byte at offset on, or from the oldest that is still there
// ([Oldest], or an offset that is older). From now on no byte is lost.
func (e *Execution) TakeStdout(ctx context.Context, offset uint64) (*Output, error) {
	conn, err := e.take(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, fd *C.int32_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_take_stdout(ptr, C.uint64_t(offset), C.BOXLITE_FD_NONBLOCK, call, fd, err)
	})
	return e.output(conn, Stdout, err)
}

// TakeStderr takes the command's standard error, as TakeStdout takes its standard output.
func (e *Execution) TakeStderr(ctx context.Context, offset uint64) (*Output, error) {
	conn, err := e.take(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, fd *C.int32_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_take_stderr(ptr, C.uint64_t(offset), C.BOXLITE_FD_NONBLOCK, call, fd, err)
	})
	return e.output(conn, Stderr, err)
}

// TakeTerminal takes the terminal of a command that has one, what it prints from the byte at offset on.
func (e *Execution) TakeTerminal(ctx context.Context, offset uint64) (*Terminal, error) {
	conn, err := e.take(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, fd *C.int32_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_take_tty(ptr, C.uint64_t(offset), C.BOXLITE_FD_NONBLOCK, call, fd, err)
	})
	output, err := e.output(conn, Stdout, err)
	if err != nil {
		return nil, err
	}
	return &Terminal{*output}, nil
}

func (e *Execution) output(conn *net.UnixConn, which StreamName, err error) (*Output, error) {
	if err != nil {
		return nil, err
	}
	// The end is asked for when the Execution may have been closed.
	own, refused := e.share()
	if refused != nil {
		conn.Close()
		return nil, refused
	}
	open, close := context.WithCancel(context.Background())
	return &Output{conn: conn, execution: own, which: which, open: open, close: close}, nil
}

func (e *Execution) take(
	ctx context.Context,
	take func(ptr *C.boxlite_execution, call *C.boxlite_call, fd *C.int32_t, err **C.boxlite_error) C.boxlite_code,
) (*net.UnixConn, error) {
	fd := C.int32_t(-1)
	err := e.invoke(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return take(ptr, call, &fd, err)
	})
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "a stream of "+e.id)
	// The connection has a duplicate of its own.
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
