/**
 * @mainpage boxlite
 *
 * Give it an OCI image, get a virtual machine.
 *
 * This file is generated (`make header`); what it says is the contract. docs/c-api.md tells the same at length.
 *
 * Rules that hold for all functions, unless one says otherwise:
 *
 * Results. A function that can fail returns boxlite_code: BOXLITE_OK is 0. It gives its result through an
 * out-pointer, which is NULL after a failure. Its last parameter is a `boxlite_error **`, which may be NULL: on
 * failure it is set to a new error that the caller frees, on success to NULL; its old value is never read or freed.
 *
 * NULL. An argument may be NULL only where its function says so; else the call returns BOXLITE_INVALID_ARGUMENT and
 * does nothing. Accessors of a NULL handle return 0, NULL, or what they say. Every ..._free(NULL) does nothing.
 *
 * Ownership. What comes from ..._new, or through an out-pointer, is freed by the caller with the ..._free of its
 * type, in any order. Strings returned by accessors are lent: they live as long as the handle they came from. No
 * function keeps a pointer of the caller's after it has returned: strings and data are copied.
 *
 * Strings are NUL-terminated. Names, ids, image references, users, labels and names of environment variables are
 * UTF-8, else the call returns BOXLITE_INVALID_ARGUMENT. Paths, arguments, values of environment variables and working
 * directories may be any bytes but NUL; they are passed on unchanged. Strings returned are UTF-8, but for the output of
 * commands, boxlite_execution_info_arg() and boxlite_repair_kept_path(): the last two have any bytes but NUL.
 *
 * Threads. Options and commands (builders) are used by one thread at a time; all other handles by any number. Freeing
 * a handle while another thread uses that same handle is undefined.
 *
 * Waiting. A function that can block takes a boxlite_call, which may be NULL: no deadline, not cancellable. Without a
 * deadline, waiting for a lock that somebody else holds ends after 30 seconds with BOXLITE_BUSY. No ..._free waits for
 * the end of anything, but boxlite_runtime_free() for 2 s at most.
 *
 * Forks. In a forked child, runtimes, boxes, executions and calls of the parent return BOXLITE_FORKED, and freeing them does
 * nothing. Builders and results stay usable, and a new runtime can be opened there.
 *
 * Flags are int32_t: 0 = no, anything else = yes; a function that answers with a flag returns 0 or 1. Times are int64_t
 * milliseconds where the name does not say otherwise. Numbers of constants are never changed.
 *
 * The library prints nothing, installs no signal handler, and calls back only inside a call, on its thread.
 */

/**
 * @defgroup version Version
 * @defgroup error Errors
 * @defgroup call Calls that can block
 * @defgroup progress Progress
 * @defgroup engine Engines
 * @defgroup runtime_options Options of a runtime
 * @defgroup runtime Runtime
 * @defgroup image Images
 * @defgroup prune What no box needs
 * @defgroup repair Repair of a home
 * @defgroup system_check System check
 * @defgroup box_options Options of a box
 * @defgroup box Boxes
 * @defgroup box_end The end of a box, and its logs
 * @defgroup info What a box is
 * @defgroup list Lists of boxes
 * @defgroup metrics Figures of a runtime and of a box
 * @defgroup command Commands
 * @defgroup exec Running a command to its end
 * @defgroup execution Commands that run
 * @defgroup execution_streams Streams of a command
 * @defgroup executions The commands of a box
 * @defgroup copy Files into a box and out of it
 */

#ifndef BOXLITE_H
#define BOXLITE_H

#include <stddef.h>
#include <stdint.h>

/**
 * The version of the interface in this header. It is raised by one with each release that adds functions or constants;
 * none is ever changed or taken away within one soname.
 *
 * @ingroup version
 */
#define BOXLITE_ABI_VERSION 1

/**
 * libkrun where KVM runs guests at hardware speed, else QEMU with software emulation (the default).
 *
 * @ingroup engine
 */
#define BOXLITE_ENGINE_AUTO 0

/**
 * libkrun, or an error that says why it cannot run.
 *
 * @ingroup engine
 */
#define BOXLITE_ENGINE_KRUN 1

/**
 * QEMU, on KVM where that can be used.
 *
 * @ingroup engine
 */
#define BOXLITE_ENGINE_QEMU 2

/**
 * Only what failed.
 *
 * @ingroup runtime_options
 */
#define BOXLITE_LOG_ERROR 1

/**
 * Also what is suspicious.
 *
 * @ingroup runtime_options
 */
#define BOXLITE_LOG_WARN 2

/**
 * Also what happens to boxes and images.
 *
 * @ingroup runtime_options
 */
#define BOXLITE_LOG_INFO 3

/**
 * Also what explains a fault.
 *
 * @ingroup runtime_options
 */
#define BOXLITE_LOG_DEBUG 4

/**
 * The registry is reached over TLS (the default).
 *
 * @ingroup runtime_options
 */
#define BOXLITE_TRANSPORT_HTTPS 0

/**
 * The registry is reached over plain HTTP.
 *
 * @ingroup runtime_options
 */
#define BOXLITE_TRANSPORT_HTTP 1

/**
 * An image, named by its reference: with the blobs and the disk that only it needs.
 *
 * @ingroup prune
 */
#define BOXLITE_PRUNE_IMAGE 0

/**
 * The disk made of a directory, or of an image that is gone; named by its file.
 *
 * @ingroup prune
 */
#define BOXLITE_PRUNE_DISK 1

/**
 * A blob that belongs to no image, or a part of one that was never fetched whole; named by its file.
 *
 * @ingroup prune
 */
#define BOXLITE_PRUNE_BLOB 2

/**
 * The box's row in the database could be read, and is as it was.
 *
 * @ingroup repair
 */
#define BOXLITE_REPAIR_KEPT 0

/**
 * The box's row was made anew from what its directory remembers.
 *
 * @ingroup repair
 */
#define BOXLITE_REPAIR_REBUILT 1

/**
 * Neither was possible: the box is no more, and its directory, with its disk, is kept aside.
 *
 * @ingroup repair
 */
#define BOXLITE_REPAIR_LOST 2

/**
 * As it should be.
 *
 * @ingroup system_check
 */
#define BOXLITE_CHECK_OK 0

/**
 * Boxes run, but slower or with less than this machine could give.
 *
 * @ingroup system_check
 */
#define BOXLITE_CHECK_WARNING 1

/**
 * Boxes cannot run until this is remedied.
 *
 * @ingroup system_check
 */
#define BOXLITE_CHECK_FAILED 2

/**
 * Disk cache: an fsync in the box reaches the host's disk. The default.
 *
 * @ingroup box_options
 */
#define BOXLITE_DISK_CACHE_WRITEBACK 0

/**
 * Disk cache: an fsync in the box ends in the host's memory. Faster, for boxes whose data can be made again.
 *
 * @ingroup box_options
 */
#define BOXLITE_DISK_CACHE_UNSAFE 1

/**
 * Not known to this version: read boxlite_box_end_message().
 *
 * @ingroup box_end
 */
#define BOXLITE_END_UNKNOWN 0

/**
 * It was stopped: by a call, or a signal to its shim.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_STOPPED 1

/**
 * The process that started it went away.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_OWNER_GONE 2

/**
 * Reserved: a box has no main command of its own today, so none can end it.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_MAIN_EXITED 3

/**
 * Its virtual machine ended by a fault, or somebody killed its engine.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_CRASHED 4

/**
 * It was killed: it did not stop in time, or its shim was killed.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_KILLED 5

/**
 * It was removed, and how it ended before is not known.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_REMOVED 6

/**
 * It had run for as long as boxlite_box_options_set_max_lifetime_ms() says.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_LIFETIME 7

/**
 * It had been idle for as long as boxlite_box_options_set_idle_timeout_ms() says.
 *
 * @ingroup box_end
 */
#define BOXLITE_END_IDLE 8

/**
 * The host's kernel killed its virtual machine for want of memory: the host's, or that of the control group (cgroup) it runs
 * in. Give either more memory, or the box less. The guest's own kernel kills a command that takes too much of the box's
 * memory alone, and the box goes on: boxlite_exec_result_oom_killed().
 *
 * @ingroup box_end
 */
#define BOXLITE_END_OUT_OF_MEMORY 9

/**
 * What the guest's kernel and the agent in it wrote to the console, over all starts.
 *
 * @ingroup box_end
 */
#define BOXLITE_BOX_LOG_CONSOLE 0

/**
 * What the box's shim noted of its starts and ends.
 *
 * @ingroup box_end
 */
#define BOXLITE_BOX_LOG_SHIM 1

/**
 * Not known: its record cannot be read.
 *
 * @ingroup info
 */
#define BOXLITE_STATUS_UNKNOWN 0

/**
 * Created, never started.
 *
 * @ingroup info
 */
#define BOXLITE_STATUS_CONFIGURED 1

/**
 * Its virtual machine runs.
 *
 * @ingroup info
 */
#define BOXLITE_STATUS_RUNNING 2

/**
 * Being stopped.
 *
 * @ingroup info
 */
#define BOXLITE_STATUS_STOPPING 3

/**
 * Not running; can be started.
 *
 * @ingroup info
 */
#define BOXLITE_STATUS_STOPPED 4

/**
 * Its vCPUs stand still.
 *
 * @ingroup info
 */
#define BOXLITE_STATUS_PAUSED 5

/**
 * Ended by a fault, which boxlite_info_failure() tells; can be started.
 *
 * @ingroup info
 */
#define BOXLITE_STATUS_FAILED 6

/**
 * Standard input is /dev/null.
 *
 * @ingroup command
 */
#define BOXLITE_STDIN_NULL 0

/**
 * Standard input is a stream, and losing its connection is end of file. Until somebody has taken it, it has neither
 * bytes nor an end: a command that reads it waits.
 *
 * @ingroup command
 */
#define BOXLITE_STDIN_ONCE 1

/**
 * Standard input is a stream of which only boxlite_execution_close_stdin() or a half-close is the end: whoever attaches
 * later may write on.
 *
 * @ingroup command
 */
#define BOXLITE_STDIN_KEEP 2

/**
 * The newest 1 MiB of the output is kept until somebody takes the stream; the process never blocks (the default).
 *
 * @ingroup command
 */
#define BOXLITE_OUTPUT_RETAIN 0

/**
 * No byte of the output is lost from the first on: the process blocks until somebody takes the stream and reads. Of a
 * command that has ended untaken output is kept within a bound, see boxlite_command_set_stdout().
 *
 * @ingroup command
 */
#define BOXLITE_OUTPUT_PIPE 1

/**
 * The output goes to /dev/null.
 *
 * @ingroup command
 */
#define BOXLITE_OUTPUT_NULL 2

/**
 * Standard output, or everything that comes from a terminal.
 *
 * @ingroup execution_streams
 */
#define BOXLITE_STREAM_STDOUT 1

/**
 * Standard error.
 *
 * @ingroup execution_streams
 */
#define BOXLITE_STREAM_STDERR 2

/**
 * The descriptor does not block: read() and write() return EAGAIN where they would wait.
 *
 * @ingroup execution_streams
 */
#define BOXLITE_FD_NONBLOCK 1

/**
 * The oldest byte that is still there.
 *
 * @ingroup execution_streams
 */
#define BOXLITE_OFFSET_OLDEST UINT64_MAX

/**
 * The permission bits of a new file: 0644.
 *
 * @ingroup copy
 */
#define BOXLITE_MODE_DEFAULT -1

/**
 * A box: a virtual machine made from an image, running or not. Serves any number of threads. A handle does not keep
 * the box alive, and freeing it does not stop the box.
 *
 * @ingroup box
 */
typedef struct boxlite_box boxlite_box;

/**
 * How a box ended. Read-only, so any number of threads may read it.
 *
 * @ingroup box_end
 */
typedef struct boxlite_box_end boxlite_box_end;

/**
 * Options of a box. A builder: used by one thread at a time, copied by boxlite_create(), and usable for any number of
 * boxes, also in a forked child.
 *
 * @ingroup box_options
 */
typedef struct boxlite_box_options boxlite_box_options;

/**
 * Bytes that were read. Serves any number of threads, also in a forked child.
 *
 * @ingroup copy
 */
typedef struct boxlite_bytes boxlite_bytes;

/**
 * How to wait for a call that can block: its deadline, its progress callback, and the means to cancel it. Serves any
 * number of threads and calls, also at the same time.
 *
 * @ingroup call
 */
typedef struct boxlite_call boxlite_call;

/**
 * A command to run in a box. A builder: used by one thread at a time, copied by what runs it, and usable any number of
 * times, also in a forked child.
 *
 * @ingroup command
 */
typedef struct boxlite_command boxlite_command;

/**
 * How to copy. A builder: used by one thread at a time, copied by what uses it, and usable any number of times, also in
 * a forked child.
 *
 * @ingroup copy
 */
typedef struct boxlite_copy_options boxlite_copy_options;

/**
 * Why a call failed. Read-only, so any number of threads may read it; freed with boxlite_error_free().
 *
 * @ingroup error
 */
typedef struct boxlite_error boxlite_error;

/**
 * What a command did. Read-only, so any number of threads may read it.
 *
 * @ingroup exec
 */
typedef struct boxlite_exec_result boxlite_exec_result;

/**
 * A command in a box that runs, or has run. Serves any number of threads. A handle does not keep the command alive, and
 * freeing it ends nothing: streams that nobody has taken stay for whoever attaches.
 *
 * @ingroup execution
 */
typedef struct boxlite_execution boxlite_execution;

/**
 * One command of a list.
 *
 * @ingroup executions
 */
typedef struct boxlite_execution_info boxlite_execution_info;

/**
 * The commands of a box at one moment, in the order they were started. Read-only, so any number of threads may read it.
 *
 * @ingroup executions
 */
typedef struct boxlite_execution_list boxlite_execution_list;

/**
 * How a command ended. Read-only, so any number of threads may read it.
 *
 * @ingroup execution
 */
typedef struct boxlite_exit boxlite_exit;

/**
 * An image in a home's store at one moment. Read-only, so any number of threads may read it.
 *
 * @ingroup image
 */
typedef struct boxlite_image boxlite_image;

/**
 * The images of a home at one moment, the newest first. Read-only, so any number of threads may read it.
 *
 * @ingroup image
 */
typedef struct boxlite_image_list boxlite_image_list;

/**
 * A box at one moment. Read-only, so any number of threads may read it.
 *
 * @ingroup info
 */
typedef struct boxlite_info boxlite_info;

/**
 * The boxes of a home at one moment, newest first. Read-only, so any number of threads may read it.
 *
 * @ingroup list
 */
typedef struct boxlite_info_list boxlite_info_list;

/**
 * Which boxes a list is to hold. A builder: used by one thread at a time, copied by boxlite_list(), and usable any
 * number of times, also in a forked child.
 *
 * @ingroup list
 */
typedef struct boxlite_list_options boxlite_list_options;

/**
 * Figures at one moment. Read-only, so any number of threads may read it.
 *
 * @ingroup metrics
 */
typedef struct boxlite_metrics boxlite_metrics;

/**
 * How far a call is. Lent to a progress callback until it returns; never freed.
 *
 * @ingroup progress
 */
typedef struct boxlite_progress boxlite_progress;

/**
 * What a prune deleted, or would delete. Read-only, so any number of threads may read it.
 *
 * @ingroup prune
 */
typedef struct boxlite_prune boxlite_prune;

/**
 * What a repair came to. Read-only, so any number of threads may read it.
 *
 * @ingroup repair
 */
typedef struct boxlite_repair boxlite_repair;

/**
 * A runtime: one home directory with its boxes and images. Serves any number of threads. Any number of runtimes, in
 * any number of processes, may use one home.
 *
 * @ingroup runtime
 */
typedef struct boxlite_runtime boxlite_runtime;

/**
 * Options of a runtime. A builder: used by one thread at a time, copied by boxlite_runtime_new(), and usable for any
 * number of runtimes, also in a forked child.
 *
 * @ingroup runtime_options
 */
typedef struct boxlite_runtime_options boxlite_runtime_options;

/**
 * How an output stream stands. Read-only, so any number of threads may read it.
 *
 * @ingroup execution_streams
 */
typedef struct boxlite_stream_state boxlite_stream_state;

/**
 * What was found out about this machine. Read-only, so any number of threads may read it.
 *
 * @ingroup system_check
 */
typedef struct boxlite_system_check boxlite_system_check;

/**
 * What a call returns: BOXLITE_OK, or the kind of its failure. Codes are never renumbered and never reused; newer
 * libraries may return codes that this header does not have.
 *
 * @ingroup error
 */
typedef int32_t boxlite_code;

/**
 * Told how far a call is. Return 0 to go on, anything else to cancel the call.
 *
 * @ingroup progress
 */
typedef int32_t (*boxlite_progress_fn)(const boxlite_progress *progress, void *user);

/**
 * Success.
 *
 * @ingroup error
 */
#define BOXLITE_OK 0

/**
 * The virtual machine monitor failed.
 *
 * @ingroup error
 */
#define BOXLITE_ENGINE 1

/**
 * An option or the installation is wrong.
 *
 * @ingroup error
 */
#define BOXLITE_CONFIG 2

/**
 * A file or directory of the home could not be used.
 *
 * @ingroup error
 */
#define BOXLITE_STORAGE 3

/**
 * An image is unusable or could not be fetched.
 *
 * @ingroup error
 */
#define BOXLITE_IMAGE 4

/**
 * The channel to a box's shim or guest agent failed.
 *
 * @ingroup error
 */
#define BOXLITE_PORTAL 5

/**
 * A network peer could not be reached or refused.
 *
 * @ingroup error
 */
#define BOXLITE_NETWORK 6

/**
 * A call to the guest agent was answered with an error.
 *
 * @ingroup error
 */
#define BOXLITE_RPC 7

/**
 * A bug in boxlite.
 *
 * @ingroup error
 */
#define BOXLITE_INTERNAL 8

/**
 * A command could not be started, or its output was cut off.
 *
 * @ingroup error
 */
#define BOXLITE_EXECUTION 9

/**
 * Not available in this build or on this machine.
 *
 * @ingroup error
 */
#define BOXLITE_UNSUPPORTED 10

/**
 * No such box, image or execution.
 *
 * @ingroup error
 */
#define BOXLITE_NOT_FOUND 11

/**
 * The name is taken.
 *
 * @ingroup error
 */
#define BOXLITE_ALREADY_EXISTS 12

/**
 * The operation is not possible in the present state.
 *
 * @ingroup error
 */
#define BOXLITE_INVALID_STATE 13

/**
 * The home's database failed.
 *
 * @ingroup error
 */
#define BOXLITE_DATABASE 14

/**
 * An argument is wrong: NULL where a value is required, not UTF-8 where that is required, out of range.
 *
 * @ingroup error
 */
#define BOXLITE_INVALID_ARGUMENT 15

/**
 * The runtime or the box was stopped.
 *
 * @ingroup error
 */
#define BOXLITE_STOPPED 16

/**
 * Out of memory, disk space, descriptors or another limit.
 *
 * @ingroup error
 */
#define BOXLITE_RESOURCE_EXHAUSTED 17

/**
 * The connection to the guest agent broke.
 *
 * @ingroup error
 */
#define BOXLITE_RPC_TRANSPORT 18

/**
 * Stored metadata is damaged.
 *
 * @ingroup error
 */
#define BOXLITE_METADATA_ERROR 19

/**
 * The execution's session is gone.
 *
 * @ingroup error
 */
#define BOXLITE_SESSION_REAPED 20

/**
 * The call's deadline passed.
 *
 * @ingroup error
 */
#define BOXLITE_TIMEOUT 21

/**
 * The caller cancelled.
 *
 * @ingroup error
 */
#define BOXLITE_CANCELLED 22

/**
 * The handle belongs to the process that forked this one.
 *
 * @ingroup error
 */
#define BOXLITE_FORKED 23

/**
 * Another process or thread holds the lock.
 *
 * @ingroup error
 */
#define BOXLITE_BUSY 24

/**
 * A bug in boxlite, caught before it could harm the caller.
 *
 * @ingroup error
 */
#define BOXLITE_PANIC 25

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's version, such as "0.1.0".
 *
 * The string is static: never freed, valid for ever. Any thread may call this at any time; it does not block and
 * cannot fail.
 *
 * @ingroup version
 */
const char *boxlite_version(void);

/**
 * The BOXLITE_ABI_VERSION the loaded library was built with.
 *
 * A program compiled against a header with BOXLITE_ABI_VERSION n runs with any library that answers n or more. Any
 * thread may call this at any time; it does not block and cannot fail.
 *
 * @ingroup version
 */
int32_t boxlite_abi_version(void);

/**
 * The error's code; never BOXLITE_OK. BOXLITE_OK when `error` is NULL. Any thread; does not block.
 *
 * @ingroup error
 */
boxlite_code boxlite_error_code(const boxlite_error *error);

/**
 * What went wrong, in UTF-8 for a person, in English: one line, which the end of the guest's console follows, on lines
 * of its own, where a box failed to start. Its wording may change between versions.
 *
 * Valid until the error is freed; never NULL, and "" when `error` is NULL. Any thread; does not block.
 *
 * @ingroup error
 */
const char *boxlite_error_message(const boxlite_error *error);

/**
 * What can be done about it: one sentence of UTF-8, never empty.
 *
 * Valid until the error is freed; never NULL, and "" when `error` is NULL. Any thread; does not block.
 *
 * @ingroup error
 */
const char *boxlite_error_hint(const boxlite_error *error);

/**
 * What the error is about: a path, a name, an id, an image reference, or the name of a wrong argument. Always UTF-8,
 * for a person: bytes of a path that are not UTF-8 are replaced by U+FFFD, so such a path does not lead anywhere.
 *
 * Valid until the error is freed; NULL when there is none or `error` is NULL. Any thread; does not block.
 *
 * @ingroup error
 */
const char *boxlite_error_subject(const boxlite_error *error);

/**
 * The operating system's error number (errno) that was the cause; 0 when there is none or `error` is NULL. Any thread;
 * does not block.
 *
 * @ingroup error
 */
int32_t boxlite_error_os_errno(const boxlite_error *error);

/**
 * For BOXLITE_EXECUTION, the exit code a shell would give for a command that could not be started: 127 when it was not
 * found, 126 when it is not executable. -1 for all other errors, and when `error` is NULL. Any thread; does not block.
 *
 * @ingroup error
 */
int32_t boxlite_error_exit_code(const boxlite_error *error);

/**
 * Frees an error. Does nothing when `error` is NULL. Any thread; does not block.
 *
 * @ingroup error
 */
void boxlite_error_free(boxlite_error *error);

/**
 * The name of a code as it stands in this header, such as "BOXLITE_NOT_FOUND"; "BOXLITE_UNKNOWN" for a number that is
 * no code of this library.
 *
 * The string is static. Any thread may call this at any time; it does not block and cannot fail.
 *
 * @ingroup error
 */
const char *boxlite_code_name(boxlite_code code);

/**
 * Makes a call: no deadline, no progress, not cancelled.
 *
 * On success *call is a new call, which the caller frees with boxlite_call_free(); on failure NULL. Any thread; does
 * not block. Errors: BOXLITE_INVALID_ARGUMENT when `call` is NULL.
 *
 * @ingroup call
 */
boxlite_code boxlite_call_new(boxlite_call **call,
                              boxlite_error **error);

/**
 * Sets how long each call made with `call` may take, in milliseconds, counted from its start: -1 (the default) = for
 * ever, 0 = don't wait: only what can be done at once (within some 50 ms) is done. A call that runs out of time
 * returns BOXLITE_TIMEOUT; what becomes of its operation is said at each function.
 *
 * Takes effect for calls that start later. Any thread may do this; it does not block. Errors:
 * BOXLITE_INVALID_ARGUMENT when `call` is NULL or `timeout_ms` is below -1; BOXLITE_FORKED.
 *
 * @ingroup call
 */
boxlite_code boxlite_call_set_timeout_ms(boxlite_call *call,
                                         int64_t timeout_ms,
                                         boxlite_error **error);

/**
 * Sets the function that calls made with `call` report progress to; NULL (the default) = none. `user` is passed to it
 * as it is and never looked at.
 *
 * The function runs on the thread that makes the call, inside that call, at most 20 times a second and once at the
 * end; never on a thread of the library. It may call the library, and must neither unwind nor longjmp out. When it
 * returns non-zero, that one call is cancelled. It is called only by functions that say they report progress.
 *
 * Takes effect for calls that start later; when several threads use `call` at a time, the function must bear that.
 * Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `call` is NULL; BOXLITE_FORKED.
 *
 * @ingroup call
 */
boxlite_code boxlite_call_set_progress(boxlite_call *call,
                                       boxlite_progress_fn function,
                                       void *user,
                                       boxlite_error **error);

/**
 * Cancels: calls being made with `call` return BOXLITE_CANCELLED soon, and so does each later one, until
 * boxlite_call_reset(). What becomes of their operations is said at each function.
 *
 * Any thread may do this, also a progress callback; not a signal handler. Does not block. Errors:
 * BOXLITE_INVALID_ARGUMENT when `call` is NULL; BOXLITE_FORKED.
 *
 * @ingroup call
 */
boxlite_code boxlite_call_cancel(boxlite_call *call,
                                 boxlite_error **error);

/**
 * Undoes boxlite_call_cancel() for calls that start later; those that were cancelled stay so. Timeout and progress
 * are kept.
 *
 * Any thread may do this; it does not block. Errors: BOXLITE_INVALID_ARGUMENT when `call` is NULL; BOXLITE_FORKED.
 *
 * @ingroup call
 */
boxlite_code boxlite_call_reset(boxlite_call *call,
                                boxlite_error **error);

/**
 * Frees a call; no call may be in progress with it. Does nothing when `call` is NULL, or in a forked child. Any
 * thread; does not block.
 *
 * @ingroup call
 */
void boxlite_call_free(boxlite_call *call);

/**
 * What is being done: "prepare", "resolve", "pull", "image-disk", "boot"; and in the last report of a call "done" when it
 * succeeded, else "failed", also when it was cut off. Later versions may have more.
 *
 * Valid until the callback returns; NULL when `progress` is NULL. Any thread; does not block.
 *
 * @ingroup progress
 */
const char *boxlite_progress_stage(const boxlite_progress *progress);

/**
 * The image this is about, as a full reference; "" as long as it is not known.
 *
 * Valid until the callback returns; NULL when `progress` is NULL. Any thread; does not block.
 *
 * @ingroup progress
 */
const char *boxlite_progress_reference(const boxlite_progress *progress);

/**
 * How many of the image's layers are known so far; 0 when `progress` is NULL. Any thread; does not block.
 *
 * @ingroup progress
 */
size_t boxlite_progress_layer_len(const boxlite_progress *progress);

/**
 * The digest of layer `index`, such as "sha256:9f86…".
 *
 * Valid until the callback returns; NULL when `index` is out of range or `progress` is NULL. Any thread; does not
 * block.
 *
 * @ingroup progress
 */
const char *boxlite_progress_layer_digest(const boxlite_progress *progress,
                                          size_t index);

/**
 * How many bytes of layer `index` are present; 0 when `index` is out of range or `progress` is NULL. Any thread; does
 * not block.
 *
 * @ingroup progress
 */
uint64_t boxlite_progress_layer_done_bytes(const boxlite_progress *progress,
                                           size_t index);

/**
 * How many bytes layer `index` has; 0 when `index` is out of range or `progress` is NULL. Any thread; does not block.
 *
 * @ingroup progress
 */
uint64_t boxlite_progress_layer_total_bytes(const boxlite_progress *progress,
                                            size_t index);

/**
 * Makes options that say nothing yet: home directory $BOXLITE_HOME, else ~/.boxlite; all registries over TLS without
 * credentials; no log.
 *
 * On success *options are new options, which the caller frees with boxlite_runtime_options_free(); on failure NULL.
 * Any thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_new(boxlite_runtime_options **options,
                                         boxlite_error **error);

/**
 * Sets the directory that holds everything a runtime keeps: boxes, images, database. It is made when it is missing.
 * Any bytes; copied.
 *
 * One thread at a time; does not block and does not look at the directory. Errors: BOXLITE_INVALID_ARGUMENT when
 * `options` or `path` is NULL or `path` is empty.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_home_dir(boxlite_runtime_options *options,
                                                  const char *path,
                                                  boxlite_error **error);

/**
 * Sets the directory with the parts a runtime starts: boxlite-shim, guest disk, kernel. Without it they are looked for
 * in $BOXLITE_RUNTIME_DIR, beside the library, and below the prefix that the library was built with. Any bytes; copied.
 *
 * One thread at a time; does not block and does not look at the directory. Errors: BOXLITE_INVALID_ARGUMENT when
 * `options` or `path` is NULL or `path` is empty.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_runtime_dir(boxlite_runtime_options *options,
                                                     const char *path,
                                                     boxlite_error **error);

/**
 * Bounds what an image may be: `max_layer_bytes`, the unpacked bytes of one layer (default 64 GiB), and `max_entries`,
 * the entries of all its layers together (default 4,000,000). 0 keeps the default. An image beyond a bound is refused
 * with BOXLITE_RESOURCE_EXHAUSTED, and nothing of its disk stays.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_image_limits(boxlite_runtime_options *options,
                                                      uint64_t max_layer_bytes,
                                                      uint64_t max_entries,
                                                      boxlite_error **error);

/**
 * Sends the runtime's log to a descriptor: one JSON object a line, from `level` (BOXLITE_LOG_...) up in severity. By
 * default there is no log; nothing is ever written to stderr.
 *
 * `fd` is duplicated: the caller keeps it and may close it at once. One thread at a time; does not block. Errors:
 * BOXLITE_INVALID_ARGUMENT when `options` is NULL, `level` is no level, or `fd` is not open.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_log_fd(boxlite_runtime_options *options,
                                                int32_t level,
                                                int32_t fd,
                                                boxlite_error **error);

/**
 * Sets the engine (BOXLITE_ENGINE_...) of boxes whose own options say none. Without it $BOXLITE_ENGINE ("auto", "krun",
 * "qemu") says it, else it is BOXLITE_ENGINE_AUTO.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `engine` is no
 * engine.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_engine(boxlite_runtime_options *options,
                                                int32_t engine,
                                                boxlite_error **error);

/**
 * Frees options; runtimes opened with them are not affected. Does nothing when `options` is NULL. Any thread; does not
 * block.
 *
 * @ingroup runtime_options
 */
void boxlite_runtime_options_free(boxlite_runtime_options *options);

/**
 * Says how a registry is reached: `host` with ":port" where it is not the usual one, and `transport`
 * (BOXLITE_TRANSPORT_...). A registry that was added before starts anew. UTF-8; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `host` is NULL, `host` is
 * empty or not UTF-8, or `transport` is no transport.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_add_registry(boxlite_runtime_options *options,
                                                  const char *host,
                                                  int32_t transport,
                                                  boxlite_error **error);

/**
 * Whether short image names such as "alpine" are looked up at this registry (0 = no, the default). Registries are
 * asked in the order in which they were added. `host` is copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `host` is NULL, or `host`
 * was not added.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_registry_search(boxlite_runtime_options *options,
                                                         const char *host,
                                                         int32_t search,
                                                         boxlite_error **error);

/**
 * Whether any TLS certificate of this registry is accepted (0 = no, the default). With it anybody on the network path
 * can pose as the registry; images pinned by digest are verified all the same. `host` is copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `host` is NULL, or `host`
 * was not added.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_registry_skip_verify(boxlite_runtime_options *options,
                                                              const char *host,
                                                              int32_t skip_verify,
                                                              boxlite_error **error);

/**
 * Logs in to this registry with a user name and a password or access token. UTF-8; copied. Replaces other
 * credentials.
 *
 * One thread at a time; does not block and does not contact the registry. Errors: BOXLITE_INVALID_ARGUMENT when an
 * argument is NULL or not UTF-8, or `host` was not added.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_registry_basic_auth(boxlite_runtime_options *options,
                                                             const char *host,
                                                             const char *username,
                                                             const char *password,
                                                             boxlite_error **error);

/**
 * Presents a ready bearer token to this registry. UTF-8; copied. Replaces other credentials.
 *
 * One thread at a time; does not block and does not contact the registry. Errors: BOXLITE_INVALID_ARGUMENT when an
 * argument is NULL or not UTF-8, or `host` was not added.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_registry_bearer_auth(boxlite_runtime_options *options,
                                                              const char *host,
                                                              const char *token,
                                                              boxlite_error **error);

/**
 * Sets the file in which `docker login` keeps credentials; "" = none is looked at. Default:
 * $DOCKER_CONFIG/config.json, else ~/.docker/config.json. It is read at each pull from a registry without credentials
 * of its own in these options, and need not exist. Credential helpers that it names (docker-credential-...) are run,
 * found by this process's PATH, for at most 30 s. Identity tokens are exchanged for a bearer token at each pull. What
 * gives no credentials is no error: the registry is asked without, and the hint of its refusal tells. Any bytes; copied.
 *
 * One thread at a time; does not block and does not look at the file. Errors: BOXLITE_INVALID_ARGUMENT when `options`
 * or `path` is NULL.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_docker_config(boxlite_runtime_options *options,
                                                       const char *path,
                                                       boxlite_error **error);

/**
 * Adds a mirror of a registry: what is pulled from `registry` ("docker.io", "host:5000") is asked for at `mirror` first,
 * under the same repository name. `mirror` is "host", "host:port", "https://host:port" or "http://host:port", without a
 * path. Several mirrors of a registry are asked in the order in which they were added, then the registry itself.
 *
 * A mirror that cannot be reached (tried once, 5 s to connect), refuses, lacks the image or sends what cannot be right is
 * left, with a line in the log at BOXLITE_LOG_WARN; the hint of the registry's own error then names it. A mirror is
 * reached as boxlite_runtime_options_add_registry() says for the mirror's own host, with its own credentials or docker's
 * logins for it, and is never shown the registry's. It is trusted to say what a tag means; what is named by digest is
 * verified as ever. Stored images carry the registry's name. UTF-8; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL, empty or not UTF-8.
 * What is no host is found by boxlite_runtime_new(): BOXLITE_CONFIG.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_add_registry_mirror(boxlite_runtime_options *options,
                                                         const char *registry,
                                                         const char *mirror,
                                                         boxlite_error **error);

/**
 * Adds a PEM file of certificates that are trusted as authorities of registries and mirrors, beside those of the system
 * (its trust store, or what $SSL_CERT_FILE and $SSL_CERT_DIR name). May be called several times. Any bytes; copied.
 *
 * One thread at a time; does not block and does not look at the file: boxlite_runtime_new() reads it, and answers
 * BOXLITE_CONFIG with the path as subject when it cannot be read or has no certificate. Errors: BOXLITE_INVALID_ARGUMENT
 * when `options` or `path` is NULL or `path` is empty.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_add_ca_file(boxlite_runtime_options *options,
                                                 const char *path,
                                                 boxlite_error **error);

/**
 * Opens a runtime. `options` may be NULL for all defaults; they are copied.
 *
 * On success *runtime is a new handle, which the caller frees with boxlite_runtime_free(); on failure NULL. Starts a
 * few threads, all with all signals blocked; reads the home's database, and waits up to 30 s for another process that is
 * just making or repairing it: boxlite_runtime_new_within() waits as long as its call says. Works on any thread, and in a
 * forked child. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` is NULL; BOXLITE_STORAGE when the home cannot be used (it
 * is a file, is read-only, is not this user's); BOXLITE_DATABASE; BOXLITE_CONFIG when an option, or an environment variable
 * that stands in for one, is wrong; BOXLITE_BUSY; BOXLITE_RESOURCE_EXHAUSTED.
 *
 * @ingroup runtime
 */
boxlite_code boxlite_runtime_new(const boxlite_runtime_options *options,
                                 boxlite_runtime **runtime,
                                 boxlite_error **error);

/**
 * As boxlite_runtime_new(), and waits as `call` says; NULL = up to 30 s for another process.
 *
 * Blocks. When `call` cuts it off, no runtime and none of its threads is left, and what it had begun to recover is
 * recovered by the next open. Ownership, threads and errors as boxlite_runtime_new(); BOXLITE_TIMEOUT and
 * BOXLITE_CANCELLED besides, which name the process waited for; BOXLITE_FORKED when `call` is the parent's.
 *
 * @ingroup runtime
 */
boxlite_code boxlite_runtime_new_within(const boxlite_runtime_options *options,
                                        boxlite_call *call,
                                        boxlite_runtime **runtime,
                                        boxlite_error **error);

/**
 * Stops the boxes that this runtime started and that are not detached, and waits until they have stopped. Boxes of
 * other runtimes on the same home are left alone. Afterwards boxlite_create(), boxlite_box_start() and boxlite_exec()
 * return BOXLITE_STOPPED; listing still works. Calling it again, or from several threads at a time, is harmless.
 *
 * `grace_ms`: how long boxes may take to stop by themselves before they are killed, rounded up to seconds. 0 = kill
 * them at once, -1 = wait for ever, any other negative number = the default of 10 seconds.
 *
 * After this call and the freeing of all handles no thread, descriptor or child process of the runtime is left.
 * Blocks; when `call` cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the shutdown goes on.
 * `call` may be NULL. Errors besides: BOXLITE_INVALID_ARGUMENT when `runtime` is NULL; BOXLITE_FORKED.
 *
 * @ingroup runtime
 */
boxlite_code boxlite_runtime_shutdown(boxlite_runtime *runtime,
                                      int64_t grace_ms,
                                      boxlite_call *call,
                                      boxlite_error **error);

/**
 * Frees a handle. When it was the last one of its runtime, the runtime ends in the background within 10 seconds, and
 * with it the boxes it started that are not detached; handles of its boxes stay valid to free and still give id, name
 * and logs, and otherwise return BOXLITE_STOPPED. Does nothing when `runtime` is NULL, or in a forked child. Any
 * thread; waits for no box: boxlite_runtime_shutdown() is the form that does. Where none runs, it calls off what is being
 * started or made, closes the database and ends the threads first: milliseconds mostly, 2 s at most.
 *
 * @ingroup runtime
 */
void boxlite_runtime_free(boxlite_runtime *runtime);

/**
 * Sets how many bytes on disk the home's templates may take together (default 1 GiB): frozen machines that boxes are
 * cloned from, so that they need not boot. One takes some 70 MB; those that were not used for longest go first. 0 = no
 * templates: every box boots.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `bytes` is
 * negative.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_template_space(boxlite_runtime_options *options,
                                                        int64_t bytes,
                                                        boxlite_error **error);

/**
 * Sets how many boxes the runtime keeps ready ahead of being asked for (default: what $BOXLITE_SPARES says, else 1),
 * each a running machine of the image and the sizes that were started last. boxlite_create() gives a box of the same
 * sizes the id of a spare; its start then takes some 20 ms, or about three times that where the spare has another
 * image, which is swapped for the box's. The first spare is made when the runtime has had nothing to do for two
 * seconds after its first box's start, later ones soon after each start. A spare costs the memory of an idle box and
 * no CPU time, is seen by no other call, and goes with the runtime. Spares are made only where templates are. 0 =
 * none.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `count` is
 * negative.
 *
 * @ingroup runtime_options
 */
boxlite_code boxlite_runtime_options_set_spares(boxlite_runtime_options *options,
                                                int32_t count,
                                                boxlite_error **error);

/**
 * Makes the template that boxes of any image are cloned from, so that the first of these sizes need not boot, either.
 * Only the sizes in `options` count; it may be NULL for all defaults, and is copied. Without this call a template is
 * made in the background after a box has booted. Does nothing where there is a template already, or where boxes have
 * none: when they do not run on software emulation, or the templates' space is 0.
 *
 * Blocks for a second or two; when `call`, which may be NULL, cuts it off, nothing is left behind. Any thread. Errors:
 * BOXLITE_INVALID_ARGUMENT when `runtime` is NULL; BOXLITE_RESOURCE_EXHAUSTED when the template has no room;
 * BOXLITE_ENGINE when its machine does not come up; BOXLITE_CONFIG when a piece is missing; BOXLITE_STORAGE;
 * BOXLITE_BUSY; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
 *
 * @ingroup runtime
 */
boxlite_code boxlite_runtime_prepare(boxlite_runtime *runtime,
                                     const boxlite_box_options *options,
                                     boxlite_call *call,
                                     boxlite_error **error);

/**
 * Asks the image's source (a registry, or the local files that `reference` names) what the image is now, and fetches
 * what the store lacks: the next box made from it starts without the source. A box pulls by itself what is missing, so
 * this is for doing it ahead, or for getting a newer image under the same tag; boxes that were started keep the image
 * they have. `reference` is as for boxlite_box_options_set_image(), and is copied.
 *
 * On success *image is new, which the caller frees with boxlite_image_free(); on failure NULL. Blocks; reports
 * progress. When `call`, which may be NULL, cuts it off, this caller leaves: others that wait for the same image go
 * on, and what was fetched stays for the next pull. Any thread. Errors: BOXLITE_NOT_FOUND; BOXLITE_NETWORK when the
 * registry cannot be reached or refuses; BOXLITE_IMAGE when the image is damaged, or not for this machine;
 * BOXLITE_INVALID_ARGUMENT when `runtime`, `reference` or `image` is NULL, or `reference` is malformed or not UTF-8;
 * BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_BUSY; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after
 * boxlite_runtime_shutdown(); BOXLITE_FORKED.
 *
 * @ingroup image
 */
boxlite_code boxlite_image_pull(boxlite_runtime *runtime,
                                const char *reference,
                                boxlite_call *call,
                                boxlite_image **image,
                                boxlite_error **error);

/**
 * Finds an image in the store, without asking its source: by its reference, as for boxlite_image_pull(), or by its
 * digest or that of its config ("sha256:..."). `reference` is copied.
 *
 * On success *image is new, which the caller frees with boxlite_image_free(); on failure NULL. Reads files, so it can
 * block; `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND when it is not stored, or not all of it;
 * BOXLITE_INVALID_ARGUMENT when `runtime`, `reference` or `image` is NULL, or `reference` is malformed or not UTF-8;
 * BOXLITE_STORAGE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown();
 * BOXLITE_FORKED.
 *
 * @ingroup image
 */
boxlite_code boxlite_image_get(boxlite_runtime *runtime,
                               const char *reference,
                               boxlite_call *call,
                               boxlite_image **image,
                               boxlite_error **error);

/**
 * Lists the complete images of the runtime's home, the one stored last first.
 *
 * On success *list is a new list, which the caller frees with boxlite_image_list_free(); on failure NULL. Reads files,
 * so it can block; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or `list` is NULL;
 * BOXLITE_STORAGE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown();
 * BOXLITE_FORKED.
 *
 * @ingroup image
 */
boxlite_code boxlite_runtime_images(boxlite_runtime *runtime,
                                    boxlite_call *call,
                                    boxlite_image_list **list,
                                    boxlite_error **error);

/**
 * Removes an image from the store, by its reference or digest, with all that no other image needs. One that boxes of
 * this home were started from is refused, unless `force` is not 0: boxes that run keep it until they stop, and their
 * next start pulls it again. `reference` is copied.
 *
 * Blocks; when `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the
 * removal goes on. Any thread. Errors besides: BOXLITE_NOT_FOUND; BOXLITE_INVALID_STATE when boxes use it (the message
 * names them); BOXLITE_INVALID_ARGUMENT when `runtime` or `reference` is NULL, or `reference` is malformed or not UTF-8;
 * BOXLITE_STORAGE; BOXLITE_DATABASE; BOXLITE_BUSY; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
 *
 * @ingroup image
 */
boxlite_code boxlite_image_remove(boxlite_runtime *runtime,
                                  const char *reference,
                                  int32_t force,
                                  boxlite_call *call,
                                  boxlite_error **error);

/**
 * The image's full reference, such as "docker.io/library/alpine:latest". Valid until the image is freed; NULL when
 * `image` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
const char *boxlite_image_reference(const boxlite_image *image);

/**
 * The reference without tag and digest. Valid until the image is freed; NULL when `image` is NULL. Any thread; does
 * not block.
 *
 * @ingroup image
 */
const char *boxlite_image_repository(const boxlite_image *image);

/**
 * The image's tag. Valid until the image is freed; NULL when it was pulled by digest alone or `image` is NULL. Any
 * thread; does not block.
 *
 * @ingroup image
 */
const char *boxlite_image_tag(const boxlite_image *image);

/**
 * The digest of the image's manifest for this machine, such as "sha256:9f86…": what it is, whatever it is called.
 * Valid until the image is freed; NULL when `image` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
const char *boxlite_image_digest(const boxlite_image *image);

/**
 * The digest of the image's config. Valid until the image is freed; NULL when `image` is NULL. Any thread; does not
 * block.
 *
 * @ingroup image
 */
const char *boxlite_image_config_digest(const boxlite_image *image);

/**
 * How many layers the image has; 0 when `image` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
size_t boxlite_image_layer_len(const boxlite_image *image);

/**
 * The digest of layer `index`, the lowest first. Valid until the image is freed; NULL when `index` is out of range or
 * `image` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
const char *boxlite_image_layer_digest(const boxlite_image *image,
                                       size_t index);

/**
 * Bytes of the image's config and layers as stored, without the disk that is made of them; 0 when `image` is NULL. Any
 * thread; does not block.
 *
 * @ingroup image
 */
uint64_t boxlite_image_size_bytes(const boxlite_image *image);

/**
 * When the image was stored under its reference, in milliseconds since 1970-01-01 UTC; -1 when `image` is NULL. Any
 * thread; does not block.
 *
 * @ingroup image
 */
int64_t boxlite_image_stored_at_ms(const boxlite_image *image);

/**
 * Frees an image that was returned to the caller, not one lent by a list; the store is not touched. Does nothing when
 * `image` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
void boxlite_image_free(boxlite_image *image);

/**
 * How many images the list holds; 0 when `list` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
size_t boxlite_image_list_len(const boxlite_image_list *list);

/**
 * Image `index` of the list. Lent: valid until the list is freed, never freed by itself; NULL when `index` is out of
 * range or `list` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
const boxlite_image *boxlite_image_list_at(const boxlite_image_list *list,
                                           size_t index);

/**
 * Frees a list and all images it lent. Does nothing when `list` is NULL. Any thread; does not block.
 *
 * @ingroup image
 */
void boxlite_image_list_free(boxlite_image_list *list);

/**
 * Deletes what no box of the runtime's home needs: images, disks made of images and directories, and what interrupted
 * pulls left. A box needs its image from its creation on, running or not. With `dry_run` not 0 nothing is deleted, and
 * the report says what would be. Homes that share one store are not asked: their boxes pull their images again, and a
 * start that is under way there fails.
 *
 * On success *prune is a new report, which the caller frees with boxlite_prune_free(); on failure NULL. Blocks; when
 * `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the deletion goes
 * on. Any thread. Errors besides: BOXLITE_INVALID_ARGUMENT when `runtime` or `prune` is NULL; BOXLITE_STORAGE;
 * BOXLITE_DATABASE; BOXLITE_METADATA_ERROR when a box's record cannot be read, so that its needs are not known;
 * BOXLITE_BUSY; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
 *
 * @ingroup prune
 */
boxlite_code boxlite_runtime_prune(boxlite_runtime *runtime,
                                   int32_t dry_run,
                                   boxlite_call *call,
                                   boxlite_prune **prune,
                                   boxlite_error **error);

/**
 * How many things the report tells of; 0 when `prune` is NULL. Any thread; does not block.
 *
 * @ingroup prune
 */
size_t boxlite_prune_len(const boxlite_prune *prune);

/**
 * What kind of thing `index` is, one of BOXLITE_PRUNE_...; -1 when `index` is out of range or `prune` is NULL. Any
 * thread; does not block.
 *
 * @ingroup prune
 */
int32_t boxlite_prune_kind(const boxlite_prune *prune,
                           size_t index);

/**
 * What thing `index` is called: see BOXLITE_PRUNE_... Valid until the report is freed; NULL when `index` is out of
 * range or `prune` is NULL. Any thread; does not block.
 *
 * @ingroup prune
 */
const char *boxlite_prune_name(const boxlite_prune *prune,
                               size_t index);

/**
 * How many bytes on disk thing `index` takes or took; 0 when `index` is out of range or `prune` is NULL. Any thread;
 * does not block.
 *
 * @ingroup prune
 */
uint64_t boxlite_prune_bytes(const boxlite_prune *prune,
                             size_t index);

/**
 * How many bytes on disk all of them take or took; 0 when `prune` is NULL. Any thread; does not block.
 *
 * @ingroup prune
 */
uint64_t boxlite_prune_total_bytes(const boxlite_prune *prune);

/**
 * Frees a report. Does nothing when `prune` is NULL. Any thread; does not block.
 *
 * @ingroup prune
 */
void boxlite_prune_free(boxlite_prune *prune);

/**
 * Repairs a home whose database is damaged, lost, or lacks boxes whose directories are there. `options` name the home,
 * as for boxlite_runtime_new(), which need not work; NULL = all defaults.
 *
 * A damaged database is kept aside under another name and never deleted. The new one gets every row that can still be
 * read, and rows made from the boxes' directories for the rest; boxes' disks are not touched, and boxes that run go on:
 * the next runtime finds them. A sound database only gets rows that it lacks. May be called at any time and from any
 * process: runtimes that have the damaged database open return BOXLITE_DATABASE from then on, and are to be opened anew.
 *
 * On success *repair is a new report, which the caller frees with boxlite_repair_free(); on failure NULL, and the home
 * is as before. Blocks: for as long as the database is large, and up to 30 s for another process that opens or repairs
 * the home. Any thread; works in a forked child. Errors: BOXLITE_INVALID_ARGUMENT when `repair` is NULL;
 * BOXLITE_CONFIG when a newer version wrote the database; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_BUSY.
 *
 * @ingroup repair
 */
boxlite_code boxlite_runtime_repair(const boxlite_runtime_options *options,
                                    boxlite_repair **repair,
                                    boxlite_error **error);

/**
 * As boxlite_runtime_repair(), and waits for other processes as `call` says; NULL = up to 30 s.
 *
 * Blocks. `call` cuts off the wait, not a repair that has begun, which ends by itself. Ownership, threads and errors as
 * boxlite_runtime_repair(); BOXLITE_TIMEOUT and BOXLITE_CANCELLED besides, which name the process waited for;
 * BOXLITE_FORKED when `call` is the parent's.
 *
 * @ingroup repair
 */
boxlite_code boxlite_runtime_repair_within(const boxlite_runtime_options *options,
                                           boxlite_call *call,
                                           boxlite_repair **repair,
                                           boxlite_error **error);

/**
 * How many boxes the report tells of; 0 when `repair` is NULL. Any thread; does not block.
 *
 * @ingroup repair
 */
size_t boxlite_repair_len(const boxlite_repair *repair);

/**
 * Id of box `index`. Valid until the report is freed; NULL when `index` is out of range or `repair` is NULL. Any
 * thread; does not block.
 *
 * @ingroup repair
 */
const char *boxlite_repair_id(const boxlite_repair *repair,
                              size_t index);

/**
 * Name of box `index`, NULL when it has none. Valid until the report is freed; NULL when `index` is out of range or
 * `repair` is NULL. Any thread; does not block.
 *
 * @ingroup repair
 */
const char *boxlite_repair_name(const boxlite_repair *repair,
                                size_t index);

/**
 * What became of box `index`, one of BOXLITE_REPAIR_...; BOXLITE_REPAIR_LOST when `index` is out of range or `repair`
 * is NULL. Any thread; does not block.
 *
 * @ingroup repair
 */
int32_t boxlite_repair_outcome(const boxlite_repair *repair,
                               size_t index);

/**
 * What became of box `index` and why, for a person. Valid until the report is freed; NULL when `index` is out of range
 * or `repair` is NULL. Any thread; does not block.
 *
 * @ingroup repair
 */
const char *boxlite_repair_detail(const boxlite_repair *repair,
                                  size_t index);

/**
 * How many files and directories were kept aside; 0 when `repair` is NULL, or the database was sound. Any thread; does
 * not block.
 *
 * @ingroup repair
 */
size_t boxlite_repair_kept_len(const boxlite_repair *repair);

/**
 * Path of file or directory `index` that was kept aside: any bytes but NUL. Nothing reads it any more. Valid until the
 * report is freed; NULL when `index` is out of range or `repair` is NULL. Any thread; does not block.
 *
 * @ingroup repair
 */
const char *boxlite_repair_kept_path(const boxlite_repair *repair,
                                     size_t index);

/**
 * Frees a report. Does nothing when `repair` is NULL. Any thread; does not block.
 *
 * @ingroup repair
 */
void boxlite_repair_free(boxlite_repair *repair);

/**
 * Finds out what this machine offers: virtualisation, the parts of boxlite, the tools it uses, the home. That
 * something is missing is a success of this function: the items tell.
 *
 * On success *check is a new object, which the caller frees with boxlite_system_check_free(); on failure NULL. Blocks
 * while it looks; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or `check` is NULL;
 * BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED; BOXLITE_FORKED.
 *
 * @ingroup system_check
 */
boxlite_code boxlite_runtime_system_check(boxlite_runtime *runtime,
                                          boxlite_call *call,
                                          boxlite_system_check **check,
                                          boxlite_error **error);

/**
 * How many items there are; 0 when `check` is NULL. Any thread; does not block.
 *
 * @ingroup system_check
 */
size_t boxlite_system_check_len(const boxlite_system_check *check);

/**
 * What item `index` is about, such as "kvm". Valid until the check is freed; NULL when `index` is out of range or
 * `check` is NULL. Any thread; does not block.
 *
 * @ingroup system_check
 */
const char *boxlite_system_check_name(const boxlite_system_check *check,
                                      size_t index);

/**
 * How item `index` is, one of BOXLITE_CHECK_...; BOXLITE_CHECK_FAILED when `index` is out of range or `check` is NULL.
 * Any thread; does not block.
 *
 * @ingroup system_check
 */
int32_t boxlite_system_check_status(const boxlite_system_check *check,
                                    size_t index);

/**
 * What was found out about item `index`, for a person. Valid until the check is freed; NULL when `index` is out of
 * range or `check` is NULL. Any thread; does not block.
 *
 * @ingroup system_check
 */
const char *boxlite_system_check_detail(const boxlite_system_check *check,
                                        size_t index);

/**
 * What can be done about item `index`, for a person; "" when nothing needs to be. Valid until the check is freed; NULL
 * when `index` is out of range or `check` is NULL. Any thread; does not block.
 *
 * @ingroup system_check
 */
const char *boxlite_system_check_remedy(const boxlite_system_check *check,
                                        size_t index);

/**
 * All items as one JSON document. Valid until the check is freed; NULL when `check` is NULL. Any thread; does not
 * block.
 *
 * @ingroup system_check
 */
const char *boxlite_system_check_json(const boxlite_system_check *check);

/**
 * Frees a system check. Does nothing when `check` is NULL. Any thread; does not block.
 *
 * @ingroup system_check
 */
void boxlite_system_check_free(boxlite_system_check *check);

/**
 * Makes options that say nothing yet: image "alpine:latest", 1 vCPU, 512 MiB of memory, a disk of 10 GiB, the image's
 * user and working directory; the box is kept when it stops and stopped when its runtime ends.
 *
 * On success *options are new options, which the caller frees with boxlite_box_options_free(); on failure NULL. Any
 * thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_new(boxlite_box_options **options,
                                     boxlite_error **error);

/**
 * Sets the image: a registry reference such as "debian:12" or "host:5000/name@sha256:...", "oci:DIR[:TAG]",
 * "oci-archive:FILE" or "docker-archive:FILE". UTF-8; copied. Replaces a root file system set before.
 *
 * One thread at a time; does not block and does not look for the image. Errors: BOXLITE_INVALID_ARGUMENT when
 * `options` or `image` is NULL, or `image` is not UTF-8. A malformed reference is refused by boxlite_create().
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_image(boxlite_box_options *options,
                                           const char *image,
                                           boxlite_error **error);

/**
 * Sets a directory on the host as the root file system: it is packed when the box starts, and the box sees no later
 * change. Any bytes; copied. Replaces an image set before.
 *
 * One thread at a time; does not block and does not look at the directory. Errors: BOXLITE_INVALID_ARGUMENT when
 * `options` or `path` is NULL.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_rootfs_path(boxlite_box_options *options,
                                                 const char *path,
                                                 boxlite_error **error);

/**
 * Sets the number of vCPUs: 1 (the default) or more.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `cpus` is not
 * within 1 to 255. More than this machine has are refused by boxlite_create().
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_cpus(boxlite_box_options *options,
                                          int32_t cpus,
                                          boxlite_error **error);

/**
 * Sets the memory in MiB: 64 or more, default 512.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `memory_mib` is less
 * than 1 or more than 32 bits hold. Less than 64 is refused by boxlite_create().
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_memory_mib(boxlite_box_options *options,
                                                int64_t memory_mib,
                                                boxlite_error **error);

/**
 * Sets the size of the writable disk in GiB: 1 to 16384, default 10. Space on the host is taken as it is written to.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `disk_size_gb` is
 * not within 1 to 16384.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_disk_size_gb(boxlite_box_options *options,
                                                  int64_t disk_size_gb,
                                                  boxlite_error **error);

/**
 * Sets what an fsync in the box comes to: BOXLITE_DISK_CACHE_WRITEBACK (the default): synced data survives the death of
 * any process and of the host; BOXLITE_DISK_CACHE_UNSAFE: of any process only, after a loss of the host's power the
 * box's disk may be damaged as a whole.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `disk_cache` is
 * none of these.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_disk_cache(boxlite_box_options *options,
                                                int32_t disk_cache,
                                                boxlite_error **error);

/**
 * Sets an environment variable of every command in the box, over the image's; setting it again replaces it. The name
 * is UTF-8, the value any bytes; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL, or `name` is empty,
 * not UTF-8 or has a "=" in it.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_env(boxlite_box_options *options,
                                         const char *name,
                                         const char *value,
                                         boxlite_error **error);

/**
 * Sets the default working directory of commands, an absolute path in the box. Any bytes; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL. A relative path is
 * refused by boxlite_create().
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_working_dir(boxlite_box_options *options,
                                                 const char *path,
                                                 boxlite_error **error);

/**
 * Sets the default user of commands: "name", "uid", "uid:gid" or "name:group". UTF-8; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `user` is not
 * UTF-8. A name that the box does not know is an error of the command.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_user(boxlite_box_options *options,
                                          const char *user,
                                          boxlite_error **error);

/**
 * Whether the box and its data are removed when it stops or its runtime ends (0 = no, the default in C).
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL. Together with detach
 * it is refused by boxlite_create().
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_auto_remove(boxlite_box_options *options,
                                                 int32_t auto_remove,
                                                 boxlite_error **error);

/**
 * Whether the box goes on when its runtime ends (0 = no, the default). Any later runtime on the same home finds it
 * running.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_detach(boxlite_box_options *options,
                                            int32_t detach,
                                            boxlite_error **error);

/**
 * Sets the engine that runs the box (BOXLITE_ENGINE_...), whatever the runtime's options and $BOXLITE_ENGINE say. One
 * that cannot run here is refused when the box starts, with BOXLITE_ENGINE and the reason.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `engine` is no
 * engine.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_engine(boxlite_box_options *options,
                                            int32_t engine,
                                            boxlite_error **error);

/**
 * Gives the box a label, for the caller's own use; setting it again replaces it. boxlite_list() can select by labels.
 * UTF-8; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or not UTF-8, or
 * `key` is empty.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_label(boxlite_box_options *options,
                                           const char *key,
                                           const char *value,
                                           boxlite_error **error);

/**
 * Frees options; boxes made with them are not affected. Does nothing when `options` is NULL. Any thread; does not
 * block.
 *
 * @ingroup box_options
 */
void boxlite_box_options_free(boxlite_box_options *options);

/**
 * Sets how long the box may run: so many milliseconds after a start it is stopped, as by boxlite_box_stop(), whatever it
 * does. Each start counts anew. 0 = as long as it likes, the default. Kept by the box's own process, so it holds for a
 * detached box, too; boxlite_box_end_reason() is BOXLITE_END_LIFETIME then.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `ms` is negative.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_max_lifetime_ms(boxlite_box_options *options,
                                                     int64_t ms,
                                                     boxlite_error **error);

/**
 * Sets how long the box may be idle: once no command has run in it and no stream of one was open for so many
 * milliseconds, it is stopped, as by boxlite_box_stop(). Processes that a command left in the background do not keep it.
 * 0 = as long as it likes, the default. It may take an eighth longer. Kept by the box's own process, so it holds for a
 * detached box, too; boxlite_box_end_reason() is BOXLITE_END_IDLE then.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `ms` is negative.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_idle_timeout_ms(boxlite_box_options *options,
                                                     int64_t ms,
                                                     boxlite_error **error);

/**
 * Sets how many processes and threads there may be in the box, over all commands; 0 = the default. More are refused to
 * the program that would start them. For one command alone there is boxlite_command_set_limits().
 *
 * Does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `pids` is negative.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_pids_max(boxlite_box_options *options,
                                              int32_t pids,
                                              boxlite_error **error);

/**
 * Sets how much CPU time all commands of the box together may have, in thousandths of one CPU: 250 is a quarter of one,
 * 1500 one and a half. 0 = no limit besides its vCPUs, the default. Once the share of a tenth of a second is used up, they
 * stand still until the next; less than 10 counts as 10. It holds for processes in the box, not for what its machine needs
 * besides. For one command alone there is boxlite_command_set_limits(); where both say something, the lower one holds.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `millis` is not 0 to
 * 256000.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_cpu_millis(boxlite_box_options *options,
                                                int32_t millis,
                                                boxlite_error **error);

/**
 * Sets how many files each process of a command may have open, descriptors of all kinds counted (RLIMIT_NOFILE, soft and
 * hard); 0 = the default: 1024, and up to 1048576 for a program that raises its own limit. It holds for all commands,
 * whatever runtime runs them; one with a limit of its own (boxlite_command_set_limits()) has the lower of both.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL or `files` is not 0 to
 * 1048576.
 *
 * @ingroup box_options
 */
boxlite_code boxlite_box_options_set_max_open_files(boxlite_box_options *options,
                                                    int32_t files,
                                                    boxlite_error **error);

/**
 * Creates a box. Nothing is pulled and nothing runs yet: the virtual machine starts at the first use. `options` may be
 * NULL for all defaults; they are copied. `name` may be NULL, else it is unique in the home and matches
 * [a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}.
 *
 * On success *box is a new handle, which the caller frees with boxlite_box_free(); on failure NULL, and nothing is
 * left behind. Blocks while it writes to the home; when `call`, which may be NULL, cuts it off, nothing is left
 * behind. Any thread. Errors: BOXLITE_INVALID_ARGUMENT or BOXLITE_CONFIG, which name the wrong option;
 * BOXLITE_ALREADY_EXISTS when the name is taken; BOXLITE_STORAGE; BOXLITE_DATABASE; BOXLITE_RESOURCE_EXHAUSTED;
 * BOXLITE_BUSY; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
 *
 * @ingroup box
 */
boxlite_code boxlite_create(boxlite_runtime *runtime,
                            const boxlite_box_options *options,
                            const char *name,
                            boxlite_call *call,
                            boxlite_box **box,
                            boxlite_error **error);

/**
 * Finds the box with this name, or creates it where there is none; of any number of callers at a time, in any
 * processes, exactly one creates it. A box that is found is as it was made, whatever `options` say. Without a name,
 * which is NULL, a box is created. `options` and `name` are as for boxlite_create(), and are copied.
 *
 * *created, if `created` is not NULL, is set to 1 when this call created the box, else to 0. On success *box is a new
 * handle, which the caller frees with boxlite_box_free(); on failure NULL. Blocks while it reads and writes the home;
 * when `call`, which may be NULL, cuts it off, nothing is left behind. Any thread. Errors: those of boxlite_create() but
 * for BOXLITE_ALREADY_EXISTS, which can only come when the box of that name goes at that very moment; wrong options are
 * found only when a box is to be created.
 *
 * @ingroup box
 */
boxlite_code boxlite_get_or_create(boxlite_runtime *runtime,
                                   const boxlite_box_options *options,
                                   const char *name,
                                   boxlite_call *call,
                                   int32_t *created,
                                   boxlite_box **box,
                                   boxlite_error **error);

/**
 * Finds a box of the runtime's home by its id, a unique beginning of its id, or its name. After a stop this gives the
 * handle to start the box with again. `id_or_name` is copied.
 *
 * On success *box is a new handle, which the caller frees with boxlite_box_free(); on failure NULL. Reads the home's
 * database, so it can block; `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND; BOXLITE_INVALID_ARGUMENT when
 * `runtime`, `id_or_name` or `box` is NULL, `id_or_name` is not UTF-8, or it begins several ids (the message lists
 * them); BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED; BOXLITE_FORKED.
 *
 * @ingroup box
 */
boxlite_code boxlite_get(boxlite_runtime *runtime,
                         const char *id_or_name,
                         boxlite_call *call,
                         boxlite_box **box,
                         boxlite_error **error);

/**
 * Removes a box with all its data, by its id, a unique beginning of its id, or its name. A box that runs is refused,
 * unless `force` is not 0: then it is stopped first. `id_or_name` is copied.
 *
 * Blocks; when `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the
 * removal goes on. Any thread. Errors besides: BOXLITE_NOT_FOUND; BOXLITE_INVALID_STATE when the box runs and `force`
 * is 0; BOXLITE_INVALID_ARGUMENT when `runtime` or `id_or_name` is NULL, `id_or_name` is not UTF-8, or it begins
 * several ids; BOXLITE_STORAGE; BOXLITE_DATABASE; BOXLITE_BUSY; BOXLITE_STOPPED; BOXLITE_FORKED.
 *
 * @ingroup box
 */
boxlite_code boxlite_remove(boxlite_runtime *runtime,
                            const char *id_or_name,
                            int32_t force,
                            boxlite_call *call,
                            boxlite_error **error);

/**
 * The box's id: 12 letters and digits. Valid until the handle is freed; NULL when `box` is NULL. Any thread; does not
 * block; works in a forked child and after the box is gone.
 *
 * @ingroup box
 */
const char *boxlite_box_id(const boxlite_box *box);

/**
 * The box's name. Valid until the handle is freed; NULL when it has none or `box` is NULL. Any thread; does not block;
 * works in a forked child and after the box is gone.
 *
 * @ingroup box
 */
const char *boxlite_box_name(const boxlite_box *box);

/**
 * What the box is at this moment; once it was removed, what was last seen of it, as configured or stopped:
 * boxlite_get() tells whether it is there.
 *
 * On success *info is a copy, which the caller frees with boxlite_info_free(); on failure NULL. May read the home's
 * database, so it can block; `call` may be NULL. Any thread; also after the box was stopped. Errors:
 * BOXLITE_INVALID_ARGUMENT when `box` or `info` is NULL; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED once the
 * runtime has ended; BOXLITE_FORKED.
 *
 * @ingroup box
 */
boxlite_code boxlite_box_info(boxlite_box *box,
                              boxlite_call *call,
                              boxlite_info **info,
                              boxlite_error **error);

/**
 * Starts the box: pulls its image when it is not there yet, and returns when commands can run. Does nothing when the
 * box runs. boxlite_exec() does this by itself.
 *
 * Blocks; reports progress. When `call`, which may be NULL, cuts it off, the virtual machine is ended, also
 * one that runs by then and that nobody else uses; what was pulled is kept. Any thread. Errors: BOXLITE_IMAGE; BOXLITE_NETWORK;
 * BOXLITE_ENGINE, with the console's last words; BOXLITE_CONFIG when a part of boxlite is missing;
 * BOXLITE_UNSUPPORTED; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_PORTAL; BOXLITE_BUSY; BOXLITE_NOT_FOUND
 * when the box was removed; BOXLITE_STOPPED when this handle has seen a stop: get the box again;
 * BOXLITE_INVALID_ARGUMENT when `box` is NULL; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup box
 */
boxlite_code boxlite_box_start(boxlite_box *box,
                               boxlite_call *call,
                               boxlite_error **error);

/**
 * Stops the box: its processes get SIGTERM, 2 seconds later SIGKILL, then its disk is written back and its virtual
 * machine ends. What was written before is there after the next start. A box with auto-remove is removed. Does nothing
 * when the box never ran. Afterwards this handle returns BOXLITE_STOPPED for all but its id, name and info: to start
 * the box again, get it again.
 *
 * Blocks; when `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the
 * stop goes on. Any thread. Errors besides: BOXLITE_STOPPED; BOXLITE_PORTAL; BOXLITE_STORAGE; BOXLITE_DATABASE;
 * BOXLITE_BUSY; BOXLITE_INVALID_ARGUMENT when `box` is NULL; BOXLITE_FORKED.
 *
 * @ingroup box
 */
boxlite_code boxlite_box_stop(boxlite_box *box,
                              boxlite_call *call,
                              boxlite_error **error);

/**
 * Frees a handle; the box goes on. Does nothing when `box` is NULL, or in a forked child. Any thread; does not block.
 *
 * @ingroup box
 */
void boxlite_box_free(boxlite_box *box);

/**
 * Waits until the box does not run, whoever started it and whoever ends it, and tells how its last run ended; at once
 * when it does not run now. May be called any number of times, from any thread, also after a stop through this handle,
 * and after the box was removed if this handle had begun to wait before.
 *
 * On success *end is new, which the caller frees with boxlite_box_end_free(); on failure NULL. Blocks; when `call`,
 * which may be NULL, cuts it off, the box goes on. Errors: BOXLITE_INVALID_STATE when the box never ran;
 * BOXLITE_NOT_FOUND when it is gone; BOXLITE_STOPPED when the runtime ended first; BOXLITE_INVALID_ARGUMENT when `box`
 * or `end` is NULL; BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup box_end
 */
boxlite_code boxlite_box_wait(boxlite_box *box,
                              boxlite_call *call,
                              boxlite_box_end **end,
                              boxlite_error **error);

/**
 * A descriptor that can be read from (poll() and its like say so) for ever once boxlite_box_wait() would return at once,
 * also with an error; there is nothing to be read. *fd is a new descriptor each time, close-on-exec, which the caller
 * closes, and outlives the handle; -1 on failure. For the next run of a box that was started again, ask for a new one.
 *
 * Does not block. Any thread. Errors: BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_INVALID_ARGUMENT when `box` or `fd` is NULL;
 * BOXLITE_FORKED.
 *
 * @ingroup box_end
 */
boxlite_code boxlite_box_exit_fd(boxlite_box *box,
                                 int32_t *fd,
                                 boxlite_error **error);

/**
 * Opens a log of the box for reading, at its beginning: `which` is one of BOXLITE_BOX_LOG_... A box has logs from its
 * first start to its removal, also when that start failed. They are files: read() gives what is there and then end of
 * file, and what is written later can be read from the same descriptor. They hold what the guest wrote, so any bytes.
 *
 * *fd is a new descriptor, close-on-exec, which the caller closes, and outlives the handle; -1 on failure. Opens a
 * file, and else does not block. Any thread; also after the runtime has ended. Errors: BOXLITE_NOT_FOUND when the box
 * was never started or is gone; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_INVALID_ARGUMENT when `box` or
 * `fd` is NULL or there is no such log; BOXLITE_FORKED.
 *
 * @ingroup box_end
 */
boxlite_code boxlite_box_log_fd(boxlite_box *box,
                                int32_t which,
                                int32_t *fd,
                                boxlite_error **error);

/**
 * Why the box ended, one of BOXLITE_END_...; BOXLITE_END_UNKNOWN when `end` is NULL. Later versions may have more. Any
 * thread; does not block.
 *
 * @ingroup box_end
 */
int32_t boxlite_box_end_reason(const boxlite_box_end *end);

/**
 * The end in a sentence for a person, in case of a crash with the end of the guest's console. Valid until the end is
 * freed; NULL when `end` is NULL. Any thread; does not block.
 *
 * @ingroup box_end
 */
const char *boxlite_box_end_message(const boxlite_box_end *end);

/**
 * Frees an end. Does nothing when `end` is NULL. Any thread; does not block.
 *
 * @ingroup box_end
 */
void boxlite_box_end_free(boxlite_box_end *end);

/**
 * The box's id: 12 letters and digits.
 *
 * Valid until the info is freed; NULL when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
const char *boxlite_info_id(const boxlite_info *info);

/**
 * The box's name. Valid until the info is freed; NULL when it has none or `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
const char *boxlite_info_name(const boxlite_info *info);

/**
 * The box's status, one of BOXLITE_STATUS_...; BOXLITE_STATUS_UNKNOWN when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int32_t boxlite_info_status(const boxlite_info *info);

/**
 * When the box was created, in milliseconds since 1970-01-01 UTC; -1 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int64_t boxlite_info_created_at_ms(const boxlite_info *info);

/**
 * When the box's record last changed, in milliseconds since 1970-01-01 UTC; -1 when `info` is NULL. Any thread; does
 * not block.
 *
 * @ingroup info
 */
int64_t boxlite_info_updated_at_ms(const boxlite_info *info);

/**
 * When the box was last started, in milliseconds since 1970-01-01 UTC; -1 when it never was or `info` is NULL. Any
 * thread; does not block.
 *
 * @ingroup info
 */
int64_t boxlite_info_started_at_ms(const boxlite_info *info);

/**
 * The process id of the box's shim while it runs; 0 when it does not or `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int32_t boxlite_info_pid(const boxlite_info *info);

/**
 * The box's image as it was asked for. Valid until the info is freed; NULL when `info` is NULL. Any thread; does not
 * block.
 *
 * @ingroup info
 */
const char *boxlite_info_image(const boxlite_info *info);

/**
 * How many vCPUs the box has; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int32_t boxlite_info_cpus(const boxlite_info *info);

/**
 * The box's memory in MiB; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int64_t boxlite_info_memory_mib(const boxlite_info *info);

/**
 * The size of the box's writable disk in GiB; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int64_t boxlite_info_disk_size_gb(const boxlite_info *info);

/**
 * 1 when the box is removed once it stops, else 0; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int32_t boxlite_info_auto_remove(const boxlite_info *info);

/**
 * 1 when the box goes on after its runtime has ended, else 0; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
int32_t boxlite_info_detach(const boxlite_info *info);

/**
 * Why the box failed. Valid until the info is freed; NULL when its status is not BOXLITE_STATUS_FAILED or `info` is
 * NULL. Any thread; does not block.
 *
 * @ingroup info
 */
const char *boxlite_info_failure(const boxlite_info *info);

/**
 * Which engine runs the box, or ran it last: "libkrun", "qemu-kvm" or "qemu-tcg" (software emulation). Valid until the
 * info is freed; NULL when it has not been started or `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
const char *boxlite_info_engine(const boxlite_info *info);

/**
 * How many labels the box has; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
size_t boxlite_info_label_len(const boxlite_info *info);

/**
 * The key of label `index`; labels are sorted by key. Valid until the info is freed; NULL when `index` is out of range
 * or `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
const char *boxlite_info_label_key(const boxlite_info *info,
                                   size_t index);

/**
 * The value of label `index`. Valid until the info is freed; NULL when `index` is out of range or `info` is NULL. Any
 * thread; does not block.
 *
 * @ingroup info
 */
const char *boxlite_info_label_value(const boxlite_info *info,
                                     size_t index);

/**
 * How many steps the last start made by this runtime had; 0 when it made none or `info` is NULL. Any thread; does not
 * block.
 *
 * @ingroup info
 */
size_t boxlite_info_stage_len(const boxlite_info *info);

/**
 * The name of step `index` of the last start, in the order they were made: "pull", "image-disk", "boot" and others.
 * Valid until the info is freed; NULL when `index` is out of range or `info` is NULL. Any thread; does not block.
 *
 * @ingroup info
 */
const char *boxlite_info_stage_name(const boxlite_info *info,
                                    size_t index);

/**
 * What step `index` of the last start took, in microseconds; 0 when `index` is out of range or `info` is NULL. Any
 * thread; does not block.
 *
 * @ingroup info
 */
int64_t boxlite_info_stage_us(const boxlite_info *info,
                              size_t index);

/**
 * Frees an info that was returned to the caller, not one lent by a list. Does nothing when `info` is NULL. Any thread;
 * does not block.
 *
 * @ingroup info
 */
void boxlite_info_free(boxlite_info *info);

/**
 * A status in lower case, such as "running"; "unknown" for a number that is no status of this library.
 *
 * The string is static. Any thread may call this at any time; it does not block and cannot fail.
 *
 * @ingroup info
 */
const char *boxlite_status_name(int32_t status);

/**
 * Makes options that select all boxes.
 *
 * On success *options are new options, which the caller frees with boxlite_list_options_free(); on failure NULL. Any
 * thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup list
 */
boxlite_code boxlite_list_options_new(boxlite_list_options **options,
                                      boxlite_error **error);

/**
 * Selects only boxes with label `key`, of value `value`, or of any value when `value` is NULL. With several labels a
 * box must have them all. UTF-8; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` or `key` is NULL, `key` is
 * empty, or `key` or `value` is not UTF-8.
 *
 * @ingroup list
 */
boxlite_code boxlite_list_options_add_label(boxlite_list_options *options,
                                            const char *key,
                                            const char *value,
                                            boxlite_error **error);

/**
 * Frees options. Does nothing when `options` is NULL. Any thread; does not block.
 *
 * @ingroup list
 */
void boxlite_list_options_free(boxlite_list_options *options);

/**
 * Lists the boxes of the runtime's home, newest first: also those of other runtimes, and stopped ones. `options` may
 * be NULL: all boxes.
 *
 * On success *list is a new list, which the caller frees with boxlite_info_list_free(); on failure NULL. Reads the
 * home's database, so it can block; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or
 * `list` is NULL; BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED; BOXLITE_FORKED.
 *
 * @ingroup list
 */
boxlite_code boxlite_list(boxlite_runtime *runtime,
                          const boxlite_list_options *options,
                          boxlite_call *call,
                          boxlite_info_list **list,
                          boxlite_error **error);

/**
 * How many boxes the list holds; 0 when `list` is NULL. Any thread; does not block.
 *
 * @ingroup list
 */
size_t boxlite_info_list_len(const boxlite_info_list *list);

/**
 * Box `index` of the list. Lent: valid until the list is freed, never freed by itself; NULL when `index` is out of
 * range or `list` is NULL. Any thread; does not block.
 *
 * @ingroup list
 */
const boxlite_info *boxlite_info_list_at(const boxlite_info_list *list,
                                         size_t index);

/**
 * Frees a list and all infos it lent. Does nothing when `list` is NULL. Any thread; does not block.
 *
 * @ingroup list
 */
void boxlite_info_list_free(boxlite_info_list *list);

/**
 * What the runtime has done since it was opened: "boxes_created_total", "boxes_failed_total" (starts that failed),
 * "boxes_stopped_total", "boxes_running" (those it started or has taken up), "commands_total", "command_errors_total"
 * (commands that could not be started), "starts_booted_total", "starts_cloned_total", "templates_made_total",
 * "templates_refused_total". Names that end in _total never decrease. Later versions may have more.
 *
 * On success *metrics is new, which the caller frees with boxlite_metrics_free(); on failure NULL. Asks no box, so it
 * hardly blocks; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or `metrics` is NULL;
 * BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup metrics
 */
boxlite_code boxlite_runtime_metrics(boxlite_runtime *runtime,
                                     boxlite_call *call,
                                     boxlite_metrics **metrics,
                                     boxlite_error **error);

/**
 * What a running box takes, and what was done in it through this runtime since it was started or taken up:
 * "commands_total", "command_errors_total"; of the host: "cpu_ms_total", "memory_bytes", "disk_bytes"; in the box:
 * "guest_processes", "guest_memory_used_bytes", "guest_memory_total_bytes"; of its start, if this runtime made it:
 * "start_ms", image and all, and "boot_ms". Later versions may have more. Does not start the box.
 *
 * On success *metrics is new, which the caller frees with boxlite_metrics_free(); on failure NULL. Blocks while it asks
 * the box; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_STATE when the box does not run;
 * BOXLITE_INVALID_ARGUMENT when `box` or `metrics` is NULL; BOXLITE_NOT_FOUND when the box was removed; BOXLITE_STOPPED
 * when this handle has seen a stop: get the box again; BOXLITE_BUSY; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT;
 * BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup metrics
 */
boxlite_code boxlite_box_metrics(boxlite_box *box,
                                 boxlite_call *call,
                                 boxlite_metrics **metrics,
                                 boxlite_error **error);

/**
 * The figure called `name`; -1 when there is none, which includes one that is not known of this box, or when an argument
 * is NULL. `name` is only compared, byte by byte.
 *
 * Any thread; does not block.
 *
 * @ingroup metrics
 */
int64_t boxlite_metrics_value(const boxlite_metrics *metrics,
                              const char *name);

/**
 * How many figures there are; 0 when `metrics` is NULL. Any thread; does not block.
 *
 * @ingroup metrics
 */
size_t boxlite_metrics_len(const boxlite_metrics *metrics);

/**
 * The name of figure `index`. Valid until the metrics are freed; NULL when `index` is out of range or `metrics` is
 * NULL. Any thread; does not block.
 *
 * @ingroup metrics
 */
const char *boxlite_metrics_name(const boxlite_metrics *metrics,
                                 size_t index);

/**
 * Figure `index`; -1 when `index` is out of range or `metrics` is NULL. Any thread; does not block.
 *
 * @ingroup metrics
 */
int64_t boxlite_metrics_at(const boxlite_metrics *metrics, size_t index);

/**
 * Frees metrics. Does nothing when `metrics` is NULL. Any thread; does not block.
 *
 * @ingroup metrics
 */
void boxlite_metrics_free(boxlite_metrics *metrics);

/**
 * Makes a command that runs `program`, without arguments: a path in the box, or a bare name that is looked up through
 * the box's PATH. It is argv[0] as well. Any bytes; copied.
 *
 * On success *command is a new command, which the caller frees with boxlite_command_free(); on failure NULL. Any
 * thread; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `program` is empty.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_new(const char *program,
                                 boxlite_command **command,
                                 boxlite_error **error);

/**
 * Adds one argument, which may be empty. Any bytes; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_add_arg(boxlite_command *command,
                                     const char *arg,
                                     boxlite_error **error);

/**
 * Adds `count` arguments. Any bytes; copied. On failure none is added.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, `args` is NULL while
 * `count` is not 0, or one of the arguments is NULL.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_add_args(boxlite_command *command,
                                      const char *const *args,
                                      size_t count,
                                      boxlite_error **error);

/**
 * Sets an environment variable of this command, over the box's and the image's; setting it again replaces it. The name
 * is UTF-8, the value any bytes; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL, or `name` is empty,
 * not UTF-8 or has a "=" in it.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_env(boxlite_command *command,
                                     const char *name,
                                     const char *value,
                                     boxlite_error **error);

/**
 * Sets the working directory, an absolute path in the box. Any bytes; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `path` is not
 * absolute.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_working_dir(boxlite_command *command,
                                             const char *path,
                                             boxlite_error **error);

/**
 * Sets the user: "name", "uid", "uid:gid" or "name:group". UTF-8; copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when an argument is NULL or `user` is not
 * UTF-8.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_user(boxlite_command *command,
                                      const char *user,
                                      boxlite_error **error);

/**
 * Sets how long the command may run, in milliseconds from its start: then all of its processes are killed, and its
 * result says that it timed out. -1 (the default) = for ever. This is a property of the command; how long the caller
 * waits is set by boxlite_call_set_timeout_ms().
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, or `timeout_ms` is 0
 * or below -1.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_timeout_ms(boxlite_command *command,
                                            int64_t timeout_ms,
                                            boxlite_error **error);

/**
 * Sets what the command reads on its standard input, followed by end of file; default nothing. Copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, or `data` is NULL
 * while `len` is not 0.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_input(boxlite_command *command,
                                       const void *data,
                                       size_t len,
                                       boxlite_error **error);

/**
 * Whether standard error is written into standard output, in the order it was written in (0 = no, the default).
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_merge_stderr(boxlite_command *command,
                                              int32_t merge,
                                              boxlite_error **error);

/**
 * Sets how many bytes of each output stream boxlite_exec() keeps; default 64 MiB. The head is kept, the rest is
 * counted and dropped; the process is never blocked by it.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_max_output(boxlite_command *command,
                                            uint64_t max_output,
                                            boxlite_error **error);

/**
 * Sets how long boxlite_exec() waits for more output after the process has ended while other processes still hold its
 * output streams, in milliseconds; default 200. Processes in the background are not killed by it.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `drain_ms` is
 * negative.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_drain_ms(boxlite_command *command,
                                          int64_t drain_ms,
                                          boxlite_error **error);

/**
 * Frees a command; what runs already is not affected. Does nothing when `command` is NULL. Any thread; does not block.
 *
 * @ingroup command
 */
void boxlite_command_free(boxlite_command *command);

/**
 * Sets where standard input comes from when the command is started by boxlite_box_exec_start(): one of the
 * BOXLITE_STDIN_ constants. The default is BOXLITE_STDIN_KEEP with a terminal or in a detached box, else
 * BOXLITE_STDIN_ONCE: a command that reads it then waits, for ever if need be, until it is taken by
 * boxlite_execution_take_stdin() and written to or closed. boxlite_exec() does not look at it: its input is set by
 * boxlite_command_set_input().
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is none of
 * them.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_stdin(boxlite_command *command,
                                       int32_t mode,
                                       boxlite_error **error);

/**
 * Sets where standard output goes: one of the BOXLITE_OUTPUT_ constants, default BOXLITE_OUTPUT_RETAIN. For
 * boxlite_exec(), which reads all of it, only BOXLITE_OUTPUT_NULL makes a difference.
 *
 * What a command that has ended leaves untaken is kept in the box's memory: of all such commands together an eighth of it,
 * 128 MiB at most, with BOXLITE_OUTPUT_PIPE, and a 32nd, 16 MiB at most, with BOXLITE_OUTPUT_RETAIN. Above that the output
 * of those that ended first is given up, and of commands before the newest 64 in any case. It never looks complete then:
 * boxlite_stream_state_dropped() counts it, and first + received stays below total.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is none of
 * them.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_stdout(boxlite_command *command,
                                        int32_t mode,
                                        boxlite_error **error);

/**
 * Sets where standard error goes, as boxlite_command_set_stdout() does for standard output.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL or `mode` is no output
 * mode.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_stderr(boxlite_command *command,
                                        int32_t mode,
                                        boxlite_error **error);

/**
 * Gives the command a terminal of `rows` lines and `cols` columns when it is started by boxlite_box_exec_start(): one
 * stream in both directions, taken by boxlite_execution_take_tty(). The default is none.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL, or `rows` or `cols`
 * is not between 1 and 65535.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_tty(boxlite_command *command,
                                     int32_t rows,
                                     int32_t cols,
                                     boxlite_error **error);

/**
 * Limits what this command and all its processes may use, each 0 for no limit besides the box's: `pids` processes at a
 * time, `memory_bytes` of memory, `open_files` of each process, `cpu_millis` thousandths of one CPU.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `command` is NULL.
 *
 * @ingroup command
 */
boxlite_code boxlite_command_set_limits(boxlite_command *command,
                                        uint64_t pids,
                                        uint64_t memory_bytes,
                                        uint64_t open_files,
                                        uint64_t cpu_millis,
                                        boxlite_error **error);

/**
 * Runs a command in the box and returns when its process has ended, with its exit and its output. Starts the box when
 * it does not run. A command that exits with a code other than 0, dies of a signal, or runs into its own timeout is a
 * success of this function: the result tells.
 *
 * Processes that the command leaves in the background don't hold it: the call returns with what the output streams
 * hold when the process has ended and what comes within the drain time, and boxlite_exec_result_output_still_open()
 * says that more may have followed.
 *
 * On success *result is a new result, which the caller frees with boxlite_exec_result_free(). When the call is cut off
 * (BOXLITE_TIMEOUT, BOXLITE_CANCELLED) or the output is (BOXLITE_EXECUTION, BOXLITE_RPC_TRANSPORT), all processes of the
 * command are killed, and *result, when it is not NULL, holds the output so far and is freed as well. After all other
 * failures it is NULL.
 *
 * Blocks; reports progress while the box starts. `call` may be NULL. Any thread, any number at a time on one box.
 * Errors: BOXLITE_EXECUTION when the command could not be started (boxlite_error_exit_code() has 126 or 127);
 * BOXLITE_INVALID_ARGUMENT when `box`, `command` or `result` is NULL; BOXLITE_STOPPED when the box was stopped
 * meanwhile or this handle has seen a stop; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT;
 * BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED; and those of boxlite_box_start().
 *
 * @ingroup exec
 */
boxlite_code boxlite_exec(boxlite_box *box,
                          const boxlite_command *command,
                          boxlite_call *call,
                          boxlite_exec_result **result,
                          boxlite_error **error);

/**
 * The process's exit code, 0 to 255; -1 when it died of a signal or `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
int32_t boxlite_exec_result_exit_code(const boxlite_exec_result *result);

/**
 * The signal the process died of; 0 when it exited or `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
int32_t boxlite_exec_result_signal(const boxlite_exec_result *result);

/**
 * 1 when the command was killed because its time was up, else 0; 0 when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
int32_t boxlite_exec_result_timed_out(const boxlite_exec_result *result);

/**
 * 1 when the box's kernel killed one of the command's processes for want of memory, else 0; 0 when `result` is NULL.
 * Any thread; does not block.
 *
 * @ingroup exec
 */
int32_t boxlite_exec_result_oom_killed(const boxlite_exec_result *result);

/**
 * What was kept of standard output: boxlite_exec_result_stdout_len() bytes, any of which may be NUL, and one NUL after
 * them. Valid until the result is freed; NULL when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
const char *boxlite_exec_result_stdout(const boxlite_exec_result *result);

/**
 * How many bytes boxlite_exec_result_stdout() has; 0 when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
size_t boxlite_exec_result_stdout_len(const boxlite_exec_result *result);

/**
 * How many bytes the command wrote to standard output; 0 when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
uint64_t boxlite_exec_result_stdout_total(const boxlite_exec_result *result);

/**
 * 1 when more was written to standard output than was kept (boxlite_command_set_max_output()), else 0; 0 when `result`
 * is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
int32_t boxlite_exec_result_stdout_truncated(const boxlite_exec_result *result);

/**
 * What was kept of standard error: boxlite_exec_result_stderr_len() bytes, any of which may be NUL, and one NUL after
 * them. Valid until the result is freed; NULL when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
const char *boxlite_exec_result_stderr(const boxlite_exec_result *result);

/**
 * How many bytes boxlite_exec_result_stderr() has; 0 when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
size_t boxlite_exec_result_stderr_len(const boxlite_exec_result *result);

/**
 * How many bytes the command wrote to standard error; 0 when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
uint64_t boxlite_exec_result_stderr_total(const boxlite_exec_result *result);

/**
 * 1 when more was written to standard error than was kept (boxlite_command_set_max_output()), else 0; 0 when `result`
 * is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
int32_t boxlite_exec_result_stderr_truncated(const boxlite_exec_result *result);

/**
 * 1 when processes in the background still held the command's output streams when the call returned, else 0; 0 when
 * `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
int32_t boxlite_exec_result_output_still_open(const boxlite_exec_result *result);

/**
 * Frees a result. Does nothing when `result` is NULL. Any thread; does not block.
 *
 * @ingroup exec
 */
void boxlite_exec_result_free(boxlite_exec_result *result);

/**
 * Starts a command in the box and returns when its process runs. Starts the box when it does not run. What
 * boxlite_command_set_input(), _set_max_output() and _set_drain_ms() set concerns boxlite_exec() only; `command` is
 * copied. A command that reads its standard input waits until somebody takes it and writes or closes it, for ever if
 * nobody does: give one that is to read nothing BOXLITE_STDIN_NULL.
 *
 * On success *execution is a new handle, which the caller frees with boxlite_execution_free(); on failure NULL. When
 * `call`, which may be NULL, cuts it off, no process is left. Blocks; reports progress while the box starts. Any
 * thread, any number at a time on one box. Errors: those of boxlite_exec().
 *
 * @ingroup execution
 */
boxlite_code boxlite_box_exec_start(boxlite_box *box,
                                    const boxlite_command *command,
                                    boxlite_call *call,
                                    boxlite_execution **execution,
                                    boxlite_error **error);

/**
 * Takes up a command by its id, whichever process started it: one that runs, or one of the newest 64 that have ended
 * since the box started. Does not start the box. `id` is copied.
 *
 * A stream that is taken through the new handle is taken over: who had it before gets end of file, and
 * boxlite_stream_state_taken_over() says so through the handle it had it from.
 *
 * On success *execution is a new handle, which the caller frees with boxlite_execution_free(); on failure NULL. Blocks;
 * `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND when the box knows no such command or does not run;
 * BOXLITE_INVALID_ARGUMENT when `box`, `id` or `execution` is NULL or `id` is not UTF-8; BOXLITE_STOPPED;
 * BOXLITE_BUSY; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_DATABASE; BOXLITE_TIMEOUT;
 * BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup execution
 */
boxlite_code boxlite_box_attach(boxlite_box *box,
                                const char *id,
                                boxlite_call *call,
                                boxlite_execution **execution,
                                boxlite_error **error);

/**
 * The execution's id, by which any process can take it up. Valid until the handle is freed; NULL when `execution` is
 * NULL. Any thread; does not block; works in a forked child.
 *
 * @ingroup execution
 */
const char *boxlite_execution_id(const boxlite_execution *execution);

/**
 * Waits for the command's process to end. May be called any number of times, from any thread, with the same answer. A
 * process that blocks because nobody reads what it writes is waited for, too.
 *
 * On success *exit is a new object, which the caller frees with boxlite_exit_free(); on failure NULL. Blocks; when
 * `call`, which may be NULL, cuts it off, the process goes on. Errors: BOXLITE_STOPPED when the box ended without a word
 * on the process; BOXLITE_INVALID_ARGUMENT when `execution` or `exit` is NULL; BOXLITE_TIMEOUT; BOXLITE_CANCELLED;
 * BOXLITE_FORKED.
 *
 * @ingroup execution
 */
boxlite_code boxlite_execution_wait(boxlite_execution *execution,
                                    boxlite_call *call,
                                    boxlite_exit **exit,
                                    boxlite_error **error);

/**
 * A descriptor that can be read from (poll() and its like say so) for ever once the process has ended, or once nobody
 * can tell any more how it does; there is nothing to be read. It may come before the end of the output. *fd is a new
 * descriptor each time, close-on-exec, which the caller closes, and outlives the handle; -1 on failure.
 *
 * Does not block. Any thread. Errors: BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_INVALID_ARGUMENT when `execution` or `fd` is
 * NULL; BOXLITE_FORKED.
 *
 * @ingroup execution
 */
boxlite_code boxlite_execution_exit_fd(boxlite_execution *execution,
                                       int32_t *fd,
                                       boxlite_error **error);

/**
 * Sends a signal to the command's process, by its number on Linux.
 *
 * Blocks until the box has done it; when `call`, which may be NULL, cuts it off, the signal is sent all the same once
 * it is on its way. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `execution` is NULL or there is no such signal;
 * BOXLITE_INVALID_STATE when the process has ended; BOXLITE_NOT_FOUND when the box knows nothing of the execution any
 * more; BOXLITE_STOPPED; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup execution
 */
boxlite_code boxlite_execution_signal(boxlite_execution *execution,
                                      int32_t signal,
                                      boxlite_call *call,
                                      boxlite_error **error);

/**
 * Kills all of the command's processes, also those in sessions of their own and those that its process has left behind.
 * When there is none any more, that is no error.
 *
 * Blocks until the box has done it; when `call`, which may be NULL, cuts it off, the kill goes on. Any thread. Errors:
 * BOXLITE_INVALID_ARGUMENT when `execution` is NULL; BOXLITE_NOT_FOUND when the box knows nothing of the execution any
 * more; BOXLITE_STOPPED; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup execution
 */
boxlite_code boxlite_execution_kill(boxlite_execution *execution,
                                    boxlite_call *call,
                                    boxlite_error **error);

/**
 * Gives the command's terminal a new size, in force when this returns.
 *
 * Blocks; when `call`, which may be NULL, cuts it off, the change goes on. Any thread. Errors: BOXLITE_INVALID_STATE
 * when the command has no terminal; BOXLITE_INVALID_ARGUMENT when `execution` is NULL, or `rows` or `cols` is not
 * between 0 and 65535; else as boxlite_execution_signal().
 *
 * @ingroup execution
 */
boxlite_code boxlite_execution_resize_tty(boxlite_execution *execution,
                                          int32_t rows,
                                          int32_t cols,
                                          boxlite_call *call,
                                          boxlite_error **error);

/**
 * Frees a handle; the command goes on. Does nothing when `execution` is NULL, or in a forked child. Any thread; does
 * not block.
 *
 * @ingroup execution
 */
void boxlite_execution_free(boxlite_execution *execution);

/**
 * The process's exit code, 0 to 255; -1 when it died of a signal or `exit` is NULL. Any thread; does not block.
 *
 * @ingroup execution
 */
int32_t boxlite_exit_code(const boxlite_exit *exit);

/**
 * The signal the process died of; 0 when it exited or `exit` is NULL. Any thread; does not block.
 *
 * @ingroup execution
 */
int32_t boxlite_exit_signal(const boxlite_exit *exit);

/**
 * 1 when the command was killed because its time was up, else 0; 0 when `exit` is NULL. Any thread; does not block.
 *
 * @ingroup execution
 */
int32_t boxlite_exit_timed_out(const boxlite_exit *exit);

/**
 * 1 when the box's kernel killed one of the command's processes for want of memory, else 0; 0 when `exit` is NULL. Any
 * thread; does not block.
 *
 * @ingroup execution
 */
int32_t boxlite_exit_oom_killed(const boxlite_exit *exit);

/**
 * Frees an exit. Does nothing when `exit` is NULL. Any thread; does not block.
 *
 * @ingroup execution
 */
void boxlite_exit_free(boxlite_exit *exit);

/**
 * Takes the way to write to the command's standard input. *fd is a connected socket, close-on-exec, which the caller
 * closes; it outlives the handle; -1 on failure. shutdown(fd, SHUT_WR) is end of file for the process; with
 * BOXLITE_STDIN_ONCE so is the last close(), which is none while a forked child holds the descriptor. Write to it with
 * MSG_NOSIGNAL: a process that reads no more is EPIPE.
 *
 * `flags` is 0 or BOXLITE_FD_NONBLOCK. Blocks for a moment; when `call`, which may be NULL, cuts it off, the stream can
 * still be taken. Any thread. Errors: BOXLITE_INVALID_STATE when it was taken through this handle before, or the
 * command has a terminal or no standard input; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_STOPPED; BOXLITE_PORTAL;
 * BOXLITE_NOT_FOUND when the command has ended and the box has forgotten it; BOXLITE_INVALID_ARGUMENT when `execution`
 * or `fd` is NULL or `flags` has other bits; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED;
 * BOXLITE_FORKED.
 *
 * @ingroup execution_streams
 */
boxlite_code boxlite_execution_take_stdin(boxlite_execution *execution,
                                          int32_t flags,
                                          boxlite_call *call,
                                          int32_t *fd,
                                          boxlite_error **error);

/**
 * Takes the command's standard output, from the byte at `offset` on, or from the oldest that is still there
 * (BOXLITE_OFFSET_OLDEST, or an `offset` that is older). *fd is a connected socket, close-on-exec, which the caller
 * reads and closes; it outlives the handle; -1 on failure. From now on no byte is lost: what is not read blocks the
 * process, as a pipe does. Closing it detaches: the process never notices, and the newest 1 MiB is kept again.
 *
 * An end of file alone cannot be told from a cut: boxlite_execution_stream_state() tells.
 *
 * `flags`, what may be NULL, blocking, threads and errors: as boxlite_execution_take_stdin().
 *
 * @ingroup execution_streams
 */
boxlite_code boxlite_execution_take_stdout(boxlite_execution *execution,
                                           uint64_t offset,
                                           int32_t flags,
                                           boxlite_call *call,
                                           int32_t *fd,
                                           boxlite_error **error);

/**
 * Takes the command's standard error, as boxlite_execution_take_stdout() takes its standard output.
 *
 * What may be NULL, blocking, threads and errors: as there.
 *
 * @ingroup execution_streams
 */
boxlite_code boxlite_execution_take_stderr(boxlite_execution *execution,
                                           uint64_t offset,
                                           int32_t flags,
                                           boxlite_call *call,
                                           int32_t *fd,
                                           boxlite_error **error);

/**
 * Takes the command's terminal: one socket for both directions, what it prints from the byte at `offset` on. Else as
 * boxlite_execution_take_stdout(). Closing it does not hang the terminal up; to end its input write the terminal's own
 * end-of-file character (Ctrl-D, byte 4).
 *
 * What may be NULL, blocking, threads and errors: as boxlite_execution_take_stdin(), but for BOXLITE_INVALID_STATE: when
 * it was taken through this handle before, or the command has no terminal.
 *
 * @ingroup execution_streams
 */
boxlite_code boxlite_execution_take_tty(boxlite_execution *execution,
                                        uint64_t offset,
                                        int32_t flags,
                                        boxlite_call *call,
                                        int32_t *fd,
                                        boxlite_error **error);

/**
 * Ends the command's standard input once its process has been given `total_bytes` since its start: as many as were
 * written by all who had it. Works whoever holds the descriptor, also with BOXLITE_STDIN_KEEP.
 *
 * Blocks until the box knows; when `call`, which may be NULL, cuts it off, the end goes on its way. Any thread. Errors:
 * as boxlite_execution_kill(): an end that has come already is none.
 *
 * @ingroup execution_streams
 */
boxlite_code boxlite_execution_close_stdin(boxlite_execution *execution,
                                           uint64_t total_bytes,
                                           boxlite_call *call,
                                           boxlite_error **error);

/**
 * How an output stream stands (BOXLITE_STREAM_STDOUT, also for a terminal; BOXLITE_STREAM_STDERR), for whoever reads the
 * descriptor that was taken through this handle: it has had everything from its first byte on when first + received ==
 * total, and closed is 1. That is never so for a descriptor that was taken over before the last byte had come to it.
 *
 * On success *state is a new object, which the caller frees with boxlite_stream_state_free(); on failure NULL. Blocks;
 * `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND when the box knows nothing of the execution any more;
 * BOXLITE_STOPPED when the box ended without a word on it; BOXLITE_INVALID_ARGUMENT when `execution` or `state` is NULL
 * or `which` is no output stream; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT; BOXLITE_TIMEOUT; BOXLITE_CANCELLED;
 * BOXLITE_FORKED.
 *
 * @ingroup execution_streams
 */
boxlite_code boxlite_execution_stream_state(boxlite_execution *execution,
                                            int32_t which,
                                            boxlite_call *call,
                                            boxlite_stream_state **state,
                                            boxlite_error **error);

/**
 * Offset of the first byte that the descriptor taken through this handle was owed; 0 when none was taken through it, or
 * `state` is NULL. The bytes that came begin there, unless the box had to give up kept output (see
 * boxlite_command_set_stdout()): then it is where the gap begins, and first + received stays below total. Any thread;
 * does not block.
 *
 * @ingroup execution_streams
 */
uint64_t boxlite_stream_state_first(const boxlite_stream_state *state);

/**
 * How many bytes the process has written; 0 when `state` is NULL. Any thread; does not block.
 *
 * @ingroup execution_streams
 */
uint64_t boxlite_stream_state_total(const boxlite_stream_state *state);

/**
 * How many bytes were dropped because nobody took them; 0 when `state` is NULL. Any thread; does not block.
 *
 * @ingroup execution_streams
 */
uint64_t boxlite_stream_state_dropped(const boxlite_stream_state *state);

/**
 * 1 when somebody else has taken the stream over since it was taken through this handle: what this handle's descriptor
 * got ends there. Else, and when `state` is NULL, 0. After the box's end nobody can tell any more: 0. Any thread; does
 * not block.
 *
 * @ingroup execution_streams
 */
int32_t boxlite_stream_state_taken_over(const boxlite_stream_state *state);

/**
 * 1 when no process holds the stream any more, so that nothing will follow, else 0; 0 when `state` is NULL. Any
 * thread; does not block.
 *
 * @ingroup execution_streams
 */
int32_t boxlite_stream_state_closed(const boxlite_stream_state *state);

/**
 * Frees a state. Does nothing when `state` is NULL. Any thread; does not block.
 *
 * @ingroup execution_streams
 */
void boxlite_stream_state_free(boxlite_stream_state *state);

/**
 * Lists the box's commands: those that run, and the newest 64 that have ended since the box started. A box that does not
 * run has none; it is not started.
 *
 * On success *list is a new list, which the caller frees with boxlite_execution_list_free(); on failure NULL. Blocks;
 * `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `box` or `list` is NULL; BOXLITE_NOT_FOUND when
 * the box was removed; BOXLITE_STOPPED; BOXLITE_BUSY; BOXLITE_PORTAL; BOXLITE_RPC; BOXLITE_RPC_TRANSPORT;
 * BOXLITE_DATABASE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_FORKED.
 *
 * @ingroup executions
 */
boxlite_code boxlite_box_executions(boxlite_box *box,
                                    boxlite_call *call,
                                    boxlite_execution_list **list,
                                    boxlite_error **error);

/**
 * How many commands the list has; 0 when `list` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
size_t boxlite_execution_list_len(const boxlite_execution_list *list);

/**
 * The command at `index`, counted from 0; NULL when there is none or `list` is NULL. Lent: it lives as long as the
 * list. Any thread; does not block.
 *
 * @ingroup executions
 */
const boxlite_execution_info *boxlite_execution_list_at(const boxlite_execution_list *list,
                                                        size_t index);

/**
 * The command's id, by which boxlite_box_attach() takes it up; NULL when `info` is NULL. Lives as long as the list.
 * Any thread; does not block.
 *
 * @ingroup executions
 */
const char *boxlite_execution_info_id(const boxlite_execution_info *info);

/**
 * How many words the command has, its program among them; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
size_t boxlite_execution_info_arg_len(const boxlite_execution_info *info);

/**
 * The word at `index`, counted from 0: the program, then its arguments; any bytes but NUL. NULL when there is none or
 * `info` is NULL. Lives as long as the list. Any thread; does not block.
 *
 * @ingroup executions
 */
const char *boxlite_execution_info_arg(const boxlite_execution_info *info,
                                       size_t index);

/**
 * When the command was started, by the box's clock, in milliseconds since 1970; 0 when `info` is NULL. Any thread;
 * does not block.
 *
 * @ingroup executions
 */
int64_t boxlite_execution_info_started_at_ms(const boxlite_execution_info *info);

/**
 * 1 when the command has a terminal, else 0; 0 when `info` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_tty(const boxlite_execution_info *info);

/**
 * What the command's standard input is: one of the BOXLITE_STDIN_ constants; -1 when `info` is NULL. With
 * BOXLITE_STDIN_NULL there is none to be taken. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_stdin(const boxlite_execution_info *info);

/**
 * What becomes of the command's standard output, or of what comes from its terminal: one of the BOXLITE_OUTPUT_ constants;
 * -1 when `info` is NULL. With BOXLITE_OUTPUT_NULL there is none to be taken. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_stdout(const boxlite_execution_info *info);

/**
 * What becomes of the command's standard error: one of the BOXLITE_OUTPUT_ constants; -1 when `info` is NULL. Where it is
 * merged it is standard output's. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_stderr(const boxlite_execution_info *info);

/**
 * 1 when the command's standard error is written where its standard output is, so that there is none to be taken, as
 * always with a terminal; else 0, also when `info` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_merge_stderr(const boxlite_execution_info *info);

/**
 * 1 when somebody is connected to the command's standard input or its terminal, else 0; 0 when
 * `info` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_stdin_taken(const boxlite_execution_info *info);

/**
 * 1 when somebody is connected to the command's standard output or its terminal, else 0; 0 when
 * `info` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_stdout_taken(const boxlite_execution_info *info);

/**
 * 1 when somebody is connected to the command's standard error, else 0; 0 when
 * `info` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
int32_t boxlite_execution_info_stderr_taken(const boxlite_execution_info *info);

/**
 * How the command ended; NULL while it runs, or when `info` is NULL. Lent: it lives as long as the list, and is not
 * freed. Any thread; does not block.
 *
 * @ingroup executions
 */
const boxlite_exit *boxlite_execution_info_exit(const boxlite_execution_info *info);

/**
 * Frees a list with all that was lent from it. Does nothing when `list` is NULL. Any thread; does not block.
 *
 * @ingroup executions
 */
void boxlite_execution_list_free(boxlite_execution_list *list);

/**
 * Makes options that copy directories with all they hold, overwrite what exists, keep symbolic links, and let a
 * directory keep its name below an existing one.
 *
 * On success *options is new, and the caller frees it with boxlite_copy_options_free(); on failure NULL. Any thread;
 * does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup copy
 */
boxlite_code boxlite_copy_options_new(boxlite_copy_options **options,
                                      boxlite_error **error);

/**
 * Sets whether what exists is overwritten (not 0, the default). When it is not, the copy fails with
 * BOXLITE_ALREADY_EXISTS before anything is written; only boxlite_box_copy_in_tar(), whose archive can't be read twice,
 * may have written what comes before.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup copy
 */
boxlite_code boxlite_copy_options_set_overwrite(boxlite_copy_options *options,
                                                int32_t overwrite,
                                                boxlite_error **error);

/**
 * Sets whether directories are copied (not 0, the default); else they are refused with BOXLITE_INVALID_ARGUMENT.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup copy
 */
boxlite_code boxlite_copy_options_set_recursive(boxlite_copy_options *options,
                                                int32_t recursive,
                                                boxlite_error **error);

/**
 * Sets whether what symbolic links of the source lead to is copied (not 0), or the links (0, the default).
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup copy
 */
boxlite_code boxlite_copy_options_set_follow_symlinks(boxlite_copy_options *options,
                                                      int32_t follow,
                                                      boxlite_error **error);

/**
 * Sets whether a directory that is copied into an existing one keeps its name there (not 0, the default), or only what
 * it holds is copied.
 *
 * One thread at a time; does not block. Errors: BOXLITE_INVALID_ARGUMENT when `options` is NULL.
 *
 * @ingroup copy
 */
boxlite_code boxlite_copy_options_set_include_parent(boxlite_copy_options *options,
                                                     int32_t include,
                                                     boxlite_error **error);

/**
 * Frees options. Does nothing when `options` is NULL. Any thread; does not block.
 *
 * @ingroup copy
 */
void boxlite_copy_options_free(boxlite_copy_options *options);

/**
 * Copies a file or a directory of the host into the box, which is started where needed. To exactly `box_path`, or,
 * when that is an existing directory or ends in '/', into it under the source's own name; missing directories are
 * made. Paths may be any bytes; `box_path` is absolute; what is given is copied. `options` may be NULL for the
 * defaults. Modes, times, user.* attributes, hard links and holes are kept; the owner is the box's user; devices and
 * sockets are left out.
 *
 * Blocks; reports progress of a start. When `call`, which may be NULL, cuts it off, what was complete stays, and no file
 * has its name before it is complete. Any thread. Errors, which name the path: BOXLITE_NOT_FOUND;
 * BOXLITE_ALREADY_EXISTS; BOXLITE_INVALID_ARGUMENT; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED, when a disk is full;
 * BOXLITE_EXECUTION when the copy's process in the box was killed; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; those of
 * boxlite_box_start().
 *
 * @ingroup copy
 */
boxlite_code boxlite_box_copy_in(boxlite_box *box,
                                 const char *host_path,
                                 const char *box_path,
                                 const boxlite_copy_options *options,
                                 boxlite_call *call,
                                 boxlite_error **error);

/**
 * Copies a file or a directory of the box to the host, by the same rules as boxlite_box_copy_in(). The owner is this
 * process's user, and set-uid and set-gid bits are dropped. Whatever the box holds, nothing is written outside the
 * place that `host_path` names.
 *
 * What may be NULL and what is copied: as there. Blocks, is cut off, and fails as boxlite_box_copy_in(). Any thread.
 *
 * @ingroup copy
 */
boxlite_code boxlite_box_copy_out(boxlite_box *box,
                                  const char *box_path,
                                  const char *host_path,
                                  const boxlite_copy_options *options,
                                  boxlite_call *call,
                                  boxlite_error **error);

/**
 * Unpacks a tar archive, read from `fd` to its end, into the directory `box_path` of the box, which is made where it is
 * missing. `fd` may be a file, a pipe or a socket, blocking or not; it stays the caller's, who must not read from it
 * meanwhile. Of `options`, which may be NULL, only the overwriting matters.
 *
 * Blocks, is cut off, and fails as boxlite_box_copy_in(); an archive that is damaged or ends too early is
 * BOXLITE_INVALID_ARGUMENT. Any thread.
 *
 * @ingroup copy
 */
boxlite_code boxlite_box_copy_in_tar(boxlite_box *box,
                                     int32_t fd,
                                     const char *box_path,
                                     const boxlite_copy_options *options,
                                     boxlite_call *call,
                                     boxlite_error **error);

/**
 * Writes a tar archive (POSIX, with PAX records) of a file or a directory of the box to `fd`. Its entries begin with
 * the last name of `box_path`, or with '.' when the options leave the parent out. `fd` may be a file, a pipe or a
 * socket, blocking or not; it stays the caller's, and open. After a failure the archive lacks its end.
 *
 * What may be NULL, and what is copied: as there. Blocks, is cut off, and fails as boxlite_box_copy_out(). Any thread.
 *
 * @ingroup copy
 */
boxlite_code boxlite_box_copy_out_tar(boxlite_box *box,
                                      const char *box_path,
                                      int32_t fd,
                                      const boxlite_copy_options *options,
                                      boxlite_call *call,
                                      boxlite_error **error);

/**
 * Reads a whole file of the box, whatever its bytes; the box is started where needed. A file of more than `max_bytes` is
 * refused with BOXLITE_RESOURCE_EXHAUSTED. `box_path` is copied.
 *
 * On success *content is new, and the caller frees it with boxlite_bytes_free(); on failure NULL. Blocks; reports
 * progress of a start; `call` may be NULL. Any thread. Errors, which name the path: BOXLITE_NOT_FOUND;
 * BOXLITE_INVALID_ARGUMENT when it is no regular file, `max_bytes` is negative or an argument is NULL; BOXLITE_STORAGE;
 * BOXLITE_TIMEOUT; BOXLITE_CANCELLED; those of boxlite_box_start().
 *
 * @ingroup copy
 */
boxlite_code boxlite_box_read_file(boxlite_box *box,
                                   const char *box_path,
                                   int64_t max_bytes,
                                   boxlite_call *call,
                                   boxlite_bytes **content,
                                   boxlite_error **error);

/**
 * Makes a file in the box of the `len` bytes at `data` (NULL only when `len` is 0), with these permission bits
 * (BOXLITE_MODE_DEFAULT: 0644), in the place of a file that is there. Missing directories are made; the owner is the
 * box's user. The file has its name only when it is complete.
 *
 * The bytes are copied. Blocks; reports progress of a start; `call` may be NULL. Any thread. Errors, which name the
 * path: BOXLITE_INVALID_ARGUMENT, also when it is a directory; BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED when the
 * box's disk is full; BOXLITE_EXECUTION; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; those of boxlite_box_start().
 *
 * @ingroup copy
 */
boxlite_code boxlite_box_write_file(boxlite_box *box,
                                    const char *box_path,
                                    const void *data,
                                    size_t len,
                                    int32_t mode,
                                    boxlite_call *call,
                                    boxlite_error **error);

/**
 * The bytes: boxlite_bytes_len() of them, any of which may be NUL. Valid until they are freed; NULL when `bytes` is
 * NULL. Any thread; does not block.
 *
 * @ingroup copy
 */
const void *boxlite_bytes_data(const boxlite_bytes *bytes);

/**
 * How many bytes there are; 0 when `bytes` is NULL. Any thread; does not block.
 *
 * @ingroup copy
 */
size_t boxlite_bytes_len(const boxlite_bytes *bytes);

/**
 * Frees bytes. Does nothing when `bytes` is NULL. Any thread; does not block.
 *
 * @ingroup copy
 */
void boxlite_bytes_free(boxlite_bytes *bytes);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BOXLITE_H */
