package boxlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"strings"
	"syscall"
	"time"

	"boxlite"
)

// A box of its own for one command.
func Example() {
	ctx := context.Background()
	runtime, err := boxlite.Open(boxlite.RuntimeOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer runtime.Close()
	box, err := runtime.Create(ctx, boxlite.BoxOptions{Image: os.Getenv("BOXLITE_TEST_IMAGE"), AutoRemove: true})
	if err != nil {
		log.Fatal(err)
	}
	defer box.Close()

	out, err := box.Command(ctx, "sh", "-c", "echo hello from $(uname)").Output()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s", out)
	// Output: hello from Linux
}

func ExampleBox_Command() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := shared.box.Command(ctx, "tr", "a-z", "A-Z")
	cmd.Stdin = strings.NewReader("some input")
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		log.Fatal(err)
	}
	// Output: SOME INPUT
}

// Output is read as it comes.
func ExampleCmd_StdoutPipe() {
	cmd := shared.box.Command(context.Background(), "sh", "-c", "for i in 1 2 3; do echo step $i; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		log.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Println("got", lines.Text())
	}
	if err := cmd.Wait(); err != nil {
		log.Fatal(err)
	}
	// Output:
	// got step 1
	// got step 2
	// got step 3
}

func ExampleExitError() {
	_, err := shared.box.Command(context.Background(), "sh", "-c", "echo why >&2; exit 3").Output()
	var exit *boxlite.ExitError
	if errors.As(err, &exit) {
		fmt.Printf("code %d: %s", exit.Code, exit.Stderr)
	}
	err = shared.box.Command(context.Background(), "sh", "-c", "kill -TERM $$").Run()
	if errors.As(err, &exit) && exit.Signal == syscall.SIGTERM {
		fmt.Println("signal:", exit.Signal)
	}
	// Output:
	// code 3: why
	// signal: terminated
}

func ExampleError() {
	_, err := shared.runtime.Get(context.Background(), "nobody")
	var told *boxlite.Error
	if errors.As(err, &told) {
		fmt.Println(told.Code, "about", told.Subject)
	}
	fmt.Println(errors.Is(err, boxlite.ErrNotFound), errors.Is(err, fs.ErrNotExist))
	// Output:
	// BOXLITE_NOT_FOUND about nobody
	// true true
}

// A command goes on when nobody waits for it; who knows its id takes it up.
func ExampleBox_Attach() {
	ctx := context.Background()
	cmd := shared.box.Command(ctx, "sh", "-c", "read line; echo got $line")
	cmd.KeepStdin, cmd.RetainOutput = true, true
	if err := cmd.Start(); err != nil {
		log.Fatal(err)
	}
	execution, err := shared.box.Attach(ctx, cmd.Execution.ID())
	if err != nil {
		log.Fatal(err)
	}
	defer execution.Close()
	in, err := execution.TakeStdin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	out, err := execution.TakeStdout(ctx, boxlite.Oldest)
	if err != nil {
		log.Fatal(err)
	}
	defer out.Close()
	fmt.Fprintln(in, "a line")
	in.Close()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Println(lines.Text())
	}
	exit, err := execution.Wait(ctx)
	fmt.Println(exit, err)
	// Output:
	// got a line
	// exit status 0 <nil>
}

func ExampleWithProgress() {
	stages := 0
	ctx := boxlite.WithProgress(context.Background(), func(p boxlite.Progress) bool {
		stages++
		return true
	})
	if err := shared.box.Start(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("told:", stages > 0)
	// Output: told: true
}
