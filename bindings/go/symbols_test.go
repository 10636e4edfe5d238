package boxlite_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"boxlite"
)

// Every function of the library is called, or it is said why not.
func TestSymbols(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	if out, err := exec.Command("../check-symbols.sh", append([]string{"go"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	var source strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		source.Write(text)
	}
	list, err := os.Open("unreached.txt")
	must(t, err)
	defer list.Close()
	for lines := bufio.NewScanner(list); lines.Scan(); {
		if name, _, _ := strings.Cut(lines.Text(), " "); strings.HasPrefix(name, "boxlite_") &&
			strings.Contains(source.String(), "C."+name+"(") {
			t.Errorf("%s is called, and unreached.txt says it is not", name)
		}
	}
}

// Every code of the header is a sentinel.
func TestCodes(t *testing.T) {
	header, err := os.ReadFile("../../include/boxlite.h")
	must(t, err)
	source, err := os.ReadFile("errors.go")
	must(t, err)
	codes := header[strings.Index(string(header), "#define BOXLITE_OK 0"):]
	found := regexp.MustCompile(`(?m)^#define (BOXLITE_[A-Z_]+) \d+$`).FindAllSubmatch(codes, -1)
	if len(found) < 26 {
		t.Fatalf("only %d codes", len(found))
	}
	for _, one := range found {
		if !strings.Contains(string(source), "C."+string(one[1])) {
			t.Errorf("errors.go lacks %s", one[1])
		}
	}
	if name := boxlite.ErrNotFound.Error(); name != "BOXLITE_NOT_FOUND" {
		t.Errorf("got %s", name)
	}
}
