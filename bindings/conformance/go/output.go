package main

// An output that is read as it comes.

import (
	"io"
	"os"
)

// An output goes to a file as it comes.
type output struct {
	from     io.Reader
	file     *os.File
	seen     []byte
	received int64
	end      error
}

func newOutput(from io.Reader, path string) *output {
	file, err := os.Create(path)
	exitOn(err)
	return &output{from: from, file: file}
}

// readWhile reads while that is wanted, and there is more.
func (o *output) readWhile(wanted func() bool) {
	chunk := make([]byte, 1<<16)
	for o.end == nil && wanted() {
		n, err := o.from.Read(chunk)
		o.end = err
		o.received += int64(n)
		if len(o.seen) < 4096 {
			o.seen = append(o.seen, chunk[:n]...)
		}
		_, err = o.file.Write(chunk[:n])
		exitOn(err)
	}
}

func (o *output) readAll() { o.readWhile(func() bool { return true }) }

func (o *output) finish(a answer, key string) {
	if o.end != io.EOF {
		a.failed(key, o.end)
	}
	exitOn(o.file.Close())
}
