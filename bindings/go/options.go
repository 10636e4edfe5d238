package boxlite

// What runtimes and boxes are made with, as Go structs and as the C API's builders. A zero field says nothing: the
// library's default holds.

// #include <boxlite.h>
import "C"

import (
	"os"
	"strings"
	"time"
)

// An Engine runs boxes.
type Engine string

// The engines; "" leaves the choice to the runtime, to $BOXLITE_ENGINE, and to what the machine can do.
const (
	EngineAuto Engine = "auto" // libkrun where KVM runs guests at hardware speed, else QEMU with software emulation
	EngineKrun Engine = "krun" // libkrun, or an error that says why it cannot run
	EngineQEMU Engine = "qemu" // QEMU, on KVM where that can be used
)

// A LogLevel is from where up in severity a log has lines.
type LogLevel int

// The levels; LogWarn is what 0 means.
const (
	LogError LogLevel = C.BOXLITE_LOG_ERROR
	LogWarn  LogLevel = C.BOXLITE_LOG_WARN
	LogInfo  LogLevel = C.BOXLITE_LOG_INFO
	LogDebug LogLevel = C.BOXLITE_LOG_DEBUG
)

// RuntimeOptions say where a runtime keeps things and how it reaches registries.
type RuntimeOptions struct {
	HomeDir    string // holds boxes, images, database; default $BOXLITE_HOME, else ~/.boxlite
	RuntimeDir string // has shim, guest disk, kernel; default $BOXLITE_RUNTIME_DIR, else beside the library
	Engine     Engine // of boxes whose own options say none

	// Log gets JSON lines. It is duplicated: the caller keeps it, and may close it once the runtime is open.
	Log      *os.File
	LogLevel LogLevel

	Registries []Registry

	// DockerConfig is the file in which `docker login` keeps credentials, for registries without any in Registries; nil is
	// $DOCKER_CONFIG/config.json, else ~/.docker/config.json, a pointer to "" none.
	DockerConfig *string

	CAFiles []string // PEM files with authorities of registries, trusted beside the system's

	MaxLayerBytes   uint64 // unpacked bytes of one layer of an image; default 64 GiB
	MaxImageEntries uint64 // entries of all layers of an image; default 4,000,000

	// TemplateSpace is how many bytes on disk the home's templates may take; nil is 1 GiB, a pointer to 0 none: every
	// box boots.
	TemplateSpace *int64

	// Spares is how many boxes are kept ready ahead of being asked for, of the kind that was started last; nil is one, a
	// pointer to 0 none.
	Spares *int32
}

// A Registry is how images are fetched from one host.
type Registry struct {
	Host               string // with ":port" where it is not the usual one
	PlainHTTP          bool
	Search             bool // short image names such as "alpine" are looked up here
	SkipVerify         bool // any TLS certificate is accepted
	Username, Password string
	Token              string // a bearer token, instead of name and password

	// Mirrors are asked first, in this order: "host", "host:port", or either after "http://" or "https://". One that is of
	// no use is left with a line in the log.
	Mirrors []string
}

// A DiskCache is what an fsync in a box comes to.
type DiskCache int

// The disk caches.
const (
	DiskCacheWriteback DiskCache = C.BOXLITE_DISK_CACHE_WRITEBACK // synced data survives the death of the host
	DiskCacheUnsafe    DiskCache = C.BOXLITE_DISK_CACHE_UNSAFE    // of any process only: for data that can be made again
)

// BoxOptions say what a box is.
type BoxOptions struct {
	Name string // unique in the home; [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}; may be empty

	// Image is a registry reference, "oci:DIR[:TAG]", "oci-archive:FILE" or "docker-archive:FILE"; default
	// "alpine:latest".
	Image      string
	RootfsPath string // instead of an image, a directory of the host; the box sees no later change of it

	CPUs       int   // default 1
	MemoryMiB  int64 // default 512
	DiskSizeGB int64 // of the writable disk; default 10
	DiskCache  DiskCache
	Engine     Engine

	Env        []string // "name=value", of every command, over the image's
	WorkingDir string   // default the image's
	User       string   // "name", "uid", "uid:gid" or "name:group"; default the image's

	AutoRemove bool // the box and its data go when it stops
	Detach     bool // the box goes on when its runtime ends
	Labels     map[string]string

	// Limits that the box's own process keeps, also when it is detached; 0 is none.
	MaxLifetime time.Duration // so long after a start the box is stopped, whatever it does
	IdleTimeout time.Duration // so long without a command or an open stream, and the box is stopped
	PIDsMax     int           // processes and threads in the box, over all commands; 0 is the default
	CPUMillis   int           // thousandths of one CPU for all commands of the box together

	// MaxOpenFiles is how many descriptors each process of a command may have; 0 is 1024, more for a program that asks.
	MaxOpenFiles int
}

// engine sets an engine by its name; "" is none.
func (b *builder) engine(name Engine, set func(engine C.int32_t, err **C.boxlite_error) C.boxlite_code) {
	engines := map[Engine]C.int32_t{
		EngineAuto: C.BOXLITE_ENGINE_AUTO, EngineKrun: C.BOXLITE_ENGINE_KRUN, EngineQEMU: C.BOXLITE_ENGINE_QEMU,
	}
	if name == "" {
		return
	}
	engine, known := engines[name]
	if !known && b.err == nil {
		b.err = refused("Engine", "is "+string(name), "use auto, krun or qemu")
	}
	b.do(func(err **C.boxlite_error) C.boxlite_code { return set(engine, err) })
}

// env calls set for each "name=value"; the last of a name wins.
func (b *builder) env(pairs []string, set func(name, value *C.char, err **C.boxlite_error) C.boxlite_code) {
	for _, pair := range pairs {
		name, value, whole := strings.Cut(pair, "=")
		if !whole && b.err == nil {
			b.err = refused("Env", "has "+pair+", which has no value", `write "name=value"`)
		}
		b.do(func(err **C.boxlite_error) C.boxlite_code { return set(b.text("Env", name), b.text("Env", value), err) })
	}
}

// optional calls set when there is something to set.
func (b *builder) optional(name, value string, set func(value *C.char, err **C.boxlite_error) C.boxlite_code) {
	if value != "" {
		b.do(func(err **C.boxlite_error) C.boxlite_code { return set(b.text(name, value), err) })
	}
}

// limit calls set when there is a limit.
func (b *builder) limit(name string, value time.Duration, set func(ms C.int64_t, err **C.boxlite_error) C.boxlite_code) {
	if value < 0 && b.err == nil {
		b.err = refused(name, "is negative", "give a time, or 0 for no limit")
	}
	if value != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code { return set(milliseconds(value), err) })
	}
}

// runtimeOptions makes C options, which the caller frees, also after a failure.
func (b *builder) runtimeOptions(from RuntimeOptions) *C.boxlite_runtime_options {
	var to *C.boxlite_runtime_options
	b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_runtime_options_new(&to, err) })
	b.optional("HomeDir", from.HomeDir, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_options_set_home_dir(to, value, err)
	})
	b.optional("RuntimeDir", from.RuntimeDir, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_options_set_runtime_dir(to, value, err)
	})
	b.engine(from.Engine, func(engine C.int32_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_options_set_engine(to, engine, err)
	})
	if from.Log != nil {
		b.logTo(to, from.Log, from.LogLevel)
	}
	for _, registry := range from.Registries {
		b.registry(to, registry)
	}
	if from.DockerConfig != nil {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_runtime_options_set_docker_config(to, b.text("DockerConfig", *from.DockerConfig), err)
		})
	}
	for _, file := range from.CAFiles {
		file := b.text("CAFiles", file)
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_runtime_options_add_ca_file(to, file, err)
		})
	}
	if from.MaxLayerBytes != 0 || from.MaxImageEntries != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			layer, entries := C.uint64_t(from.MaxLayerBytes), C.uint64_t(from.MaxImageEntries)
			return C.boxlite_runtime_options_set_image_limits(to, layer, entries, err)
		})
	}
	if from.TemplateSpace != nil {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_runtime_options_set_template_space(to, C.int64_t(*from.TemplateSpace), err)
		})
	}
	if from.Spares != nil {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_runtime_options_set_spares(to, C.int32_t(*from.Spares), err)
		})
	}
	return to
}

func (b *builder) logTo(to *C.boxlite_runtime_options, file *os.File, level LogLevel) {
	if level == 0 {
		level = LogWarn
	}
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return withDescriptor(file, func(fd C.int32_t) C.boxlite_code {
			return C.boxlite_runtime_options_set_log_fd(to, clamped(int(level)), fd, err)
		})
	})
}

func (b *builder) registry(to *C.boxlite_runtime_options, from Registry) {
	host := b.text("Host", from.Host)
	transport := C.int32_t(C.BOXLITE_TRANSPORT_HTTPS)
	if from.PlainHTTP {
		transport = C.BOXLITE_TRANSPORT_HTTP
	}
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_options_add_registry(to, host, transport, err)
	})
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_options_set_registry_search(to, host, flag(from.Search), err)
	})
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_options_set_registry_skip_verify(to, host, flag(from.SkipVerify), err)
	})
	if from.Username != "" || from.Password != "" {
		name, password := b.text("Username", from.Username), b.text("Password", from.Password)
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_runtime_options_set_registry_basic_auth(to, host, name, password, err)
		})
	}
	b.optional("Token", from.Token, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_runtime_options_set_registry_bearer_auth(to, host, value, err)
	})
	for _, mirror := range from.Mirrors {
		mirror := b.text("Mirrors", mirror)
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_runtime_options_add_registry_mirror(to, host, mirror, err)
		})
	}
}

// boxOptions makes C options, which the caller frees, also after a failure.
func (b *builder) boxOptions(from BoxOptions) *C.boxlite_box_options {
	var to *C.boxlite_box_options
	b.do(func(err **C.boxlite_error) C.boxlite_code { return C.boxlite_box_options_new(&to, err) })
	b.optional("Image", from.Image, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_image(to, value, err)
	})
	b.optional("RootfsPath", from.RootfsPath, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_rootfs_path(to, value, err)
	})
	if from.CPUs != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_box_options_set_cpus(to, clamped(from.CPUs), err)
		})
	}
	if from.MemoryMiB != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_box_options_set_memory_mib(to, C.int64_t(from.MemoryMiB), err)
		})
	}
	if from.DiskSizeGB != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_box_options_set_disk_size_gb(to, C.int64_t(from.DiskSizeGB), err)
		})
	}
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_disk_cache(to, clamped(int(from.DiskCache)), err)
	})
	b.engine(from.Engine, func(engine C.int32_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_engine(to, engine, err)
	})
	b.env(from.Env, func(name, value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_env(to, name, value, err)
	})
	b.optional("WorkingDir", from.WorkingDir, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_working_dir(to, value, err)
	})
	b.optional("User", from.User, func(value *C.char, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_user(to, value, err)
	})
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_auto_remove(to, flag(from.AutoRemove), err)
	})
	b.do(func(err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_detach(to, flag(from.Detach), err)
	})
	b.limit("MaxLifetime", from.MaxLifetime, func(ms C.int64_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_max_lifetime_ms(to, ms, err)
	})
	b.limit("IdleTimeout", from.IdleTimeout, func(ms C.int64_t, err **C.boxlite_error) C.boxlite_code {
		return C.boxlite_box_options_set_idle_timeout_ms(to, ms, err)
	})
	if from.MaxOpenFiles != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_box_options_set_max_open_files(to, clamped(from.MaxOpenFiles), err)
		})
	}
	if from.PIDsMax != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_box_options_set_pids_max(to, clamped(from.PIDsMax), err)
		})
	}
	if from.CPUMillis != 0 {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_box_options_set_cpu_millis(to, clamped(from.CPUMillis), err)
		})
	}
	for key, value := range from.Labels {
		b.do(func(err **C.boxlite_error) C.boxlite_code {
			return C.boxlite_box_options_set_label(to, b.text("Labels", key), b.text("Labels", value), err)
		})
	}
	return to
}

// clamped keeps a number that C's type has no room for from becoming another one.
func clamped(value int) C.int32_t {
	if value > 1<<31-1 {
		return 1<<31 - 1
	}
	if value < -1<<31 {
		return -1 << 31
	}
	return C.int32_t(value)
}
