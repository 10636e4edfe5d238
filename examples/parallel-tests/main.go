// parallel-tests [-boxes N] IMAGE DIRECTORY runs the tests of a directory, each a shell script *.sh, on eight boxes at a
// time. A test sees the whole directory as its own copy and may do with it, and with its box's system, what it wants: the
// host is never written to. What a test that fails has printed is shown; the exit code is 1 when one failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"boxlite"
)

// How long one test may take.
const longest = 5 * time.Minute

type result struct {
	test   string
	took   time.Duration
	output []byte
	err    error // nil when it passed
}

func main() {
	boxes := flag.Int("boxes", 8, "how many boxes there are at a time")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: parallel-tests [-boxes N] IMAGE DIRECTORY")
		os.Exit(2)
	}
	// Ctrl-C ends what runs, and the boxes are removed as always.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	failed, err := runAll(ctx, *boxes, flag.Arg(0), flag.Arg(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "parallel-tests:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func runAll(ctx context.Context, boxes int, image, dir string) (failed int, err error) {
	tests, err := filepath.Glob(filepath.Join(dir, "*.sh"))
	if err != nil {
		return 0, err
	}
	// What a box keeps ready for the next is of no use to boxes that all start at once.
	spares := int32(0)
	runtime, err := boxlite.Open(boxlite.RuntimeOptions{Spares: &spares})
	if err != nil {
		return 0, err
	}
	defer runtime.Close()

	todo := make(chan string)
	results := make(chan result)
	broken := make(chan error, boxes)
	var workers sync.WaitGroup
	if boxes > len(tests) {
		boxes = len(tests)
	}
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	for i := 0; i < boxes; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			if err := work(ctx, runtime, image, dir, todo, results); err != nil {
				broken <- err
				giveUp()
			}
		}()
	}
	go func() {
		defer close(todo)
		for _, test := range tests {
			select {
			case todo <- filepath.Base(test):
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		workers.Wait()
		close(results)
	}()

	done := 0
	for r := range results {
		done++
		if r.err == nil {
			fmt.Printf("ok    %-30s %6d ms\n", r.test, r.took.Milliseconds())
			continue
		}
		failed++
		fmt.Printf("FAIL  %-30s %6d ms  %v\n", r.test, r.took.Milliseconds(), r.err)
		fmt.Print("      ", strings.ReplaceAll(strings.TrimRight(string(r.output), "\n"), "\n", "\n      "), "\n")
	}
	fmt.Printf("%d passed, %d failed, %d not run\n", done-failed, failed, len(tests)-done)
	select {
	case err = <-broken:
	default:
		err = ctx.Err()
	}
	return failed, err
}

// work has one box, and runs tests in it until there are none.
func work(ctx context.Context, runtime *boxlite.Runtime, image, dir string, todo <-chan string, results chan<- result) error {
	box, err := runtime.Create(ctx, boxlite.BoxOptions{Image: image, AutoRemove: true})
	if err != nil {
		return err
	}
	defer box.Close()
	for test := range todo {
		where := "/tests/" + test
		if err := box.CopyIn(ctx, dir, where, boxlite.CopyOptions{}); err != nil {
			return err
		}
		start := time.Now()
		cmd := box.Command(ctx, "sh", "-e", test)
		cmd.Dir, cmd.Timeout = where, longest
		output, err := cmd.CombinedOutput()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		results <- result{test, time.Since(start), output, err}
	}
	return nil
}
