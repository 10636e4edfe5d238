package boxlite

// Owners of C handles, and what C functions are given. Nothing here knows what a handle is of.

// #cgo pkg-config: boxlite
// #include <boxlite.h>
// #include <stdlib.h>
import "C"

import (
	"runtime"
	"sync"
	"unsafe"
)

// Version is the version of the library, such as "0.1.0".
func Version() string { return C.GoString(C.boxlite_version()) }

// ABIVersion is the version of the interface that the loaded library has.
func ABIVersion() int { return int(C.boxlite_abi_version()) }

// An owned C handle is freed once: when it was closed and nobody uses it any more, or when the garbage collector finds
// it. Freeing a handle during a call on it is the C API's one undefined misuse, so uses are counted.
type owned struct {
	what string
	free func(unsafe.Pointer)

	mu     sync.Mutex
	ptr    unsafe.Pointer
	users  int
	closed bool
}

func own(what string, ptr unsafe.Pointer, free func(unsafe.Pointer)) *owned {
	o := &owned{what: what, ptr: ptr, free: free}
	// Whoever uses the handle holds a reference until done(), so the finalizer finds it unused.
	runtime.SetFinalizer(o, (*owned).close)
	return o
}

// use gives the handle until done is called.
func (o *owned) use() (unsafe.Pointer, *Error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, closed(o.what)
	}
	o.users++
	return o.ptr, nil
}

func (o *owned) done() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.users--
	o.release()
}

func (o *owned) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.release()
}

func (o *owned) release() {
	if o.closed && o.users == 0 && o.ptr != nil {
		o.free(o.ptr)
		o.ptr = nil
		runtime.SetFinalizer(o, nil)
	}
}

// A builder makes C options step by step: after the first failure it does nothing more. What it copies to C memory
// lives until finish.
type builder struct {
	err    *Error
	memory []unsafe.Pointer
}

// text is a C copy of value; nil, which every setter refuses, after a failure.
func (b *builder) text(name, value string) *C.char {
	if b.err == nil {
		b.err = noNUL(name, value)
	}
	if b.err != nil {
		return nil
	}
	copied := C.CString(value)
	b.memory = append(b.memory, unsafe.Pointer(copied))
	return copied
}

// texts is a C array of C copies.
func (b *builder) texts(name string, values []string) **C.char {
	size := unsafe.Sizeof((*C.char)(nil))
	array := C.malloc(C.size_t(uintptr(len(values)+1) * size))
	b.memory = append(b.memory, array)
	places := unsafe.Slice((**C.char)(array), len(values)+1)
	for i, value := range values {
		places[i] = b.text(name, value)
	}
	return (**C.char)(array)
}

func (b *builder) do(step func(err **C.boxlite_error) C.boxlite_code) {
	if b.err != nil {
		return
	}
	var raw *C.boxlite_error
	code := step(&raw)
	err := failure(code, raw)
	// A text that was refused is nil to C, which says so too.
	if b.err == nil {
		b.err = err
	}
}

func (b *builder) finish() {
	for _, one := range b.memory {
		C.free(one)
	}
	b.memory = nil
}

func flag(value bool) C.int32_t {
	if value {
		return 1
	}
	return 0
}
