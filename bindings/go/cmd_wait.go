package boxlite

// The wait for a command: its process, then its streams, each bounded by WaitDelay; and what the context's end does.

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// killTime is how long a box may take to kill a command that was not ended within WaitDelay.
const killTime = 10 * time.Second

// An ExitError is a command that ended otherwise than with code 0. When the context's end killed it, errors.Is finds the
// context's error.
type ExitError struct {
	Exit
	Stderr []byte // the beginning and the end of standard error, when Output collected it

	cause error
}

func (e *ExitError) Error() string { return e.Exit.String() }

// Unwrap gives the context's error, when that is why the command ended.
func (e *ExitError) Unwrap() error { return e.cause }

// waiting is what goes on beside a command that runs.
type waiting struct {
	copied  chan error
	copies  int
	outputs sync.WaitGroup     // those that write to the caller's writers
	ended   chan struct{}      // closed when the process has ended
	watched chan error         // what the context's end came to; nil where it can't end
	process context.Context    // done when the wait for the process is to be given up
	giveUp  context.CancelFunc // does so
}

// begin starts copying, and watching the context.
func (c *Cmd) begin() *waiting {
	process, giveUp := context.WithCancel(context.Background())
	w := &waiting{
		copied: make(chan error, len(c.streams.copies)), copies: len(c.streams.copies),
		ended: make(chan struct{}), process: process, giveUp: giveUp,
	}
	for _, copy := range c.streams.copies {
		copy := copy
		if copy.output {
			w.outputs.Add(1)
		}
		go func() {
			w.copied <- copy.run()
			if copy.output {
				w.outputs.Done()
			}
		}()
	}
	if stray := c.streams.stray; stray != nil {
		go func() { _ = stray() }()
	}
	if c.ctx.Done() == nil {
		return w
	}
	w.watched = make(chan error, 1)
	go func() {
		w.watched <- c.watch(w)
	}()
	return w
}

// watch waits for the context's end or the process's; it gives the context's error when that ended the process.
func (c *Cmd) watch(w *waiting) error {
	select {
	case <-w.ended:
		return nil
	case <-c.ctx.Done():
	}
	cancel := c.Cancel
	if cancel == nil {
		// For as long as the box takes: many may be killed at a time.
		cancel = func() error { return c.Execution.Kill(w.process) }
	}
	cancelled := make(chan error, 1)
	go func() { cancelled <- cancel() }()
	var expired <-chan time.Time
	if c.WaitDelay != 0 {
		timer := time.NewTimer(c.WaitDelay)
		defer timer.Stop()
		expired = timer.C
	}
	why := c.ctx.Err()
	for {
		select {
		case <-w.ended:
			return why
		case err := <-cancelled:
			if errors.Is(err, os.ErrProcessDone) {
				why = nil
			}
		case <-expired:
			end, cancel := context.WithTimeout(w.process, killTime)
			defer cancel()
			if err := c.Execution.Kill(end); err != nil && !errors.Is(err, os.ErrProcessDone) {
				// The box does not answer.
				w.giveUp()
			}
		}
	}
}

// Wait waits for the process that Start started to end, and for its streams to be copied: nil when its code is 0 and
// all output came, else an [*ExitError], or the error of a stream. It holds no thread meanwhile.
func (c *Cmd) Wait() error {
	switch {
	case c.Execution == nil:
		return errNotStarted
	case c.waited:
		return errors.New("boxlite: Wait was already called")
	}
	c.waited = true
	w := c.waiting
	exit, err := c.Execution.Wait(w.process)
	close(w.ended)
	w.giveUp()
	c.Exit = exit
	c.streams.closeInput()
	c.streams.closePipes()
	copying := c.awaitCopies(w)
	var why error
	if w.watched != nil {
		why = <-w.watched
	}
	c.streams.closeAll()
	c.Execution.Close()
	switch {
	case errors.Is(err, ErrCancelled) && why != nil:
		return cutOff(why, "the command was given up: its box does not answer")
	case err != nil:
		return err
	case !exit.Success():
		failed := &ExitError{Exit: *exit, cause: why}
		if c.streams.stderr != nil {
			failed.Stderr = c.streams.stderr.bytes()
		}
		return failed
	case why != nil:
		return why
	}
	return copying
}

// awaitCopies waits for all copies, and gives the first error. After WaitDelay it closes the streams, and waits no more.
func (c *Cmd) awaitCopies(w *waiting) error {
	var expired <-chan time.Time
	if c.WaitDelay != 0 {
		timer := time.NewTimer(c.WaitDelay)
		defer timer.Stop()
		expired = timer.C
	}
	var first error
	for i := 0; i < w.copies; i++ {
		select {
		case err := <-w.copied:
			if first == nil {
				first = err
			}
		case <-expired:
			c.streams.closeAll()
			// Nobody shall write to what the caller has back; a reader that waits is left to itself.
			w.outputs.Wait()
			if first == nil {
				first = ErrWaitDelay
			}
			return first
		}
	}
	return first
}
