package main

// The start of a box of its own, which may be cancelled during its pull.

import (
	"context"
	"fmt"

	"boxlite"
)

// start starts a box of its own, of `image`, and removes it.
func (d *driver) start(r request, a answer) {
	other, err := d.runtime.Create(forever, options(r.text("image"), 256))
	if a.failed("create", err) {
		return
	}
	defer other.Close()
	ctx, cancel := context.WithCancel(forever)
	defer cancel()
	if r.has("cancel") {
		ctx = boxlite.WithProgress(ctx, func(progress boxlite.Progress) bool {
			for _, layer := range progress.Layers {
				if progress.Stage == "pull" && layer.DoneBytes > 0 {
					cancel()
				}
			}
			return true
		})
	}
	a.failed("error", other.Start(ctx))
	info, err := other.Info(forever)
	exitOn(err)
	a["status"] = fmt.Sprint(info.Status)
	a.failed("remove", d.runtime.Remove(forever, other.ID(), true))
}
