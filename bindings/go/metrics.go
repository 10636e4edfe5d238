package boxlite

// Figures of a runtime and of a box.

// #include <boxlite.h>
import "C"

import (
	"context"
	"time"
)

// RuntimeMetrics are what a runtime has done since it was opened.
type RuntimeMetrics struct {
	BoxesCreated     int64
	BoxesFailed      int64 // starts that failed
	BoxesStopped     int64
	BoxesRunning     int64 // those it started or has taken up
	Commands         int64
	CommandErrors    int64 // commands that could not be started
	StartsBooted     int64
	StartsCloned     int64
	TemplatesMade    int64
	TemplatesRefused int64

	// All are all figures by the library's names, such as "boxes_created_total"; later versions may have more.
	All map[string]int64
}

// BoxMetrics are what a running box takes, and what was done in it. What is not known of a box is 0, and not in All.
type BoxMetrics struct {
	Commands      int64 // through this runtime, since the box was started or taken up
	CommandErrors int64 // commands that could not be started

	CPU         time.Duration // of the host, since the box's start
	MemoryBytes int64         // of the host
	DiskBytes   int64         // of the host

	GuestProcesses        int64
	GuestMemoryUsedBytes  int64
	GuestMemoryTotalBytes int64

	Start time.Duration // how long the box's start took, image and all, when this runtime made it
	Boot  time.Duration // of that, from the virtual machine's start to that of its agent

	// All are all figures by the library's names, such as "memory_bytes"; later versions may have more.
	All map[string]int64
}

// Metrics are what the runtime has done; no box is asked.
func (r *Runtime) Metrics(ctx context.Context) (RuntimeMetrics, error) {
	var metrics *C.boxlite_metrics
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_metrics(ptr, call, &metrics, err)
	})
	if err != nil {
		return RuntimeMetrics{}, err
	}
	all := figures(metrics)
	return RuntimeMetrics{
		BoxesCreated:     all["boxes_created_total"],
		BoxesFailed:      all["boxes_failed_total"],
		BoxesStopped:     all["boxes_stopped_total"],
		BoxesRunning:     all["boxes_running"],
		Commands:         all["commands_total"],
		CommandErrors:    all["command_errors_total"],
		StartsBooted:     all["starts_booted_total"],
		StartsCloned:     all["starts_cloned_total"],
		TemplatesMade:    all["templates_made_total"],
		TemplatesRefused: all["templates_refused_total"],
		All:              all,
	}, nil
}

// Metrics asks the box, which must run: else it is [ErrInvalidState], or [ErrStopped] after a Stop.
func (b *Box) Metrics(ctx context.Context) (BoxMetrics, error) {
	var metrics *C.boxlite_metrics
	err := b.invoke(ctx, func(ptr *C.boxlite_box, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_metrics(ptr, call, &metrics, err)
	})
	if err != nil {
		return BoxMetrics{}, err
	}
	all := figures(metrics)
	took := func(name string) time.Duration { return time.Duration(all[name]) * time.Millisecond }
	return BoxMetrics{
		Commands:              all["commands_total"],
		CommandErrors:         all["command_errors_total"],
		CPU:                   took("cpu_ms_total"),
		MemoryBytes:           all["memory_bytes"],
		DiskBytes:             all["disk_bytes"],
		GuestProcesses:        all["guest_processes"],
		GuestMemoryUsedBytes:  all["guest_memory_used_bytes"],
		GuestMemoryTotalBytes: all["guest_memory_total_bytes"],
		Start:                 took("start_ms"),
		Boot:                  took("boot_ms"),
		All:                   all,
	}, nil
}

// figures copies metrics, and frees them.
func figures(from *C.boxlite_metrics) map[string]int64 {
	defer C.boxlite_metrics_free(from)
	all := make(map[string]int64, C.boxlite_metrics_len(from))
	for i := C.size_t(0); i < C.boxlite_metrics_len(from); i++ {
		all[C.GoString(C.boxlite_metrics_name(from, i))] = int64(C.boxlite_metrics_at(from, i))
	}
	return all
}
