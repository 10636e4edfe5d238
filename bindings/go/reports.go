package boxlite

// What the library tells of a machine and of a home: the system check, and the report of a repair.

// #include <boxlite.h>
import "C"

import "context"

// A CheckStatus is how an item of the system check is.
type CheckStatus int

// The states of an item.
const (
	CheckOK      CheckStatus = C.BOXLITE_CHECK_OK
	CheckWarning CheckStatus = C.BOXLITE_CHECK_WARNING // boxes run, but slower or with less than this machine could give
	CheckFailed  CheckStatus = C.BOXLITE_CHECK_FAILED  // boxes cannot run until this is remedied
)

// A Check is one item of what was found out about this machine.
type Check struct {
	Name   string
	Status CheckStatus
	Detail string
	Remedy string // empty when nothing needs to be done
}

// SystemCheck finds out what this machine offers: virtualisation, the parts of boxlite, the tools it uses, the home.
// That something is missing is no error.
func (r *Runtime) SystemCheck(ctx context.Context) ([]Check, error) {
	var found *C.boxlite_system_check
	err := r.invoke(ctx, func(ptr *C.boxlite_runtime, call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_system_check(ptr, call, &found, err)
	})
	if err != nil {
		return nil, err
	}
	defer C.boxlite_system_check_free(found)
	all := make([]Check, C.boxlite_system_check_len(found))
	for i := range all {
		at := C.size_t(i)
		all[i] = Check{
			Name:   C.GoString(C.boxlite_system_check_name(found, at)),
			Status: CheckStatus(C.boxlite_system_check_status(found, at)),
			Detail: C.GoString(C.boxlite_system_check_detail(found, at)),
			Remedy: C.GoString(C.boxlite_system_check_remedy(found, at)),
		}
	}
	return all, nil
}

// A RepairOutcome is what became of a box's row.
type RepairOutcome int

// The outcomes.
const (
	RepairKept    RepairOutcome = C.BOXLITE_REPAIR_KEPT    // it could be read
	RepairRebuilt RepairOutcome = C.BOXLITE_REPAIR_REBUILT // it was made anew from the box's directory
	RepairLost    RepairOutcome = C.BOXLITE_REPAIR_LOST    // the box is no more; its directory is kept aside
)

// A RepairReport is what a repair came to.
type RepairReport struct {
	Boxes []RepairedBox
	Kept  []string // what was put aside and is not read any more; empty when the database was sound
}

// A RepairedBox is what a repair came to for one box.
type RepairedBox struct {
	ID, Name string
	Outcome  RepairOutcome
	Detail   string
}

// Repair repairs a home whose database is damaged, lost, or lacks boxes whose directories are there. Disks are not
// touched, and boxes that run go on. It waits up to 30 seconds for another process that opens or repairs the home.
// Runtimes that have the damaged database open fail with [ErrDatabase] from then on.
func Repair(options RuntimeOptions) (*RepairReport, error) {
	return RepairContext(context.Background(), options)
}

// RepairContext is [Repair] that waits for other processes until ctx ends; a repair that has begun is not cut off.
func RepairContext(ctx context.Context, options RuntimeOptions) (*RepairReport, error) {
	var b builder
	defer b.finish()
	with := b.runtimeOptions(options)
	defer C.boxlite_runtime_options_free(with)
	var report *C.boxlite_repair
	if b.err != nil {
		return nil, b.err
	}
	if err := invoke(ctx, func(call *C.boxlite_call, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_repair_within(with, call, &report, err)
	}); err != nil {
		return nil, err
	}
	defer C.boxlite_repair_free(report)
	told := &RepairReport{Boxes: make([]RepairedBox, C.boxlite_repair_len(report))}
	for i := range told.Boxes {
		at := C.size_t(i)
		told.Boxes[i] = RepairedBox{
			ID:      C.GoString(C.boxlite_repair_id(report, at)),
			Name:    C.GoString(C.boxlite_repair_name(report, at)),
			Outcome: RepairOutcome(C.boxlite_repair_outcome(report, at)),
			Detail:  C.GoString(C.boxlite_repair_detail(report, at)),
		}
	}
	for i := C.size_t(0); i < C.boxlite_repair_kept_len(report); i++ {
		told.Kept = append(told.Kept, C.GoString(C.boxlite_repair_kept_path(report, i)))
	}
	return told, nil
}
