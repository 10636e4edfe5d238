package main

// The fields of a request.

import (
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"time"

	"boxlite"
)

type field struct{ key, value string }

// A request is "op\tkey=hex\t...".
type request struct {
	op     string
	fields []field
}

func parse(line string) request {
	words := strings.Split(line, "\t")
	r := request{op: words[0]}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		raw, err := hex.DecodeString(value)
		exitOn(err)
		r.fields = append(r.fields, field{key, string(raw)})
	}
	return r
}

func (r request) all(key string) (values []string) {
	for _, f := range r.fields {
		if f.key == key {
			values = append(values, f.value)
		}
	}
	return values
}

func (r request) has(key string) bool { return len(r.all(key)) > 0 }

func (r request) text(key string) string {
	if !r.has(key) {
		return ""
	}
	return r.all(key)[0]
}

func (r request) number(key string, otherwise int64) int64 {
	if !r.has(key) {
		return otherwise
	}
	n, err := strconv.ParseInt(r.text(key), 10, 64)
	exitOn(err)
	return n
}

func (r request) milliseconds(key string, otherwise int64) time.Duration {
	return time.Duration(r.number(key, otherwise)) * time.Millisecond
}

func (r request) size(key string) boxlite.Size {
	rows, cols, _ := strings.Cut(r.text(key), ",")
	size := boxlite.Size{}
	var err error
	size.Rows, err = strconv.Atoi(rows)
	exitOn(err)
	size.Cols, err = strconv.Atoi(cols)
	exitOn(err)
	return size
}

func (r request) input() []byte {
	if !r.has("input") {
		return nil
	}
	data, err := os.ReadFile(r.text("input"))
	exitOn(err)
	return data
}
