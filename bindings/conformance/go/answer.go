package main

// What was seen, and how errors are told: by the code of the name in boxlite.h.

import (
	"context"
	"errors"
	"io"

	"boxlite"
)

// An answer is what was seen.
type answer map[string]any

// failed tells of an error.
func (a answer) failed(key string, err error) bool {
	var told *boxlite.Error
	switch {
	case err == nil:
		return false
	case errors.Is(err, context.DeadlineExceeded):
		a[key] = boxlite.ErrTimeout.Error()
	case errors.Is(err, context.Canceled):
		a[key] = boxlite.ErrCancelled.Error()
	case errors.Is(err, io.ErrUnexpectedEOF):
		a[key] = boxlite.ErrExecution.Error()
	case errors.As(err, &told):
		a[key] = told.Code.Error()
		if told.ExitCode >= 0 {
			a["exit_code"] = told.ExitCode
		}
	default:
		a[key] = err.Error()
	}
	return true
}

func (a answer) exit(exit *boxlite.Exit) {
	a["exit"], a["signal"] = exit.Code, int(exit.Signal)
	a["timed_out"], a["oom_killed"] = exit.TimedOut, exit.OOMKilled
}

// waited tells of a command that has ended.
func (a answer) waited(key string, exit *boxlite.Exit, err error) {
	var ended *boxlite.ExitError
	if errors.As(err, &ended) && errors.Unwrap(ended) == nil {
		err = nil
	}
	if !a.failed(key, err) {
		a.exit(exit)
	}
}
