// The conformance driver in Go: performs what it is told over stdin, and prints what it saw. It expects nothing; the
// requests and answers are told in ../README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"boxlite"
)

var forever = context.Background()

func main() {
	home, image, registry := os.Args[1], os.Args[2], os.Args[3]
	runtime, err := boxlite.Open(boxlite.RuntimeOptions{
		HomeDir: home, Registries: []boxlite.Registry{{Host: registry, PlainHTTP: true}},
	})
	exitOn(err)
	with := options(image, 256)
	with.Name = "shared"
	box, err := runtime.Create(forever, with)
	exitOn(err)
	d := driver{runtime, box}
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break
		}
		exitOn(err)
		told, err := json.Marshal(d.perform(parse(strings.TrimSuffix(line, "\n"))))
		exitOn(err)
		fmt.Println(string(told))
	}
	exitOn(runtime.Close())
}

func exitOn(err error) {
	if err != nil {
		panic(err)
	}
}
