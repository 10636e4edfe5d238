package boxlite

// What a box is at one moment, copied out of the C API's snapshots.

// #include <boxlite.h>
import "C"

import "time"

// A Status is what state a box is in.
type Status int

// The states.
const (
	StatusUnknown    Status = C.BOXLITE_STATUS_UNKNOWN    // its record cannot be read
	StatusConfigured Status = C.BOXLITE_STATUS_CONFIGURED // created, never started
	StatusRunning    Status = C.BOXLITE_STATUS_RUNNING    // its virtual machine runs
	StatusStopping   Status = C.BOXLITE_STATUS_STOPPING   // being stopped
	StatusStopped    Status = C.BOXLITE_STATUS_STOPPED    // not running; can be started
	StatusPaused     Status = C.BOXLITE_STATUS_PAUSED     // its vCPUs stand still
	StatusFailed     Status = C.BOXLITE_STATUS_FAILED     // ended by a fault, which Info.Failure tells; can be started
)

// String is the state in lower case, such as "running".
func (s Status) String() string { return C.GoString(C.boxlite_status_name(C.int32_t(s))) }

// An Info is a box at one moment.
type Info struct {
	ID, Name   string
	Status     Status
	Created    time.Time
	Updated    time.Time
	Started    time.Time // of the last start; zero when there was none
	PID        int       // of the box's shim; 0 while it does not run
	Image      string
	CPUs       int
	MemoryMiB  int64
	DiskSizeGB int64
	AutoRemove bool
	Detach     bool
	Failure    string // why the box failed
	Engine     string // "libkrun", "qemu-kvm" or "qemu-tcg"; empty when the box has not been started
	Labels     map[string]string
	Stages     []Stage // of the last start, when this runtime made it
}

// A Stage is one step of a box's start.
type Stage struct {
	Name string // "pull", "image-disk", "boot" and others
	Took time.Duration
}

func infoFrom(from *C.boxlite_info) Info {
	info := Info{
		ID:         C.GoString(C.boxlite_info_id(from)),
		Name:       C.GoString(C.boxlite_info_name(from)),
		Status:     Status(C.boxlite_info_status(from)),
		Created:    time.UnixMilli(int64(C.boxlite_info_created_at_ms(from))),
		Updated:    time.UnixMilli(int64(C.boxlite_info_updated_at_ms(from))),
		PID:        int(C.boxlite_info_pid(from)),
		Image:      C.GoString(C.boxlite_info_image(from)),
		CPUs:       int(C.boxlite_info_cpus(from)),
		MemoryMiB:  int64(C.boxlite_info_memory_mib(from)),
		DiskSizeGB: int64(C.boxlite_info_disk_size_gb(from)),
		AutoRemove: C.boxlite_info_auto_remove(from) != 0,
		Detach:     C.boxlite_info_detach(from) != 0,
		Failure:    C.GoString(C.boxlite_info_failure(from)),
		Engine:     C.GoString(C.boxlite_info_engine(from)),
		Labels:     map[string]string{},
	}
	if started := C.boxlite_info_started_at_ms(from); started >= 0 {
		info.Started = time.UnixMilli(int64(started))
	}
	for i := C.size_t(0); i < C.boxlite_info_label_len(from); i++ {
		info.Labels[C.GoString(C.boxlite_info_label_key(from, i))] = C.GoString(C.boxlite_info_label_value(from, i))
	}
	for i := C.size_t(0); i < C.boxlite_info_stage_len(from); i++ {
		took := time.Duration(C.boxlite_info_stage_us(from, i)) * time.Microsecond
		info.Stages = append(info.Stages, Stage{C.GoString(C.boxlite_info_stage_name(from, i)), took})
	}
	return info
}
