package boxlite

// A call into the library: the context's deadline and cancellation, and progress.

/*
#include <boxlite.h>

extern int32_t boxliteGoProgress(uintptr_t progress, uintptr_t user);

// Go must never see the handle as a pointer, which it is not.
static int32_t report(const boxlite_progress *progress, void *user)
{
    return boxliteGoProgress((uintptr_t)progress, (uintptr_t)user);
}

static boxlite_code set_progress(boxlite_call *call, uintptr_t user, boxlite_error **error)
{
    return boxlite_call_set_progress(call, report, (void *)user, error);
}
*/
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"time"
)

// invoke makes a call that ctx may end. `do` is given NULL when nothing can end it.
func invoke(ctx context.Context, do func(call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code) error {
	deadline, limited := ctx.Deadline()
	if err := ctx.Err(); err != nil {
		return cutOff(err, "the call was not begun: its context is done")
	}
	if limited && !time.Now().Before(deadline) {
		return cutOff(context.DeadlineExceeded, "the call was not begun: its context's deadline has passed")
	}
	watcher := watcherOf(ctx)
	var raw *C.boxlite_error
	if ctx.Done() == nil && watcher == nil {
		code := do(nil, &raw)
		return asError(failure(code, raw))
	}

	var call *C.boxlite_call
	var b builder
	b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_call_new(&call, err) })
	defer func() { C.boxlite_call_free(call) }()
	if limited {
		// Rounded up: 0 would mean not to wait at all.
		left := C.int64_t((time.Until(deadline) + time.Millisecond) / time.Millisecond)
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_call_set_timeout_ms(call, atLeast(1, left), err)
		})
	}
	if watcher != nil {
		user := cgo.NewHandle(watcher)
		defer user.Delete()
		b.do(func(err **C.boxlite_error) C.boxlite_code { return C.set_progress(call, C.uintptr_t(user), err) })
	}
	if b.err != nil {
		return b.err
	}
	stop := cancelWhenDone(ctx, call)
	code := do(call, &raw)
	stop()
	watcher.rethrow()
	err := failure(code, raw)
	if err != nil {
		err.blame(ctx)
	}
	return asError(err)
}

// cancelWhenDone cancels the call when ctx is done, until the function it gives is called; then nothing uses the call
// any more.
func cancelWhenDone(ctx context.Context, call *C.boxlite_call) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	over, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		select {
		case <-ctx.Done():
			C.boxlite_call_cancel(call, nil)
		case <-over:
		}
	}()
	return func() {
		close(over)
		<-left
	}
}

// blame makes the context's error the cause, when it ended the call. A deadline may come as a cancellation: the
// context's timer and the library's run side by side.
func (e *Error) blame(ctx context.Context) {
	switch {
	case e.Code == ErrTimeout:
		e.cause = context.DeadlineExceeded
	case e.Code == ErrCancelled && ctx.Err() != nil:
		e.cause = ctx.Err()
		if errors.Is(e.cause, context.DeadlineExceeded) {
			e.Code = ErrTimeout
		}
	}
}

func cutOff(cause error, message string) *Error {
	err := &Error{
		Code: ErrCancelled, Message: message, Remedy: "nothing is wrong: the context was cancelled", ExitCode: -1, cause: cause,
	}
	if errors.Is(cause, context.DeadlineExceeded) {
		err.Code, err.Remedy = ErrTimeout, "give the context more time"
	}
	return err
}

func atLeast(least, value C.int64_t) C.int64_t {
	if value < least {
		return least
	}
	return value
}

// A gate lets a bounded number of calls be in C at a time: each holds a thread, and a thousand goroutines that begin or
// end together would otherwise take a thousand threads.
type gate chan struct{}

func newGate(width int) gate { return make(gate, width) }

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return cutOff(ctx.Err(), "the call was not begun: its context is done")
	}
}

func (g gate) leave() { <-g }
