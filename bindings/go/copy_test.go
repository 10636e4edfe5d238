package boxlite_test

// Files into a box and out of it.

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"boxlite"
)

func TestFiles(t *testing.T) {
	ctx, box := within(t), shared.box
	content := append(bytes.Repeat([]byte("\x00\xff\n"), 100_000), "end"...)
	must(t, box.WriteFile(ctx, "/made/deep/file", content, 0o640))
	got, err := box.ReadFile(ctx, "/made/deep/file", 1<<20)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	out, err := box.Command(ctx, "stat", "-c", "%a %s", "/made/deep/file").Output()
	if err != nil || string(out) != "640 300003\n" {
		t.Errorf("got %q, %v", out, err)
	}
	must(t, box.WriteFile(ctx, "/made/empty", nil, 0o600))
	if got, err = box.ReadFile(ctx, "/made/empty", 0); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err = box.ReadFile(ctx, "/made/deep/file", 10); !errors.Is(err, boxlite.ErrResourceExhausted) {
		t.Errorf("got %v", err)
	}
	if _, err = box.ReadFile(ctx, "/made/none", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err = box.ReadFile(ctx, "/made/none\x00", 10); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
}

func TestCopies(t *testing.T) {
	ctx, box, dir := within(t), shared.box, t.TempDir()
	from := filepath.Join(dir, "from")
	must(t, os.MkdirAll(filepath.Join(from, "sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(from, "sub", "a \xff file"), []byte("a"), 0o755))
	must(t, os.Symlink("sub", filepath.Join(from, "link")))

	must(t, box.CopyIn(ctx, from, "/copied", boxlite.CopyOptions{}))
	out, err := box.Command(ctx, "sh", "-c", "cd /copied; find . | sort; readlink link").Output()
	if want := ".\n./link\n./sub\n./sub/a \xff file\nsub\n"; err != nil || string(out) != want {
		t.Errorf("got %q, %v", out, err)
	}
	err = box.CopyIn(ctx, filepath.Join(from, "sub", "a \xff file"), "/copied/sub/", boxlite.CopyOptions{NoOverwrite: true})
	if !errors.Is(err, boxlite.ErrAlreadyExists) {
		t.Errorf("got %v", err)
	}
	if err = box.CopyIn(ctx, from, "/copied", boxlite.CopyOptions{NoRecursion: true}); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	must(t, box.CopyIn(ctx, from, "/copied", boxlite.CopyOptions{OmitParent: true}))
	if _, err = box.ReadFile(ctx, "/copied/from/sub/a \xff file", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}

	to := filepath.Join(dir, "to")
	must(t, box.CopyOut(ctx, "/copied", to, boxlite.CopyOptions{FollowSymlinks: true}))
	for _, path := range []string{"sub/a \xff file", "link/a \xff file"} {
		if text, err := os.ReadFile(filepath.Join(to, path)); err != nil || string(text) != "a" {
			t.Errorf("%q: got %q, %v", path, text, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(to, "link")); err != nil || !info.IsDir() {
		t.Errorf("got %v, %v", info, err)
	}
	if err = box.CopyOut(ctx, "/none", to, boxlite.CopyOptions{}); !errors.Is(err, boxlite.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestTar(t *testing.T) {
	ctx, box := within(t), shared.box
	var archive bytes.Buffer
	writer := tar.NewWriter(&archive)
	must(t, writer.WriteHeader(&tar.Header{Name: "dir/file", Mode: 0o644, Size: 5, Format: tar.FormatPAX}))
	_, err := writer.Write([]byte("hello"))
	must(t, err)
	must(t, writer.Close())
	whole := archive.Bytes()
	must(t, box.CopyInTar(ctx, bytes.NewReader(whole), "/unpacked", boxlite.CopyOptions{}))
	got, err := box.ReadFile(ctx, "/unpacked/dir/file", 5)
	if err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}

	var back bytes.Buffer
	must(t, box.CopyOutTar(ctx, "/unpacked", &back, boxlite.CopyOptions{}))
	names := map[string]string{}
	for reader := tar.NewReader(&back); ; {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		text, err := io.ReadAll(reader)
		must(t, err)
		names[strings.TrimSuffix(header.Name, "/")] = string(text)
	}
	if len(names) != 3 || names["unpacked/dir/file"] != "hello" {
		t.Errorf("got %q", names)
	}

	file, err := os.Create(filepath.Join(t.TempDir(), "tar"))
	must(t, err)
	must(t, box.CopyOutTar(ctx, "/unpacked", file, boxlite.CopyOptions{}))
	_, err = file.Seek(0, io.SeekStart)
	must(t, err)
	must(t, box.CopyInTar(ctx, file, "/again", boxlite.CopyOptions{}))
	must(t, file.Close())
	if got, err = box.ReadFile(ctx, "/again/unpacked/dir/file", 5); err != nil || string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}

	if err := box.CopyInTar(ctx, bytes.NewReader(whole[:600]), "/cut", boxlite.CopyOptions{}); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
	if err := box.CopyInTar(ctx, failing{}, "/cut", boxlite.CopyOptions{}); !errors.Is(err, errFailing) {
		t.Errorf("got %v", err)
	}
	if err := box.CopyOutTar(ctx, "/unpacked", failing{}, boxlite.CopyOptions{}); !errors.Is(err, errFailing) {
		t.Errorf("got %v", err)
	}
	if err := box.CopyInTar(ctx, file, "/cut", boxlite.CopyOptions{}); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
}
