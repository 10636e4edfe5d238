package boxlite

// What goes wrong: the codes of the C API as sentinels, and the error that carries message and remedy. It decides
// nothing: code, text and remedy are the library's.

// #include <boxlite.h>
import "C"

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// A Code is the kind of a failure; each is an error to be compared with by errors.Is. A newer library may return codes
// that are none of these.
type Code int32

// The codes of boxlite.h.
const (
	ErrEngine            = Code(C.BOXLITE_ENGINE)             // the virtual machine monitor failed
	ErrConfig            = Code(C.BOXLITE_CONFIG)             // an option or the installation is wrong
	ErrStorage           = Code(C.BOXLITE_STORAGE)            // a file of the home could not be used
	ErrImage             = Code(C.BOXLITE_IMAGE)              // an image is unusable or could not be fetched
	ErrPortal            = Code(C.BOXLITE_PORTAL)             // the channel to a box failed
	ErrNetwork           = Code(C.BOXLITE_NETWORK)            // a network peer could not be reached or refused
	ErrRPC               = Code(C.BOXLITE_RPC)                // the agent in the box answered with an error
	ErrInternal          = Code(C.BOXLITE_INTERNAL)           // a bug in boxlite
	ErrExecution         = Code(C.BOXLITE_EXECUTION)          // a command could not be started, or its output was cut off
	ErrUnsupported       = Code(C.BOXLITE_UNSUPPORTED)        // not available in this build or on this machine
	ErrNotFound          = Code(C.BOXLITE_NOT_FOUND)          // no such box, image, execution or file
	ErrAlreadyExists     = Code(C.BOXLITE_ALREADY_EXISTS)     // the name is taken
	ErrInvalidState      = Code(C.BOXLITE_INVALID_STATE)      // not possible in the present state
	ErrDatabase          = Code(C.BOXLITE_DATABASE)           // the home's database failed
	ErrInvalidArgument   = Code(C.BOXLITE_INVALID_ARGUMENT)   // an argument is wrong
	ErrStopped           = Code(C.BOXLITE_STOPPED)            // the runtime or the box was stopped
	ErrResourceExhausted = Code(C.BOXLITE_RESOURCE_EXHAUSTED) // out of memory, disk space, descriptors
	ErrRPCTransport      = Code(C.BOXLITE_RPC_TRANSPORT)      // the connection to the agent broke
	ErrMetadata          = Code(C.BOXLITE_METADATA_ERROR)     // stored metadata is damaged
	ErrSessionReaped     = Code(C.BOXLITE_SESSION_REAPED)     // the execution's session is gone
	ErrTimeout           = Code(C.BOXLITE_TIMEOUT)            // the context's deadline passed
	ErrCancelled         = Code(C.BOXLITE_CANCELLED)          // the context or the progress function cancelled
	ErrForked            = Code(C.BOXLITE_FORKED)             // the handle belongs to another process
	ErrBusy              = Code(C.BOXLITE_BUSY)               // another process or goroutine holds the lock
	ErrPanic             = Code(C.BOXLITE_PANIC)              // a bug in boxlite, caught at the border
)

// Error is the code's name as it stands in boxlite.h, such as "BOXLITE_NOT_FOUND".
func (c Code) Error() string { return C.GoString(C.boxlite_code_name(C.boxlite_code(c))) }

// An Error is a failure of the library, or of this package before it came to the library.
//
// errors.Is finds its Code, the context's error when a context ended the call, the operating system's error number, and
// fs.ErrNotExist and fs.ErrExist for ErrNotFound and ErrAlreadyExists.
type Error struct {
	Code    Code
	Message string        // what went wrong, for a person
	Remedy  string        // what can be done about it; never empty
	Subject string        // the path, name, id or argument it is about; may be empty
	Errno   syscall.Errno // the operating system's error that was the cause, or 0
	// ExitCode is what a shell gives for a command that could not be started: 127 when it was not found, 126 when it
	// is not executable; -1 in all other errors.
	ExitCode int

	cause error
}

func (e *Error) Error() string { return "boxlite: " + e.Message + " (" + e.Remedy + ")" }

// Is reports whether target is the error's code or what that is called elsewhere in Go.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Code == ErrNotFound
	case fs.ErrExist:
		return e.Code == ErrAlreadyExists
	}
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap gives the context's error, or the operating system's.
func (e *Error) Unwrap() error {
	if e.cause == nil && e.Errno != 0 {
		return e.Errno
	}
	return e.cause
}

// failure takes what a C call returned; it frees the error.
func failure(code C.boxlite_code, from *C.boxlite_error) *Error {
	if code == C.BOXLITE_OK {
		return nil
	}
	defer C.boxlite_error_free(from)
	return &Error{
		Code:     Code(C.boxlite_error_code(from)),
		Message:  C.GoString(C.boxlite_error_message(from)),
		Remedy:   C.GoString(C.boxlite_error_hint(from)),
		Subject:  C.GoString(C.boxlite_error_subject(from)),
		Errno:    syscall.Errno(C.boxlite_error_os_errno(from)),
		ExitCode: int(C.boxlite_error_exit_code(from)),
	}
}

// asError keeps a nil *Error from becoming an error that is not nil.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

// refused is what this package says of an argument that C could not be given.
func refused(subject, problem, remedy string) *Error {
	return &Error{Code: ErrInvalidArgument, Message: subject + " " + problem, Remedy: remedy, Subject: subject, ExitCode: -1}
}

// closed is the error of everything that is used after its Close.
func closed(what string) *Error {
	return &Error{
		Code: ErrInvalidState, Message: "this " + what + " was closed", Remedy: "use it before Close, or get it again",
		Subject: what, ExitCode: -1, cause: os.ErrClosed,
	}
}

// noNUL refuses what C would see the beginning of only.
func noNUL(name, value string) *Error {
	if at := strings.IndexByte(value, 0); at >= 0 {
		return refused(name, fmt.Sprintf("has a NUL byte at offset %d", at), "pass it without NUL bytes")
	}
	return nil
}
