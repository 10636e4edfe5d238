package boxlite_test

// What the tests share: a home with one runtime and one box, and this program as a child of itself.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boxlite"
)

// How long anything may take before it counts as hung.
const patience = 5 * time.Minute

var (
	image  string
	shared struct {
		home    string
		runtime *boxlite.Runtime
		box     *boxlite.Box
	}
	// What this program does as a child, by $BOXLITE_GO_CHILD.
	children = map[string]func(home string) error{}
)

func TestMain(m *testing.M) {
	image = os.Getenv("BOXLITE_TEST_IMAGE")
	if image == "" {
		here, err := filepath.Abs("../../target/test-images/busybox")
		exitOn(err)
		image = "oci:" + here
		os.Setenv("BOXLITE_TEST_IMAGE", image)
	}
	if child := os.Getenv("BOXLITE_GO_CHILD"); child != "" {
		exitOn(children[child](os.Getenv("BOXLITE_HOME")))
		os.Exit(0)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	home, err := os.MkdirTemp("", "boxlite-go-")
	exitOn(err)
	defer func() { exitOn(removeAll(home)) }()
	shareTemplates(home)
	// Tests may share their machine with whatever else is compiled there.
	os.Setenv("BOXLITE_BOOT_SECONDS", "300")
	os.Setenv("BOXLITE_SPARES", "0")
	// For the examples, which open the home that everybody has.
	os.Setenv("BOXLITE_HOME", home)
	shared.home = home
	shared.runtime, err = boxlite.Open(boxlite.RuntimeOptions{HomeDir: home})
	exitOn(err)
	shared.box, err = shared.runtime.Create(context.Background(), boxlite.BoxOptions{Image: image, Name: "shared", AutoRemove: true})
	exitOn(err)
	code := m.Run()
	exitOn(shared.runtime.Close())
	if left := leftAtWork(home); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "left running:", left)
		return 1
	}
	return code
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// shareTemplates lets a home use the templates of all tests.
func shareTemplates(home string) {
	if templates := os.Getenv("BOXLITE_TEST_TEMPLATES"); templates != "" {
		exitOn(os.Symlink(templates, filepath.Join(home, "templates")))
	}
}

// atWork are the processes of a home's boxes, which have a directory of it as their own.
func atWork(home string) (pids []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if dir, err := os.Readlink(link); err == nil && strings.HasPrefix(dir, home+"/") {
			pids = append(pids, filepath.Base(filepath.Dir(link)))
		}
	}
	return pids
}

// leftAtWork are those that don't end: one that was killed takes a moment to go.
func leftAtWork(home string) (pids []string) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if pids = atWork(home); len(pids) == 0 || time.Now().After(end) {
			return pids
		}
	}
}

// removeAll deletes a home. A runtime that was closed closes its database in the background, which may make a file anew
// meanwhile, so it may take more than one try.
func removeAll(home string) (err error) {
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err = os.RemoveAll(home); err == nil || time.Now().After(end) {
			return err
		}
	}
}

// within is a context that ends when something hangs.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// homeDir is a directory for a home.
func homeDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "boxlite-go-home-")
	must(t, err)
	t.Cleanup(func() { must(t, removeAll(dir)) })
	return dir
}

// newRuntime opens a runtime on a home of the test's own.
func newRuntime(t testing.TB, options boxlite.RuntimeOptions) (*boxlite.Runtime, string) {
	t.Helper()
	if options.HomeDir == "" {
		options.HomeDir = homeDir(t)
		shareTemplates(options.HomeDir)
	}
	runtime, err := boxlite.Open(options)
	must(t, err)
	t.Cleanup(func() { must(t, runtime.Close()) })
	return runtime, options.HomeDir
}

// until waits for a condition.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
