package boxlite_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"boxlite"
)

func TestImages(t *testing.T) {
	ctx := within(t)
	runtime, _ := newRuntime(t, boxlite.RuntimeOptions{})
	if all, err := runtime.Images(ctx); err != nil || len(all) != 0 {
		t.Errorf("got %+v, %v", all, err)
	}
	var stages []string
	pulled, err := runtime.PullImage(boxlite.WithProgress(ctx, func(p boxlite.Progress) bool {
		stages = append(stages, p.Stage)
		return true
	}), image)
	must(t, err)
	if len(stages) == 0 || pulled.Reference == "" || !strings.HasPrefix(pulled.Digest, "sha256:") || len(pulled.Layers) == 0 ||
		pulled.SizeBytes == 0 || time.Since(pulled.Stored) > patience || !strings.HasPrefix(pulled.ConfigDigest, "sha256:") {
		t.Errorf("got %+v, %q", pulled, stages)
	}
	found, err := runtime.GetImage(ctx, pulled.Digest)
	if err != nil || found.Reference != pulled.Reference || found.Layers[0] != pulled.Layers[0] {
		t.Errorf("got %+v, %v", found, err)
	}
	if all, err := runtime.Images(ctx); err != nil || len(all) != 1 || all[0].Digest != pulled.Digest {
		t.Errorf("got %+v, %v", all, err)
	}
	if _, err = runtime.GetImage(ctx, "nobody/has:this"); !errors.Is(err, boxlite.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err = runtime.PullImage(ctx, "NOT a reference"); !errors.Is(err, boxlite.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}

	for _, dry := range []bool{true, false} {
		report, err := runtime.Prune(ctx, dry)
		must(t, err)
		if len(report.Things) != 1 || report.Things[0].Kind != boxlite.PruneImage || report.Things[0].Bytes == 0 ||
			report.TotalBytes != report.Things[0].Bytes || report.Things[0].Name != pulled.Reference {
			t.Errorf("got %+v", report)
		}
	}
	if err = runtime.RemoveImage(ctx, image, false); !errors.Is(err, boxlite.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	_, err = runtime.PullImage(ctx, image)
	must(t, err)
	must(t, runtime.RemoveImage(ctx, image, true))
}
