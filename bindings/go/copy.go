package boxlite

// Files into a box and out of it, also as tar streams and as bytes. The copying is the library's; each call holds a
// thread for as long as it takes.

// #include <boxlite.h>
import "C"

import (
	"context"
	"io"
	"io/fs"
	"os"
	"unsafe"
)

// CopyOptions say how to copy; the zero value is the default: directories with all they hold, over what exists.
type CopyOptions struct {
	NoOverwrite    bool // what exists is [ErrAlreadyExists], before anything is written
	NoRecursion    bool // directories are refused
	FollowSymlinks bool // what links of the source lead to is copied, not the links
	OmitParent     bool // a directory that is copied into an existing one leaves its own name out
}

func (b *builder) copyOptions(from CopyOptions) *C.boxlite_copy_options {
	var to *C.boxlite_copy_options
	b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_copy_options_new(&to, err) })
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_copy_options_set_overwrite(to, flag(!from.NoOverwrite), err)
	})
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_copy_options_set_recursive(to, flag(!from.NoRecursion), err)
	})
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_copy_options_set_follow_symlinks(to, flag(from.FollowSymlinks), err)
	})
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_copy_options_set_include_parent(to, flag(!from.OmitParent), err)
	})
	return to
}

// copying prepares what all copies have: their options and up to two paths.
func (b *Box) copying(
	ctx context.Context, options CopyOptions, first, second string,
	do func(ptr *C.boxlite_box, first, second *C.char, options *C.boxlite_copy_options, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code,
) error {
	var args builder
	defer args.finish()
	with := args.copyOptions(options)
	defer C.boxlite_copy_options_free(with)
	one, other := args.text("path", first), args.text("path", second)
	if args.err != nil {
		return args.err
	}
	return b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return do(ptr, one, other, with, call, err)
	})
}

// CopyIn copies a file or a directory of the host into the box, which is started where needed: to exactly boxPath, or,
// when that is an existing directory or ends in "/", into it under the source's own name. Missing directories are made;
// the owner is the box's user. When ctx ends the call what was complete stays, and no file has its name before it is
// complete.
func (b *Box) CopyIn(ctx context.Context, hostPath, boxPath string, options CopyOptions) error {
	return b.copying(ctx, options, hostPath, boxPath, func(
		ptr *C.boxlite_box, host, box *C.char, options *C.boxlite_copy_options, call *C.boxlite_call, err **C.boxlite_error,
	) C.boxlite_code {
		return C.boxlite_box_copy_in(ptr, host, box, options, call, err)
	})
}

// CopyOut copies a file or a directory of the box to the host, by the same rules as CopyIn. Whatever the box holds,
// nothing is written outside the place that hostPath names.
func (b *Box) CopyOut(ctx context.Context, boxPath, hostPath string, options CopyOptions) error {
	return b.copying(ctx, options, boxPath, hostPath, func(
		ptr *C.boxlite_box, box, host *C.char, options *C.boxlite_copy_options, call *C.boxlite_call, err **C.boxlite_error,
	) C.boxlite_code {
		return C.boxlite_box_copy_out(ptr, box, host, options, call, err)
	})
}

// CopyInTar unpacks a tar archive, read to its end, into the directory boxPath of the box, which is made where it is
// missing. Of the options only NoOverwrite matters. After a failure a Read of archive may still be waiting, unless it is
// an *os.File.
func (b *Box) CopyInTar(ctx context.Context, archive io.Reader, boxPath string, options CopyOptions) error {
	if file, ok := archive.(*os.File); ok {
		return b.copyInTar(ctx, file, boxPath, options)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	fed := make(chan error, 1)
	broke := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, archive)
		if err != nil && !broken(err) {
			broke <- err
		}
		w.Close()
		fed <- err
	}()
	err = b.copyInTar(ctx, r, boxPath, options)
	r.Close()
	if err == nil {
		<-fed
	}
	select {
	case err = <-broke:
	default:
	}
	return err
}

func (b *Box) copyInTar(ctx context.Context, from *os.File, boxPath string, options CopyOptions) error {
	return b.copying(ctx, options, boxPath, "", func(
		ptr *C.boxlite_box, box, _ *C.char, options *C.boxlite_copy_options, call *C.boxlite_call, err **C.boxlite_error,
	) C.boxlite_code {
		return withDescriptor(from, func(fd C.int32_t) C.boxlite_code {
			return C.boxlite_box_copy_in_tar(ptr, fd, box, options, call, err)
		})
	})
}

// CopyOutTar writes a tar archive of a file or a directory of the box to archive. Its entries begin with the last name of
// boxPath, or with "." when the options omit the parent. After a failure the archive lacks its end.
func (b *Box) CopyOutTar(ctx context.Context, boxPath string, archive io.Writer, options CopyOptions) error {
	if file, ok := archive.(*os.File); ok {
		return b.copyOutTar(ctx, boxPath, file, options)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	drained := make(chan error, 1)
	go func() {
		_, err := io.Copy(archive, r)
		// A writer that failed ends the copy.
		r.Close()
		drained <- err
	}()
	err = b.copyOutTar(ctx, boxPath, w, options)
	w.Close()
	if failed := <-drained; failed != nil {
		err = failed
	}
	return err
}

func (b *Box) copyOutTar(ctx context.Context, boxPath string, to *os.File, options CopyOptions) error {
	return b.copying(ctx, options, boxPath, "", func(
		ptr *C.boxlite_box, box, _ *C.char, options *C.boxlite_copy_options, call *C.boxlite_call, err **C.boxlite_error,
	) C.boxlite_code {
		return withDescriptor(to, func(fd C.int32_t) C.boxlite_code {
			return C.boxlite_box_copy_out_tar(ptr, box, fd, options, call, err)
		})
	})
}

// withDescriptor lends a file's descriptor as it is: File.Fd would make it a blocking one. The library refuses the one of
// a closed file.
func withDescriptor(file *os.File, do func(fd C.int32_t) C.boxlite_code) (code C.boxlite_code) {
	raw, err := file.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { code = do(C.int32_t(fd)) })
	}
	if err != nil {
		return do(-1)
	}
	return code
}

// ReadFile reads a whole file of the box, which is started where needed. One of more than maxBytes is
// [ErrResourceExhausted].
func (b *Box) ReadFile(ctx context.Context, boxPath string, maxBytes int64) ([]byte, error) {
	var args builder
	defer args.finish()
	path := args.text("path", boxPath)
	if args.err != nil {
		return nil, args.err
	}
	var content *C.boxlite_bytes
	err := b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_read_file(ptr, path, C.int64_t(maxBytes), call, &content, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_bytes_free(content)
	data := (*byte)(C.boxlite_bytes_data(content))
	return append([]byte{}, unsafe.Slice(data, int(C.boxlite_bytes_len(content)))...), nil
}

// WriteFile makes a file in the box, in the place of one that is there. Missing directories are made; the owner is the
// box's user. The file has its name only when it is complete.
func (b *Box) WriteFile(ctx context.Context, boxPath string, data []byte, perm fs.FileMode) error {
	var args builder
	defer args.finish()
	path := args.text("path", boxPath)
	if args.err != nil {
		return args.err
	}
	var first unsafe.Pointer
	if len(data) > 0 {
		first = unsafe.Pointer(&data[0])
	}
	return b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_write_file(ptr, path, first, C.size_t(len(data)), C.int32_t(perm.Perm()), call, err)
	})
}
