package boxlite_test

// A program outside of the checkout: the README's, on an installed tree that pkg-config finds, and that is moved then.

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestOutsideOfTheTree(t *testing.T) {
	work := t.TempDir()
	at := func(name string) string { return filepath.Join(work, name) }
	run := func(dir string, env []string, input, name string, args ...string) (string, error) {
		cmd := exec.CommandContext(within(t), name, args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	runs := func(dir string, env []string, name string, args ...string) string {
		t.Helper()
		out, err := run(dir, env, "", name, args...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return out
	}
	root, err := filepath.Abs("../..")
	must(t, err)
	runs("", nil, "cmake", "-S", root, "-B", at("build"), "-DBOXLITE_BUILD=OFF")
	runs("", nil, "cmake", "--install", at("build"), "--prefix", at("tree"))

	// The module as somebody copies it, and the README's program.
	files, err := filepath.Glob("*.go")
	must(t, err)
	must(t, os.MkdirAll(at("boxlite"), 0o755))
	must(t, os.MkdirAll(at("app"), 0o755))
	for _, file := range append(files, "go.mod") {
		if !strings.HasSuffix(file, "_test.go") {
			text, err := os.ReadFile(file)
			must(t, err)
			must(t, os.WriteFile(filepath.Join(at("boxlite"), file), text, 0o644))
		}
	}
	readme, err := os.ReadFile("README.md")
	must(t, err)
	program := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)[1]
	must(t, os.WriteFile(at("app/main.go"), program, 0o644))
	module := "module example\n\ngo 1.19\n\nrequire boxlite v0.0.0\n\nreplace boxlite => ../boxlite\n"
	must(t, os.WriteFile(at("app/go.mod"), []byte(module), 0o644))

	found := []string{"PKG_CONFIG_PATH=" + at("tree/lib/pkgconfig")}
	libdir := strings.TrimSpace(runs("", found, "pkg-config", "--variable=libdir", "boxlite"))
	runs(at("app"), append(found, "CGO_LDFLAGS=-Wl,-rpath,"+libdir), "go", "build", "-o", at("program"), ".")

	home := at("home")
	must(t, os.MkdirAll(home, 0o755))
	shareTemplates(home)
	env := []string{"BOXLITE_HOME=" + home}
	works := func(env []string) {
		t.Helper()
		out, err := run(work, env, "shout\n", at("program"), image)
		if err != nil || out != "42\nSHOUT\nexit code 3\n" {
			t.Errorf("got %q, %v", out, err)
		}
	}
	works(env)
	must(t, os.Rename(at("tree"), at("moved")))
	if out, err := run(work, env, "", at("program"), image); err == nil {
		t.Errorf("without its library it says %q", out)
	}
	works(append(env, "LD_LIBRARY_PATH="+at("moved/lib")))
}
