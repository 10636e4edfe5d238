package boxlite

// The images of a home: fetched ahead, found, listed, removed; and what no box needs any more.

// #include <boxlite.h>
import "C"

import (
	"context"
	"time"
)

// An Image is an image in a home's store at one moment.
type Image struct {
	Reference    string // in full, such as "docker.io/library/alpine:latest"
	Repository   string // without tag and digest
	Tag          string // empty when it was pulled by digest alone
	Digest       string // of its manifest for this machine: what it is, whatever it is called
	ConfigDigest string
	Layers       []string // digests, the lowest first
	SizeBytes    uint64   // of config and layers as stored
	Stored       time.Time
}

func imageFrom(from *C.boxlite_image) Image {
	image := Image{
		Reference:    C.GoString(C.boxlite_image_reference(from)),
		Repository:   C.GoString(C.boxlite_image_repository(from)),
		Tag:          C.GoString(C.boxlite_image_tag(from)),
		Digest:       C.GoString(C.boxlite_image_digest(from)),
		ConfigDigest: C.GoString(C.boxlite_image_config_digest(from)),
		SizeBytes:    uint64(C.boxlite_image_size_bytes(from)),
		Stored:       time.UnixMilli(int64(C.boxlite_image_stored_at_ms(from))),
	}
	for i := C.size_t(0); i < C.boxlite_image_layer_len(from); i++ {
		image.Layers = append(image.Layers, C.GoString(C.boxlite_image_layer_digest(from, i)))
	}
	return image
}

// PullImage asks the image's source what the image is now, and fetches what the store lacks. A box pulls by itself what
// is missing; this does it ahead, or gets a newer image under the same tag. It reports progress. When ctx ends the call
// others that wait for the image go on, and what was fetched stays.
func (r *Runtime) PullImage(ctx context.Context, reference string) (Image, error) {
	return r.image(ctx, reference, func(
		ptr *C.boxlite_runtime, which *C.char, call *C.boxlite_call, image **C.boxlite_image, err **C.boxlite_error,
	) C.boxlite_code {
		return C.boxlite_image_pull(ptr, which, call, image, err)
	})
}

// GetImage finds an image in the store, without asking its source, by its reference, its digest or that of its config.
func (r *Runtime) GetImage(ctx context.Context, reference string) (Image, error) {
	return r.image(ctx, reference, func(
		ptr *C.boxlite_runtime, which *C.char, call *C.boxlite_call, image **C.boxlite_image, err **C.boxlite_error,
	) C.boxlite_code {
		return C.boxlite_image_get(ptr, which, call, image, err)
	})
}

func (r *Runtime) image(
	ctx context.Context, reference string,
	do func(ptr *C.boxlite_runtime, which *C.char, call *C.boxlite_call, image **C.boxlite_image, err **C.boxlite_error) C.boxlite_code,
) (Image, error) {
	var args builder
	defer args.finish()
	which := args.text("reference", reference)
	if args.err != nil {
		return Image{}, args.err
	}
	var image *C.boxlite_image
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return do(ptr, which, call, &image, err)
	})
	if err != nil {
		return Image{}, err
	}
	defer C.boxlite_image_free(image)
	return imageFrom(image), nil
}

// Images lists the complete images of the home, the one stored last first.
func (r *Runtime) Images(ctx context.Context) ([]Image, error) {
	var list *C.boxlite_image_list
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_images(ptr, call, &list, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_image_list_free(list)
	all := make([]Image, C.boxlite_image_list_len(list))
	for i := range all {
		all[i] = imageFrom(C.boxlite_image_list_at(list, C.size_t(i)))
	}
	return all, nil
}

// RemoveImage removes an image from the store, with all that no other image needs. One that boxes of this home were
// started from is [ErrInvalidState], unless force is set: then their next start pulls it again. When ctx ends the wait
// the removal goes on.
func (r *Runtime) RemoveImage(ctx context.Context, reference string, force bool) error {
	var args builder
	defer args.finish()
	which := args.text("reference", reference)
	if args.err != nil {
		return args.err
	}
	return r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_image_remove(ptr, which, flag(force), call, err)
	})
}

// A PruneKind is what a pruned thing is.
type PruneKind int

// The kinds.
const (
	PruneImage PruneKind = C.BOXLITE_PRUNE_IMAGE // named by its reference: with the blobs and the disk that only it needs
	PruneDisk  PruneKind = C.BOXLITE_PRUNE_DISK  // of a directory, or of an image that is gone; named by its file
	PruneBlob  PruneKind = C.BOXLITE_PRUNE_BLOB  // of no image, or never fetched whole; named by its file
)

// A PruneReport is what a prune deleted, or would delete.
type PruneReport struct {
	Things     []Pruned
	TotalBytes uint64 // on disk
}

// A Pruned is one thing that no box needs.
type Pruned struct {
	Kind  PruneKind
	Name  string
	Bytes uint64 // on disk
}

// Prune deletes what no box of the home needs: images, disks, and what interrupted pulls left. A box needs its image
// from its creation on. With dryRun nothing is deleted. Homes that share one store are not asked. When ctx ends the wait
// the deletion goes on.
func (r *Runtime) Prune(ctx context.Context, dryRun bool) (*PruneReport, error) {
	var report *C.boxlite_prune
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_prune(ptr, flag(dryRun), call, &report, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_prune_free(report)
	told := &PruneReport{
		Things:     make([]Pruned, C.boxlite_prune_len(report)),
		TotalBytes: uint64(C.boxlite_prune_total_bytes(report)),
	}
	for i := range told.Things {
		at := C.size_t(i)
		told.Things[i] = Pruned{
			Kind:  PruneKind(C.boxlite_prune_kind(report, at)),
			Name:  C.GoString(C.boxlite_prune_name(report, at)),
			Bytes: uint64(C.boxlite_prune_bytes(report, at)),
		}
	}
	return told, nil
}
