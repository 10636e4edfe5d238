// Package boxlite runs commands in micro virtual machines made from OCI images. It is a layer over the C library
// libboxlite, which pkg-config finds; commands are modelled on os/exec.
//
//	runtime, err := boxlite.Open(boxlite.RuntimeOptions{})
//	...
//	defer runtime.Close()
//	box, err := runtime.Create(ctx, boxlite.BoxOptions{Image: "alpine:3.20"})
//	...
//	out, err := box.Command(ctx, "uname", "-a").Output()
//
// # Waiting
//
// Functions that can block take a context. Its deadline and its cancellation end the call, whose error then is both
// the library's ([ErrTimeout], [ErrCancelled]) and the context's. What becomes of the operation is said at each
// function. [WithProgress] makes a context that reports how far a call is.
//
// A command that runs, its streams and its end, and the end of a box are waited for by Go's poller: no thread is held,
// however many there are. Calls that start, stop, remove, list or copy hold one thread each for as long as they take.
//
// # Errors
//
// Every failure of the library is an [*Error], which says what can be done about it. errors.Is compares it with the
// codes: errors.Is(err, boxlite.ErrNotFound). A command that ended otherwise than with code 0 is an [*ExitError].
// Output that was cut off on its way is io.ErrUnexpectedEOF, never a short success.
//
// # Closing
//
// [Runtime.Close] stops the runtime's boxes. Closing a [Box] or an [Execution] only lets go of it, and what the garbage
// collector finds unclosed is let go of as well; neither stops anything. All types but [Cmd] serve any number of
// goroutines.
package boxlite
