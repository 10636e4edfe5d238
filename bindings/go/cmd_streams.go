package boxlite

// What a command that runs is connected to: the streams that were asked for, and what copies to and from them.

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A pipe is given out before there is a stream: until the command was started it is not usable.
type pipe struct {
	mu     sync.Mutex
	stream io.Closer
	closed bool
}

// A copying is what a goroutine does beside a command.
type copying struct {
	output bool // to a writer of the caller's
	run    func() error
}

var errNotStarted = errors.New("boxlite: the command has not been started")

func (p *pipe) set(stream io.Closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stream = stream
	if p.closed {
		stream.Close()
	}
}

func (p *pipe) get() (io.Closer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.stream == nil && p.closed:
		return nil, os.ErrClosed
	case p.stream == nil:
		return nil, errNotStarted
	}
	return p.stream, nil
}

func (p *pipe) Read(data []byte) (int, error) {
	stream, err := p.get()
	if err != nil {
		return 0, err
	}
	return stream.(io.Reader).Read(data)
}

func (p *pipe) Write(data []byte) (int, error) {
	stream, err := p.get()
	if err != nil {
		return 0, err
	}
	return stream.(io.Writer).Write(data)
}

func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	already := p.closed
	p.closed = true
	if p.stream == nil || already {
		return nil
	}
	return p.stream.Close()
}

// typing is a terminal as standard input: its end is a character.
type typing struct{ *Terminal }

func (t typing) Close() error { return t.CloseWrite() }

// connect takes the streams that are wanted of a process that runs.
func (c *Cmd) connect(execution *Execution) error {
	in, out := c.Stdin != nil || c.streams.wantIn, c.Stdout != nil || c.streams.wantOut
	if c.TTY != nil {
		if !in && !out {
			return nil
		}
		terminal, err := execution.TakeTerminal(c.ctx, Oldest)
		if err != nil {
			return err
		}
		c.streams.open(&c.streams.out, terminal)
		if in {
			c.streams.open(&c.streams.in, typing{terminal})
		}
		c.copies(in, out)
		return nil
	}
	if in {
		stream, err := execution.TakeStdin(c.ctx)
		if err != nil {
			return err
		}
		c.streams.open(&c.streams.in, stream)
	}
	if out {
		stream, err := execution.TakeStdout(c.ctx, Oldest)
		if err != nil {
			return err
		}
		c.streams.open(&c.streams.out, stream)
	}
	if (c.Stderr != nil || c.streams.wantErr) && !c.merged() {
		stream, err := execution.TakeStderr(c.ctx, Oldest)
		if err != nil {
			return err
		}
		c.streams.open(&c.streams.err, stream)
	}
	c.copies(in, out)
	return nil
}

// open connects a pipe that was given out, or makes one.
func (s *cmdStreams) open(to **pipe, stream io.Closer) {
	if *to == nil {
		*to = &pipe{}
	}
	(*to).set(stream)
}

// broken reports whether a write failed because the process reads no more, or has ended.
func broken(err error) bool {
	for _, reason := range []error{syscall.EPIPE, syscall.ECONNRESET, net.ErrClosed, os.ErrClosed, os.ErrDeadlineExceeded} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// copies notes what is to be copied.
func (c *Cmd) copies(in, out bool) {
	s := &c.streams
	if in && !s.wantIn {
		from, to := c.Stdin, s.in
		feed := func() error {
			_, err := io.Copy(to, from)
			if broken(err) {
				err = nil
			}
			if closing := to.Close(); err == nil && !broken(closing) {
				err = closing
			}
			return err
		}
		if _, file := from.(*os.File); file {
			s.stray = feed
		} else {
			s.copies = append(s.copies, copying{run: feed})
		}
	}
	drain := func(to io.Writer, from *pipe) {
		s.copies = append(s.copies, copying{output: true, run: func() error {
			_, err := io.Copy(to, from)
			// A writer that failed shall not hold up the process.
			from.Close()
			return err
		}})
	}
	switch {
	case out && !s.wantOut:
		drain(c.Stdout, s.out)
	case !out && s.out != nil:
		// A terminal that is only typed to: what it prints must not hold up the process.
		drain(io.Discard, s.out)
	}
	if c.Stderr != nil && !c.merged() && c.TTY == nil {
		drain(c.Stderr, s.err)
	}
}

// closeInput ends what is written to the process; for one that has ended.
func (s *cmdStreams) closeInput() {
	if s.in == nil {
		return
	}
	if stream, err := s.in.get(); err == nil {
		if terminal, ok := stream.(typing); ok {
			// Nobody is left who could read what is typed.
			_ = terminal.SetWriteDeadline(time.Unix(1, 0))
			return
		}
	}
	_ = s.in.Close()
}

// closePipes closes what StdoutPipe and StderrPipe gave out.
func (s *cmdStreams) closePipes() {
	if s.wantOut && s.out != nil {
		s.out.Close()
	}
	if s.wantErr && s.err != nil {
		s.err.Close()
	}
}

func (s *cmdStreams) closeAll() {
	// A terminal's input last: its end is typed, which waits for nobody once the terminal is closed.
	for _, one := range []*pipe{s.out, s.err, s.in} {
		if one != nil {
			_ = one.Close()
		}
	}
}

// ends keeps the beginning and the end of what is written to it.
type ends struct {
	head, tail []byte
	dropped    int64
}

const endBytes = 32 << 10

func (e *ends) Write(p []byte) (int, error) {
	n := len(p)
	if room := endBytes - len(e.head); room > 0 {
		if room > len(p) {
			room = len(p)
		}
		e.head = append(e.head, p[:room]...)
		p = p[room:]
	}
	e.tail = append(e.tail, p...)
	// Moved now and then only.
	if over := len(e.tail) - endBytes; over > endBytes {
		e.dropped += int64(over)
		e.tail = append(e.tail[:0], e.tail[over:]...)
	}
	return n, nil
}

func (e *ends) bytes() []byte {
	all := append([]byte(nil), e.head...)
	dropped, tail := e.dropped, e.tail
	if over := len(tail) - endBytes; over > 0 {
		dropped += int64(over)
		tail = tail[over:]
	}
	if dropped > 0 {
		all = append(all, "\n... omitting "+strconv.FormatInt(dropped, 10)+" bytes ...\n"...)
	}
	return append(all, tail...)
}
