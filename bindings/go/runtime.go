package boxlite

// The runtime: one home directory with its boxes. It owns the runtime's handle.

// #include <boxlite.h>
import "C"

import (
	"context"
	"errors"
	"os"
	"time"
	"unsafe"
)

// A Runtime is one home directory with its boxes and images. Any number of runtimes, in any number of processes, may
// use one home.
type Runtime struct {
	handle *owned
}

// Open opens a runtime, and waits up to 30 seconds for another process that is just making or repairing the home. A
// runtime has threads of its own, two and a few more while there is work.
func Open(options RuntimeOptions) (*Runtime, error) {
	return OpenContext(context.Background(), options)
}

// OpenContext is [Open] that waits until ctx ends; nothing is left of a runtime that was not opened in time.
func OpenContext(ctx context.Context, options RuntimeOptions) (*Runtime, error) {
	var b builder
	defer b.finish()
	var opened *C.boxlite_runtime
	with := b.runtimeOptions(options)
	defer C.boxlite_runtime_options_free(with)
	if b.err != nil {
		return nil, b.err
	}
	if err := invoke(ctx, func(call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_new_within(with, call, &opened, err)
	}); err != nil {
		return nil, err
	}
	free := func(ptr unsafe.Pointer) { C.boxlite_runtime_free((*C.boxlite_runtime)(ptr)) }
	return &Runtime{own("runtime", unsafe.Pointer(opened), free)}, nil
}

// invoke makes a call on the runtime.
func (r *Runtime) invoke(
	ctx context.Context, do func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code,
) error {
	ptr, err := r.handle.use()
	if err != nil {
		return err
	}
	defer r.handle.done()
	return invoke(ctx, func(call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return do((*C.boxlite_runtime)(ptr), call, err)
	})
}

// What Shutdown is asked for a box's time to stop by itself.
const (
	DefaultGrace = 10 * time.Second
	Forever      = time.Duration(-1)
)

// Shutdown stops the boxes that this runtime started and that are not detached, and waits until they have stopped.
// Afterwards boxes of this runtime can't be created or started; listing still works. Boxes that have not stopped by
// themselves after grace, rounded up to seconds, are killed: at once when it is 0, never when it is [Forever]. When ctx
// ends the wait the shutdown goes on. Calling it again is harmless.
func (r *Runtime) Shutdown(ctx context.Context, grace time.Duration) error {
	within := C.int64_t(-1)
	if grace >= 0 {
		within = milliseconds(grace)
	}
	return r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_shutdown(ptr, within, call, err)
	})
}

// Close shuts the runtime down with [DefaultGrace], and lets go of it. After it no thread, descriptor or child process
// of the runtime is left, once the handles of its boxes were closed too. A runtime that is not closed ends with the
// process, and its boxes within ten seconds after it. Closing it again does nothing.
func (r *Runtime) Close() error {
	err := r.Shutdown(context.Background(), DefaultGrace)
	r.handle.close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Create makes a box. Nothing is pulled and nothing runs yet: it starts at its first use. When ctx ends the call nothing
// is left behind.
func (r *Runtime) Create(ctx context.Context, options BoxOptions) (*Box, error) {
	return r.creation(ctx, options, func(
		ptr *C.boxlite_runtime, with *C.boxlite_box_options, name *C.char, call *C.boxlite_call, made **C.boxlite_box,
		err **C.boxlite_error,
	) C.boxlite_code {
		return C.boxlite_create(ptr, with, name, call, made, err)
	})
}

// GetOrCreate finds the box with options.Name, or makes it where there is none, and tells whether it made it: of any
// number of callers at a time, in any processes, exactly one does. A box that is found is as it was made, whatever options
// say. When ctx ends the call nothing is left behind.
func (r *Runtime) GetOrCreate(ctx context.Context, options BoxOptions) (box *Box, created bool, err error) {
	var flag C.int32_t
	box, err = r.creation(ctx, options, func(
		ptr *C.boxlite_runtime, with *C.boxlite_box_options, name *C.char, call *C.boxlite_call, made **C.boxlite_box,
		err **C.boxlite_error,
	) C.boxlite_code {
		return C.boxlite_get_or_create(ptr, with, name, call, &flag, made, err)
	})
	return box, flag != 0, err
}

func (r *Runtime) creation(
	ctx context.Context, options BoxOptions,
	do func(
		ptr *C.boxlite_runtime, with *C.boxlite_box_options, name *C.char, call *C.boxlite_call, made **C.boxlite_box,
		err **C.boxlite_error,
	) C.boxlite_code,
) (*Box, error) {
	var b builder
	defer b.finish()
	with := b.boxOptions(options)
	defer C.boxlite_box_options_free(with)
	var name *C.char
	if options.Name != "" {
		name = b.text("Name", options.Name)
	}
	if b.err != nil {
		return nil, b.err
	}
	var made *C.boxlite_box
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return do(ptr, with, name, call, &made, err)
	})
	if err != nil {
		return nil, err
	}
	return newBox(made), nil
}

// Get finds a box by its id, a unique beginning of its id, or its name. After a stop this gives what the box is started
// with again. There being none is [ErrNotFound].
func (r *Runtime) Get(ctx context.Context, idOrName string) (*Box, error) {
	var b builder
	defer b.finish()
	which := b.text("idOrName", idOrName)
	if b.err != nil {
		return nil, b.err
	}
	var found *C.boxlite_box
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_get(ptr, which, call, &found, err)
	})
	if err != nil {
		return nil, err
	}
	return newBox(found), nil
}

// Remove removes a box with all its data, by its id, a unique beginning of its id, or its name. One that runs is refused
// with [ErrInvalidState], unless force is set: then it is stopped first. When ctx ends the wait the removal goes on.
func (r *Runtime) Remove(ctx context.Context, idOrName string, force bool) error {
	var b builder
	defer b.finish()
	which := b.text("idOrName", idOrName)
	if b.err != nil {
		return b.err
	}
	return r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_remove(ptr, which, flag(force), call, err)
	})
}

// A Filter selects boxes for [Runtime.List].
type Filter struct {
	Labels    map[string]string // a box must have all of these
	HasLabels []string          // and these keys, with any value
}

// List lists the boxes of the home, newest first: also those of other runtimes, and stopped ones.
func (r *Runtime) List(ctx context.Context, filter Filter) ([]Info, error) {
	var b builder
	defer b.finish()
	var options *C.boxlite_list_options
	b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_list_options_new(&options, err) })
	defer func() { C.boxlite_list_options_free(options) }()
	for key, value := range filter.Labels {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_list_options_add_label(options, b.text("Labels", key), b.text("Labels", value), err)
		})
	}
	for _, key := range filter.HasLabels {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_list_options_add_label(options, b.text("HasLabels", key), nil, err)
		})
	}
	if b.err != nil {
		return nil, b.err
	}
	var list *C.boxlite_info_list
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_list(ptr, options, call, &list, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_info_list_free(list)
	all := make([]Info, C.boxlite_info_list_len(list))
	for i := range all {
		all[i] = infoFrom(C.boxlite_info_list_at(list, C.size_t(i)))
	}
	return all, nil
}

// Prepare makes the template that boxes of options' sizes are cloned from, so that the first of them need not boot,
// either: a second or two. It does nothing where there is one already, or where boxes have none. When ctx ends the call
// nothing is left behind.
func (r *Runtime) Prepare(ctx context.Context, options BoxOptions) error {
	var b builder
	defer b.finish()
	with := b.boxOptions(options)
	defer C.boxlite_box_options_free(with)
	if b.err != nil {
		return b.err
	}
	return r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_prepare(ptr, with, call, err)
	})
}

// milliseconds rounds up, so that a short time does not become none.
func milliseconds(of time.Duration) C.int64_t {
	return C.int64_t((of + time.Millisecond - 1) / time.Millisecond)
}
