package boxlite_test

// Many at once, and all day long: threads, descriptors, memory, and the garbage collector among them.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"boxlite"
)

const (
	crowd       = 500
	mostThreads = 50
)

func init() {
	children["crowd"] = waitingCrowd
	children["rounds"] = manyRounds
}

// idle is whether this machine does nothing else, so that it has time for more.
func idle() bool { return os.Getenv("BOXLITE_TEST_IDLE") != "" }

// child runs this program as one of the children on a home of its own, so that threads and descriptors are its alone.
func child(t *testing.T, name string) {
	t.Helper()
	home := homeDir(t)
	shareTemplates(home)
	ctx := within(t)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "BOXLITE_GO_CHILD="+name, "BOXLITE_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	if left := leftAtWork(home); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

func TestCrowd(t *testing.T) { child(t, "crowd") }

// waitingCrowd has 500 goroutines wait for commands, and counts threads all the while. On an idle machine each waits for a
// command of its own, else ten for the same.
func waitingCrowd(string) error {
	commands := crowd / 10
	if idle() {
		commands = crowd
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return withBox(ctx, func(_ *boxlite.Runtime, box *boxlite.Box) error {
		over, most := make(chan struct{}), make(chan int)
		go func() { most <- mostThreadsUntil(over) }()
		everybody, end := context.WithCancel(ctx)
		defer end()
		var running, done sync.WaitGroup
		failures := make(chan error, 3*crowd)
		for i := 0; i < commands; i++ {
			running.Add(1)
			done.Add(1)
			go func() {
				defer done.Done()
				failures <- oneOfTheCrowd(everybody, ctx, box, crowd/commands-1, &running)
			}()
		}
		for i := 0; i < crowd; i++ {
			done.Add(1)
			go func() {
				defer done.Done()
				if _, err := box.Wait(everybody); !errors.Is(err, context.Canceled) {
					failures <- fmt.Errorf("the wait for the box: %w", err)
				}
			}()
		}
		running.Wait()
		list, err := box.Executions(ctx)
		if err != nil {
			return err
		}
		alive, waiting, goroutines := 0, entries("/proc/self/task"), runtime.NumGoroutine()
		for _, one := range list {
			if one.Exit == nil {
				alive++
			}
		}
		end()
		done.Wait()
		close(over)
		threads := <-most
		fmt.Printf("%d commands run, %d goroutines, %d threads, %d at most\n", alive, goroutines, waiting, threads)
		if alive != commands || goroutines < 2*crowd || threads >= mostThreads {
			return errors.New("that is not as it should be")
		}
		close(failures)
		for err := range failures {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// oneOfTheCrowd runs a command until `everybody` ends, with more goroutines that wait for it as well.
func oneOfTheCrowd(everybody, ctx context.Context, box *boxlite.Box, more int, running *sync.WaitGroup) error {
	cmd := box.Command(everybody, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		running.Done()
		return err
	}
	waits := make(chan error, more)
	attached, err := box.Attach(ctx, cmd.Execution.ID())
	if err != nil {
		running.Done()
		return err
	}
	defer attached.Close()
	for i := 0; i < more; i++ {
		go func() {
			exit, err := attached.Wait(ctx)
			if err == nil && exit.Signal != syscall.SIGKILL {
				err = fmt.Errorf("got %v", exit)
			}
			waits <- err
		}()
	}
	running.Done()
	var killed *boxlite.ExitError
	if err := cmd.Wait(); !errors.As(err, &killed) || !errors.Is(err, context.Canceled) {
		return fmt.Errorf("got %v", err)
	}
	for i := 0; i < more; i++ {
		if err := <-waits; err != nil {
			return err
		}
	}
	return nil
}

func mostThreadsUntil(over <-chan struct{}) (most int) {
	for {
		if now := entries("/proc/self/task"); now > most {
			most = now
		}
		select {
		case <-over:
			return most
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestRounds(t *testing.T) { child(t, "rounds") }

// manyRounds runs commands in every manner, the garbage collector beside them, and then has what it had before.
func manyRounds(home string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before, after, rounds := 0, 0, 25
	if idle() {
		rounds = 200
	}
	err := withBox(ctx, func(rt *boxlite.Runtime, box *boxlite.Box) error {
		for round := 0; round < rounds; round++ {
			if round == 5 {
				before = settled(ctx, 0, time.Second)
			}
			if err := oneRound(ctx, box); err != nil {
				return fmt.Errorf("round %d: %w", round, err)
			}
		}
		after = settled(ctx, before, time.Minute)
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("descriptors: %d after 5 rounds, %d after %d\n", before, after, rounds)
	if after > before {
		return fmt.Errorf("descriptors grew from %d to %d", before, after)
	}
	// After a Close nothing of the runtime is left.
	deadline := time.Now().Add(patience)
	for threadsNamed("boxlite-") > 0 {
		if time.Now().After(deadline) {
			return errors.New("threads are left after Close")
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

func oneRound(ctx context.Context, box *boxlite.Box) error {
	cmd := box.Command(ctx, "sh", "-c", "cat; echo $$ >&2")
	cmd.Stdin = strings.NewReader("hello")
	if out, err := cmd.Output(); err != nil || string(out) != "hello" {
		return fmt.Errorf("got %q, %v", out, err)
	}
	// One whose streams nobody reads, one that isn't there, one that is killed, one that nobody waits for.
	cmd = box.Command(ctx, "echo", "unread")
	if _, err := cmd.StdoutPipe(); err != nil {
		return err
	}
	if err := cmd.Run(); err != nil {
		return err
	}
	if err := box.Command(ctx, "no-such-program").Run(); !errors.Is(err, boxlite.ErrExecution) {
		return err
	}
	short, end := context.WithTimeout(ctx, 30*time.Millisecond)
	defer end()
	if err := box.Command(short, "sleep", "1000").Run(); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	cmd = box.Command(ctx, "true")
	cmd.RetainOutput = true
	if err := cmd.Start(); err != nil {
		return err
	}
	attached, err := box.Attach(ctx, cmd.Execution.ID())
	if err != nil {
		return err
	}
	_, err = attached.TakeStdout(ctx, boxlite.Oldest)
	return err
}

// settled is how many descriptors there are once the garbage collector has found what nobody closed; it waits for as few
// as `enough`, but no longer than `limit`.
func settled(ctx context.Context, enough int, limit time.Duration) int {
	least := entries("/proc/self/fd")
	for end := time.Now().Add(limit); time.Now().Before(end) && least > enough && ctx.Err() == nil; {
		runtime.GC()
		time.Sleep(5 * time.Millisecond)
		if now := entries("/proc/self/fd"); now < least {
			least = now
		}
	}
	return least
}

// Handles are made, used, shared and dropped, while the garbage collector runs all the time.
func TestGarbage(t *testing.T) {
	ctx := within(t)
	over := make(chan struct{})
	var collecting, working sync.WaitGroup
	collecting.Add(1)
	go func() {
		defer collecting.Done()
		for {
			select {
			case <-over:
				return
			default:
				runtime.GC()
			}
		}
	}()
	for worker := 0; worker < 4; worker++ {
		working.Add(1)
		go func() {
			defer working.Done()
			for i := 0; i < 8; i++ {
				if err := makeGarbage(ctx); err != nil {
					t.Errorf("round %d: %v", i, err)
					return
				}
			}
		}()
	}
	working.Wait()
	close(over)
	collecting.Wait()
}

func makeGarbage(ctx context.Context) error {
	box, err := shared.runtime.Get(ctx, shared.box.ID())
	if err != nil {
		return err
	}
	if info, err := box.Info(ctx); err != nil || info.Name != "shared" || info.Image != image {
		return fmt.Errorf("got %+v, %v", info, err)
	}
	if _, err := shared.runtime.List(ctx, boxlite.Filter{HasLabels: []string{"x"}}); err != nil {
		return err
	}
	cmd := box.Command(ctx, "echo", strings.Repeat("x", 5000))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	id := cmd.Execution.ID()
	_, _ = cmd, out // neither is waited for or closed
	attached, err := box.Attach(ctx, id)
	if err != nil {
		return err
	}
	exits := make(chan error, 3)
	for i := 0; i < cap(exits); i++ {
		go func() {
			exit, err := attached.Wait(ctx)
			if err == nil && !exit.Success() {
				err = fmt.Errorf("got %v", exit)
			}
			exits <- err
		}()
	}
	for i := 0; i < cap(exits); i++ {
		if err := <-exits; err != nil {
			return err
		}
	}
	if _, err := attached.TakeStderr(ctx, boxlite.Oldest); !errors.Is(err, boxlite.ErrInvalidState) {
		return err
	}
	// Closed in the middle of calls: those are finished, later ones are refused.
	go box.Close()
	if _, err := box.Info(ctx); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func withBox(ctx context.Context, do func(*boxlite.Runtime, *boxlite.Box) error) error {
	// Without templates or spares, whose making takes threads and descriptors of its own.
	none := int64(0)
	runtime, err := boxlite.Open(boxlite.RuntimeOptions{TemplateSpace: &none})
	if err != nil {
		return err
	}
	box, err := runtime.Create(ctx, boxlite.BoxOptions{Image: image, AutoRemove: true})
	if err == nil {
		err = box.Start(ctx)
	}
	if err == nil {
		err = do(runtime, box)
	}
	if box != nil {
		box.Close()
	}
	if closing := runtime.Close(); err == nil {
		err = closing
	}
	return err
}

func entries(dir string) int {
	all, _ := os.ReadDir(dir)
	return len(all)
}

func threadsNamed(prefix string) (count int) {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		if name, err := os.ReadFile("/proc/self/task/" + task.Name() + "/comm"); err == nil && strings.HasPrefix(string(name), prefix) {
			count++
		}
	}
	return count
}
