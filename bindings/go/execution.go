package boxlite

// A command that runs, or has run: its end, its signals, its terminal's size. It owns the execution's handle; its streams
// are streams.go's.

// #include <boxlite.h>
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// An Exit is how a command ended.
type Exit struct {
	Code      int            // 0 to 255; -1 when the process died of a signal
	Signal    syscall.Signal // the signal the process died of, or 0
	TimedOut  bool           // it was killed because its time was up
	OOMKilled bool           // the box's kernel killed one of its processes for want of memory
}

func exitFrom(from *C.boxlite_exit) *Exit {
	return &Exit{
		Code:      int(C.boxlite_exit_code(from)),
		Signal:    syscall.Signal(C.boxlite_exit_signal(from)),
		TimedOut:  C.boxlite_exit_timed_out(from) != 0,
		OOMKilled: C.boxlite_exit_oom_killed(from) != 0,
	}
}

// ExitCode is Code, as os.ProcessState has it.
func (e *Exit) ExitCode() int { return e.Code }

// Success reports whether the command ended with code 0.
func (e *Exit) Success() bool { return e.Code == 0 }

func (e *Exit) String() string {
	said := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != 0 {
		said = "signal: " + e.Signal.String()
	}
	if e.TimedOut {
		said += " (time was up)"
	}
	if e.OOMKilled {
		said += " (out of memory)"
	}
	return said
}

// An Execution is a command in a box that runs, or has run. Letting go of it does not end the command.
type Execution struct {
	handle *owned
	id     string
	gate   gate
}

func newExecution(from *C.boxlite_execution, ask gate) *Execution {
	free := func(ptr unsafe.Pointer) { C.boxlite_execution_free((*C.boxlite_execution)(ptr)) }
	return &Execution{own("execution", unsafe.Pointer(from), free), C.GoString(C.boxlite_execution_id(from)), ask}
}

// share gives the same execution once more: one that is there until both are closed.
func (e *Execution) share() (*Execution, *Error) {
	ptr, err := e.handle.use()
	if err != nil {
		return nil, err
	}
	return &Execution{own("stream", ptr, func(unsafe.Pointer) { e.handle.done() }), e.id, e.gate}, nil
}

// ID is what any process can attach to the command by.
func (e *Execution) ID() string { return e.id }

// Close lets go of the command, which goes on. Streams that were taken can be used on; those that were not are closed.
func (e *Execution) Close() error {
	e.handle.close()
	return nil
}

// invoke asks the box about the command.
func (e *Execution) invoke(
	ctx context.Context, do func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code,
) error {
	if err := e.gate.enter(ctx); err != nil {
		return err
	}
	defer e.gate.leave()
	ptr, err := e.handle.use()
	if err != nil {
		return err
	}
	defer e.handle.done()
	return invoke(ctx, func(call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return do((*C.boxlite_execution)(ptr), call, err)
	})
}

// Wait waits for the command's process to end; its output may go on. It may be called any number of times, from any
// goroutine, with the same answer, and holds no thread meanwhile. When ctx ends the wait the process goes on. When the
// box ended without a word on the process, it is [ErrStopped].
func (e *Execution) Wait(ctx context.Context) (*Exit, error) {
	if err := e.ended(ctx); err != nil {
		return nil, err
	}
	var exit *C.boxlite_exit
	err := e.invoke(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_wait(ptr, call, &exit, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_exit_free(exit)
	return exitFrom(exit), nil
}

// ended waits in Go's poller until the process has ended, or nobody can tell any more how it does.
func (e *Execution) ended(ctx context.Context) error {
	fd, refused := e.exitDescriptor(ctx)
	if refused != nil {
		return refused
	}
	// Non-blocking, or os.NewFile would not give it to the poller.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return err
	}
	file := os.NewFile(uintptr(fd), "the end of "+e.id)
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if ctx.Done() != nil {
		over := make(chan struct{})
		defer close(over)
		go func() {
			select {
			case <-ctx.Done():
				// After a Close this does nothing.
				_ = file.SetReadDeadline(time.Unix(1, 0))
			case <-over:
			}
		}()
	}
	// There is nothing to be read, so only whether there might be is asked.
	err = raw.Read(readable)
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return cutOff(ctx.Err(), "the wait for the command was given up")
	}
	return err
}

// exitDescriptor asks for it through the gate: it is had at once, but hundreds of goroutines at once would each have a
// thread made for the asking.
func (e *Execution) exitDescriptor(ctx context.Context) (int, error) {
	if err := e.gate.enter(ctx); err != nil {
		return -1, err
	}
	defer e.gate.leave()
	ptr, err := e.handle.use()
	if err != nil {
		return -1, err
	}
	defer e.handle.done()
	var fd C.int32_t
	var raw *C.boxlite_error
	code := C.boxlite_execution_exit_fd((*C.boxlite_execution)(ptr), &fd, &raw)
	if refused := failure(code, raw); refused != nil {
		return -1, refused
	}
	return int(fd), nil
}

// readable asks without waiting.
func readable(fd uintptr) bool {
	type pollfd struct {
		fd              int32
		events, revents int16
	}
	const pollin = 1
	asked := pollfd{fd: int32(fd), events: pollin}
	var now syscall.Timespec
	for {
		n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&asked)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		runtime.KeepAlive(&asked)
		if errno != syscall.EINTR {
			return n > 0
		}
	}
}

// Signal sends a signal to the command's process, and returns when the box has done it. When the process has ended it is
// os.ErrProcessDone.
func (e *Execution) Signal(ctx context.Context, signal syscall.Signal) error {
	return processDone(e.invoke(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_signal(ptr, clamped(int(signal)), call, err)
	}))
}

// Kill kills all of the command's processes, also those in sessions of their own, and returns when the box has done it.
// When the process has ended it is os.ErrProcessDone.
func (e *Execution) Kill(ctx context.Context) error {
	return processDone(e.invoke(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_kill(ptr, call, err)
	}))
}

func processDone(err error) error {
	var told *Error
	if errors.As(err, &told) && told.Code == ErrInvalidState && told.cause == nil {
		told.cause = os.ErrProcessDone
	}
	return err
}

// Resize gives the command's terminal a new size, in force when it returns.
func (e *Execution) Resize(ctx context.Context, size Size) error {
	return e.invoke(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_resize_tty(ptr, clamped(size.Rows), clamped(size.Cols), call, err)
	})
}

// CloseStdin ends the command's standard input once its process has been given total bytes since its start: as many as
// were written by all who had it. It works whoever holds the stream.
func (e *Execution) CloseStdin(ctx context.Context, total uint64) error {
	return e.invoke(ctx, func(ptr *C.boxlite_execution, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_execution_close_stdin(ptr, C.uint64_t(total), call, err)
	})
}
