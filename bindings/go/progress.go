package boxlite

// How far a call is, told to a function that travels in the context.

// #include <boxlite.h>
import "C"

import (
	"context"
	"runtime/cgo"
	"sync"
	"unsafe"
)

// Progress is how far a call is.
type Progress struct {
	Stage     string // "prepare", "resolve", "pull", "image-disk", "boot"; "done" at the end of a call that succeeded
	Reference string // the image; empty as long as it is not known
	Layers    []LayerProgress
}

// LayerProgress is how far one layer of an image is.
type LayerProgress struct {
	Digest    string
	DoneBytes uint64
	AllBytes  uint64
}

type progressKey struct{}

// WithProgress makes a context whose calls report to report, on the goroutine that makes the call, inside it, at most
// 20 times a second. When report returns false that call is cancelled, with [ErrCancelled]. Boxes report while they
// start: in [Box.Start], [Cmd.Start] and the copying functions.
func WithProgress(ctx context.Context, report func(Progress) bool) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// A watcher is who a call reports to, and what that panicked with: a panic must not unwind through C.
type watcher struct {
	report func(Progress) bool

	mu       sync.Mutex
	panicked any
}

func watcherOf(ctx context.Context) *watcher {
	if report, ok := ctx.Value(progressKey{}).(func(Progress) bool); ok && report != nil {
		return &watcher{report: report}
	}
	return nil
}

func (w *watcher) rethrow() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.panicked != nil {
		panic(w.panicked)
	}
}

func (w *watcher) tell(progress Progress) (on bool) {
	defer func() {
		if cause := recover(); cause != nil {
			w.mu.Lock()
			w.panicked = cause
			w.mu.Unlock()
			on = false
		}
	}()
	return w.report(progress)
}

//export boxliteGoProgress
func boxliteGoProgress(progress, user C.uintptr_t) C.int32_t {
	// The address is C's, and lent until this returns.
	from := *(**C.boxlite_progress)(unsafe.Pointer(&progress))
	said := Progress{
		Stage:     C.GoString(C.boxlite_progress_stage(from)),
		Reference: C.GoString(C.boxlite_progress_reference(from)),
	}
	for i := C.size_t(0); i < C.boxlite_progress_layer_len(from); i++ {
		said.Layers = append(said.Layers, LayerProgress{
			Digest:    C.GoString(C.boxlite_progress_layer_digest(from, i)),
			DoneBytes: uint64(C.boxlite_progress_layer_done_bytes(from, i)),
			AllBytes:  uint64(C.boxlite_progress_layer_total_bytes(from, i)),
		})
	}
	return flag(!cgo.Handle(user).Value().(*watcher).tell(said))
}
