package boxlite

// The end of a box: waited for in Go's poller, explained; and the box's logs.

// #include <boxlite.h>
import "C"

import (
	"context"
	"os"
	"sync"
	"syscall"
)

// An EndReason is why a box ended.
type EndReason int

// The reasons. Later versions of the library may have more.
const (
	EndUnknown    EndReason = C.BOXLITE_END_UNKNOWN     // not known to this version: read the message
	EndStopped    EndReason = C.BOXLITE_END_STOPPED     // by a call, or a signal to its shim
	EndOwnerGone  EndReason = C.BOXLITE_END_OWNER_GONE  // the process that started it went away
	EndMainExited EndReason = C.BOXLITE_END_MAIN_EXITED // reserved: a box has no main command today
	EndCrashed    EndReason = C.BOXLITE_END_CRASHED     // its virtual machine ended by a fault
	EndKilled     EndReason = C.BOXLITE_END_KILLED      // it did not stop in time, or its shim was killed
	EndRemoved    EndReason = C.BOXLITE_END_REMOVED     // and how it ended before is not known
	EndLifetime   EndReason = C.BOXLITE_END_LIFETIME    // see BoxOptions.MaxLifetime
	EndIdle       EndReason = C.BOXLITE_END_IDLE        // see BoxOptions.IdleTimeout

	// EndOutOfMemory is that the host's kernel killed its virtual machine for want of memory.
	EndOutOfMemory EndReason = C.BOXLITE_END_OUT_OF_MEMORY
)

// String is the reason in lower case, such as "owner gone".
func (r EndReason) String() string {
	names := [...]string{
		EndUnknown: "unknown", EndStopped: "stopped", EndOwnerGone: "owner gone", EndMainExited: "main exited",
		EndCrashed: "crashed", EndKilled: "killed", EndRemoved: "removed", EndLifetime: "lifetime", EndIdle: "idle",
		EndOutOfMemory: "out of memory",
	}
	if r < 0 || int(r) >= len(names) {
		r = EndUnknown
	}
	return names[r]
}

// A BoxEnd is how a box's last run ended.
type BoxEnd struct {
	Reason  EndReason
	Message string // a sentence for a person; of a crash with the end of the guest's console
}

// String is the message.
func (e *BoxEnd) String() string { return e.Message }

// Wait waits until the box does not run, whoever started it and whoever ends it, and tells how its last run ended; at
// once when it does not run now, also after a Stop. It may be called any number of times, from any goroutine, and holds
// no thread meanwhile; a Close does not end it. When ctx ends the wait the box goes on. A box that never ran is
// [ErrInvalidState], one that is gone [ErrNotFound].
func (b *Box) Wait(ctx context.Context) (*BoxEnd, error) {
	ptr, refused := b.handle.use()
	if refused != nil {
		return nil, refused
	}
	defer b.handle.done()
	if err := b.end.await(ctx, (*C.boxlite_box)(ptr)); err != nil {
		return nil, err
	}
	if err := b.ask.enter(ctx); err != nil {
		return nil, err
	}
	defer b.ask.leave()
	var end *C.boxlite_box_end
	err := invoke(ctx, func(call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_wait((*C.boxlite_box)(ptr), call, &end, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_box_end_free(end)
	return &BoxEnd{EndReason(C.boxlite_box_end_reason(end)), C.GoString(C.boxlite_box_end_message(end))}, nil
}

// A BoxLog is a log of a box.
type BoxLog int

// The logs.
const (
	ConsoleLog BoxLog = C.BOXLITE_BOX_LOG_CONSOLE // what the guest's kernel and the agent in it wrote, over all starts
	ShimLog    BoxLog = C.BOXLITE_BOX_LOG_SHIM    // what the box's shim noted of its starts and ends
)

// OpenLog opens a log of the box for reading, at its beginning. A box has logs from its first start to its removal, else
// this is [ErrNotFound]. At the end of what is there a Read is io.EOF; what is written later can be read from the same
// file. The caller closes it.
func (b *Box) OpenLog(which BoxLog) (*os.File, error) {
	ptr, refused := b.handle.use()
	if refused != nil {
		return nil, refused
	}
	defer b.handle.done()
	var fd C.int32_t
	var raw *C.boxlite_error
	code := C.boxlite_box_log_fd((*C.boxlite_box)(ptr), clamped(int(which)), &fd, &raw)
	if err := failure(code, raw); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "a log of "+b.id), nil
}

// An ending is the wait for a box's end, in Go's poller: by one descriptor, however many goroutines wait and give up. The
// library keeps its part of a descriptor until the box ends, so each wait with one of its own would cost another.
type ending struct {
	mu     sync.Mutex
	now    *watch // of the run that was waited for last; nil at first
	closed bool
}

// A watch is one descriptor that becomes readable at an end, and the goroutine that waits for it.
type watch struct {
	file    *os.File
	over    chan struct{} // closed at the end
	waiting int           // guarded by its ending
}

// await returns when boxlite_box_wait would return at once.
func (e *ending) await(ctx context.Context, box *C.boxlite_box) error {
	if ctx.Err() != nil {
		return cutOff(ctx.Err(), "the wait for the box was not begun: its context is done")
	}
	now, err := e.enter(box)
	if err != nil {
		return err
	}
	defer e.leave(now)
	select {
	case <-now.over:
		return nil
	case <-ctx.Done():
		return cutOff(ctx.Err(), "the wait for the box was given up")
	}
}

func (e *ending) enter(box *C.boxlite_box) (*watch, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now == nil || e.now.isOver() {
		now, err := newWatch(box)
		if err != nil {
			return nil, err
		}
		e.now = now
	}
	e.now.waiting++
	return e.now, nil
}

func (e *ending) leave(now *watch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now.waiting--
	e.settle(now)
}

// close lets the last who waits take the descriptor along.
func (e *ending) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.now != nil {
		e.settle(e.now)
	}
}

func (e *ending) settle(now *watch) {
	if e.closed && now.waiting == 0 {
		// Closed already when the end has come.
		_ = now.file.Close()
		if e.now == now {
			e.now = nil
		}
	}
}

func newWatch(box *C.boxlite_box) (*watch, error) {
	var fd C.int32_t
	var raw *C.boxlite_error
	code := C.boxlite_box_exit_fd(box, &fd, &raw)
	if err := failure(code, raw); err != nil {
		return nil, err
	}
	// Non-blocking, or os.NewFile would not give it to the poller.
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		syscall.Close(int(fd))
		return nil, err
	}
	now := &watch{file: os.NewFile(uintptr(fd), "the end of a box"), over: make(chan struct{})}
	conn, err := now.file.SyscallConn()
	if err != nil {
		now.file.Close()
		return nil, err
	}
	go func() {
		// There is nothing to be read, so only whether there might be is asked. An error is a Close: nobody waits then.
		_ = conn.Read(readable)
		now.file.Close()
		close(now.over)
	}()
	return now, nil
}

func (w *watch) isOver() bool {
	select {
	case <-w.over:
		return true
	default:
		return false
	}
}
