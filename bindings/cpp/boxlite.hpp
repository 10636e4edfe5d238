// boxlite for C++17: owners of the C API's handles, exceptions for its errors. Every wait, default and rule is the C
// API's (boxlite.h); nothing is decided here.
//
// - Handles are move-only. A destructor only lets go of the handle: it neither stops a box nor waits. Using an object
//   that was moved from throws std::logic_error.
// - A call that fails throws boxlite::error, whose code() is an std::error_code of boxlite::category().
// - Calls that can block take a `call *`, last: its time limit, its progress callback, and cancel() from any thread.
// - A text argument with a NUL byte in it is refused: C would see the part before it only.
#ifndef BOXLITE_HPP
#define BOXLITE_HPP

#include <boxlite.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <vector>

namespace boxlite {

// The codes of boxlite.h, to be compared with error::code().
enum class errc : boxlite_code {
    engine = BOXLITE_ENGINE,
    config = BOXLITE_CONFIG,
    storage = BOXLITE_STORAGE,
    image = BOXLITE_IMAGE,
    portal = BOXLITE_PORTAL,
    network = BOXLITE_NETWORK,
    rpc = BOXLITE_RPC,
    internal = BOXLITE_INTERNAL,
    execution = BOXLITE_EXECUTION,
    unsupported = BOXLITE_UNSUPPORTED,
    not_found = BOXLITE_NOT_FOUND,
    already_exists = BOXLITE_ALREADY_EXISTS,
    invalid_state = BOXLITE_INVALID_STATE,
    database = BOXLITE_DATABASE,
    invalid_argument = BOXLITE_INVALID_ARGUMENT,
    stopped = BOXLITE_STOPPED,
    resource_exhausted = BOXLITE_RESOURCE_EXHAUSTED,
    rpc_transport = BOXLITE_RPC_TRANSPORT,
    metadata_error = BOXLITE_METADATA_ERROR,
    session_reaped = BOXLITE_SESSION_REAPED,
    timeout = BOXLITE_TIMEOUT,
    cancelled = BOXLITE_CANCELLED,
    forked = BOXLITE_FORKED,
    busy = BOXLITE_BUSY,
    panic = BOXLITE_PANIC,
};

inline const std::error_category &category() noexcept
{
    class codes final : public std::error_category {
        const char *name() const noexcept override { return "boxlite"; }
        std::string message(int code) const override { return boxlite_code_name(code); }
    };
    static const codes instance;
    return instance;
}

inline std::error_code make_error_code(errc code) noexcept
{
    return {static_cast<int>(code), category()};
}

namespace detail {
inline std::string text(const char *from)
{
    return from == nullptr ? std::string() : std::string(from);
}
} // namespace detail

class error : public std::runtime_error {
public:
    error(boxlite_code code, const std::string &message, std::string hint, std::string subject)
        : std::runtime_error(message), code_(code), hint_(std::move(hint)), subject_(std::move(subject))
    {
    }
    explicit error(const boxlite_error *from)
        : std::runtime_error(detail::text(boxlite_error_message(from))), code_(boxlite_error_code(from)),
          os_errno_(boxlite_error_os_errno(from)), exit_code_(boxlite_error_exit_code(from)),
          hint_(detail::text(boxlite_error_hint(from))), subject_(detail::text(boxlite_error_subject(from)))
    {
    }

    std::error_code code() const noexcept { return {code_, category()}; }
    const std::string &hint() const noexcept { return hint_; }
    // The path, name or id it is about.
    const std::string &subject() const noexcept { return subject_; }
    int os_errno() const noexcept { return os_errno_; }
    int exit_code() const noexcept { return exit_code_; }

private:
    boxlite_code code_;
    std::int32_t os_errno_ = 0;
    std::int32_t exit_code_ = -1;
    std::string hint_;
    std::string subject_;
};

namespace detail {

// What C reads up to the first NUL; a borrowed pointer.
inline const char *c_str(const std::string &from)
{
    const auto nul = from.find('\0');
    if (nul != std::string::npos) {
        throw error(BOXLITE_INVALID_ARGUMENT, "a text with a NUL byte at offset " + std::to_string(nul),
                    "pass a text without NUL bytes", from.substr(0, nul));
    }
    return from.c_str();
}

inline const char *optional_c_str(const std::string &from)
{
    return from.empty() ? nullptr : c_str(from);
}

template <class Function, class... Arguments> void run(Function function, Arguments... arguments)
{
    boxlite_error *raw = nullptr;
    if (function(arguments..., &raw) != BOXLITE_OK) {
        const std::unique_ptr<boxlite_error, void (*)(boxlite_error *)> cause(raw, boxlite_error_free);
        throw error(cause.get());
    }
}

// In a namespace of its own: classes are made from it, and an unqualified call with one of them as its argument must find
// nothing of the rest here.
namespace handles {
template <class Type, void (*Free)(Type *)> class handle {
public:
    using c_type = Type;
    explicit handle(Type *owned) noexcept : owned_(owned) {}

    // The C handle, still owned by this object.
    Type *get() const
    {
        if (!owned_) {
            throw std::logic_error("a boxlite object that was moved from");
        }
        return owned_.get();
    }

private:
    struct release {
        void operator()(Type *owned) const noexcept { Free(owned); }
    };
    std::unique_ptr<Type, release> owned_;
};
} // namespace handles
using handles::handle;

// Makes a call whose last argument but the error is a new handle.
template <class Handle, class Function, class... Arguments> Handle make(Function function, Arguments... arguments)
{
    typename Handle::c_type *out = nullptr;
    run(function, arguments..., &out);
    return Handle(out);
}

} // namespace detail

// A file descriptor of the program's own, closed with the object. Closing a stdin is not its end: see boxlite.h.
class descriptor {
public:
    explicit descriptor(int fd) noexcept : fd_(fd) {}
    descriptor(descriptor &&other) noexcept : fd_(other.release()) {}
    descriptor &operator=(descriptor &&other) noexcept
    {
        if (this != &other) {
            close();
            fd_ = other.release();
        }
        return *this;
    }
    ~descriptor() { close(); }

    int get() const
    {
        if (fd_ < 0) {
            throw std::logic_error("a descriptor that was moved from or given away");
        }
        return fd_;
    }
    // Gives it away: to asio, say.
    int release() noexcept { return std::exchange(fd_, -1); }

private:
    void close() noexcept
    {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    int fd_;
};

// What a pull or a start is at; lives as long as the callback it is passed to.
class progress {
public:
    explicit progress(const boxlite_progress *from) noexcept : from_(from) {}
    std::string stage() const { return detail::text(boxlite_progress_stage(from_)); }
    std::string reference() const { return detail::text(boxlite_progress_reference(from_)); }
    std::size_t layers() const { return boxlite_progress_layer_len(from_); }
    std::string digest(std::size_t layer) const { return detail::text(boxlite_progress_layer_digest(from_, layer)); }
    std::uint64_t done_bytes(std::size_t layer) const { return boxlite_progress_layer_done_bytes(from_, layer); }
    std::uint64_t total_bytes(std::size_t layer) const { return boxlite_progress_layer_total_bytes(from_, layer); }

private:
    const boxlite_progress *from_;
};

class call : public detail::handle<boxlite_call, boxlite_call_free> {
public:
    call() : handle(detail::make<handle>(boxlite_call_new)) {}

    // From the start of each call; -1 = for ever.
    call &timeout_ms(std::int64_t limit)
    {
        detail::run(boxlite_call_set_timeout_ms, get(), limit);
        return *this;
    }
    // Returns false to cancel. What it throws cancels too, and comes out of the call that it was made in.
    call &on_progress(std::function<bool(const progress &)> function)
    {
        auto fresh = std::make_unique<watcher>();
        fresh->function = std::move(function);
        detail::run(boxlite_call_set_progress, get(), fresh->function ? &trampoline : nullptr,
                    static_cast<void *>(fresh.get()));
        watcher_ = std::move(fresh);
        return *this;
    }
    void cancel() { detail::run(boxlite_call_cancel, get()); }
    void reset() { detail::run(boxlite_call_reset, get()); }

    // Makes a call that takes `control`, and throws what its callback threw.
    template <class Work> static auto with(call *control, Work work) -> decltype(work(nullptr))
    {
        boxlite_call *raw = control == nullptr ? nullptr : control->get();
        try {
            return work(raw);
        } catch (const error &) {
            if (control != nullptr) {
                control->rethrow();
            }
            throw;
        }
    }

private:
    struct watcher {
        std::function<bool(const progress &)> function;
        std::mutex lock;
        std::exception_ptr thrown;
    };
    static std::int32_t trampoline(const boxlite_progress *from, void *user) noexcept
    {
        auto &self = *static_cast<watcher *>(user);
        try {
            return self.function(progress(from)) ? 0 : 1;
        } catch (...) {
            const std::lock_guard<std::mutex> guard(self.lock);
            self.thrown = std::current_exception();
            return 1;
        }
    }
    void rethrow()
    {
        if (watcher_) {
            std::unique_lock<std::mutex> guard(watcher_->lock);
            if (auto thrown = std::exchange(watcher_->thrown, nullptr)) {
                guard.unlock();
                std::rethrow_exception(thrown);
            }
        }
    }
    std::unique_ptr<watcher> watcher_;
};

class exit_status {
public:
    explicit exit_status(const boxlite_exit *from)
        : code(boxlite_exit_code(from)), signal(boxlite_exit_signal(from)), timed_out(boxlite_exit_timed_out(from) != 0),
          oom_killed(boxlite_exit_oom_killed(from) != 0)
    {
    }
    int code;
    int signal;
    bool timed_out;
    bool oom_killed;
};

class exec_result : public detail::handle<boxlite_exec_result, boxlite_exec_result_free> {
public:
    using handle::handle;
    int exit_code() const { return boxlite_exec_result_exit_code(get()); }
    int signal() const { return boxlite_exec_result_signal(get()); }
    bool timed_out() const { return boxlite_exec_result_timed_out(get()) != 0; }
    bool oom_killed() const { return boxlite_exec_result_oom_killed(get()) != 0; }
    // Views that live as long as the result.
    std::string_view out() const { return {boxlite_exec_result_stdout(get()), boxlite_exec_result_stdout_len(get())}; }
    std::uint64_t out_total() const { return boxlite_exec_result_stdout_total(get()); }
    bool out_truncated() const { return boxlite_exec_result_stdout_truncated(get()) != 0; }
    std::string_view err() const { return {boxlite_exec_result_stderr(get()), boxlite_exec_result_stderr_len(get())}; }
    std::uint64_t err_total() const { return boxlite_exec_result_stderr_total(get()); }
    bool err_truncated() const { return boxlite_exec_result_stderr_truncated(get()) != 0; }
    bool output_still_open() const { return boxlite_exec_result_output_still_open(get()) != 0; }
};

// What box::exec throws when it was cut off: all of the command's processes were killed, and it has the output so far.
class exec_error : public error {
public:
    exec_error(const error &cause, exec_result so_far)
        : error(cause), so_far_(std::make_shared<const exec_result>(std::move(so_far)))
    {
    }
    // Lives as long as this error and its copies.
    const exec_result &so_far() const noexcept { return *so_far_; }

private:
    std::shared_ptr<const exec_result> so_far_;
};

class command : public detail::handle<boxlite_command, boxlite_command_free> {
public:
    explicit command(const std::string &program, const std::vector<std::string> &args = {})
        : handle(detail::make<handle>(boxlite_command_new, detail::c_str(program)))
    {
        this->args(args);
    }

    command &arg(const std::string &value)
    {
        detail::run(boxlite_command_add_arg, get(), detail::c_str(value));
        return *this;
    }
    command &args(const std::vector<std::string> &values)
    {
        std::vector<const char *> pointers;
        for (const auto &value : values) {
            pointers.push_back(detail::c_str(value));
        }
        if (!pointers.empty()) {
            detail::run(boxlite_command_add_args, get(), pointers.data(), pointers.size());
        }
        return *this;
    }
    command &env(const std::string &name, const std::string &value)
    {
        detail::run(boxlite_command_set_env, get(), detail::c_str(name), detail::c_str(value));
        return *this;
    }
    command &working_dir(const std::string &path)
    {
        detail::run(boxlite_command_set_working_dir, get(), detail::c_str(path));
        return *this;
    }
    command &user(const std::string &value)
    {
        detail::run(boxlite_command_set_user, get(), detail::c_str(value));
        return *this;
    }
    command &timeout_ms(std::int64_t limit) { return set(boxlite_command_set_timeout_ms, limit); }
    // For box::exec: stdin's bytes, any of them.
    command &input(std::string_view data)
    {
        detail::run(boxlite_command_set_input, get(), static_cast<const void *>(data.data()), data.size());
        return *this;
    }
    command &merge_stderr(bool merge) { return set(boxlite_command_set_merge_stderr, std::int32_t{merge}); }
    command &max_output(std::uint64_t bytes) { return set(boxlite_command_set_max_output, bytes); }
    command &drain_ms(std::int64_t limit) { return set(boxlite_command_set_drain_ms, limit); }
    // BOXLITE_STDIN_*, BOXLITE_OUTPUT_*.
    command &stdin_mode(std::int32_t mode) { return set(boxlite_command_set_stdin, mode); }
    command &stdout_mode(std::int32_t mode) { return set(boxlite_command_set_stdout, mode); }
    command &stderr_mode(std::int32_t mode) { return set(boxlite_command_set_stderr, mode); }
    command &tty(std::int32_t rows, std::int32_t cols)
    {
        detail::run(boxlite_command_set_tty, get(), rows, cols);
        return *this;
    }
    command &limits(std::uint64_t pids, std::uint64_t memory_bytes, std::uint64_t open_files, std::uint64_t cpu_millis)
    {
        detail::run(boxlite_command_set_limits, get(), pids, memory_bytes, open_files, cpu_millis);
        return *this;
    }

private:
    template <class Function, class Value> command &set(Function function, Value value)
    {
        detail::run(function, get(), value);
        return *this;
    }
};

struct stream_state {
    explicit stream_state(const boxlite_stream_state *from)
        : first(boxlite_stream_state_first(from)), total(boxlite_stream_state_total(from)),
          dropped(boxlite_stream_state_dropped(from)), closed(boxlite_stream_state_closed(from) != 0),
          taken_over(boxlite_stream_state_taken_over(from) != 0)
    {
    }
    // Of what was taken through the execution that was asked.
    std::uint64_t first;
    std::uint64_t total;
    std::uint64_t dropped;
    bool closed;
    // Somebody else has taken the stream since.
    bool taken_over;
};

class execution : public detail::handle<boxlite_execution, boxlite_execution_free> {
public:
    using handle::handle;
    std::string id() const { return detail::text(boxlite_execution_id(get())); }
    exit_status wait(call *control = nullptr)
    {
        using owner = detail::handle<boxlite_exit, boxlite_exit_free>;
        return call::with(control, [&](boxlite_call *raw) {
            return exit_status(detail::make<owner>(boxlite_execution_wait, get(), raw).get());
        });
    }
    // A new one each time; readable for ever once the process has ended.
    descriptor exit_fd()
    {
        std::int32_t fd = -1;
        detail::run(boxlite_execution_exit_fd, get(), &fd);
        return descriptor(fd);
    }
    void signal(std::int32_t number, call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) { detail::run(boxlite_execution_signal, get(), number, raw); });
    }
    void kill(call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) { detail::run(boxlite_execution_kill, get(), raw); });
    }
    void resize_tty(std::int32_t rows, std::int32_t cols, call *control = nullptr)
    {
        call::with(control,
                   [&](boxlite_call *raw) { detail::run(boxlite_execution_resize_tty, get(), rows, cols, raw); });
    }
    // `flags`: 0 or BOXLITE_FD_NONBLOCK.
    descriptor take_stdin(std::int32_t flags = 0, call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            std::int32_t fd = -1;
            detail::run(boxlite_execution_take_stdin, get(), flags, raw, &fd);
            return descriptor(fd);
        });
    }
    descriptor take_stdout(std::int32_t flags = 0, std::uint64_t offset = BOXLITE_OFFSET_OLDEST, call *control = nullptr)
    {
        return take(boxlite_execution_take_stdout, flags, offset, control);
    }
    descriptor take_stderr(std::int32_t flags = 0, std::uint64_t offset = BOXLITE_OFFSET_OLDEST, call *control = nullptr)
    {
        return take(boxlite_execution_take_stderr, flags, offset, control);
    }
    descriptor take_tty(std::int32_t flags = 0, std::uint64_t offset = BOXLITE_OFFSET_OLDEST, call *control = nullptr)
    {
        return take(boxlite_execution_take_tty, flags, offset, control);
    }
    // `total_bytes`: how many were written to stdin.
    void close_stdin(std::uint64_t total_bytes, call *control = nullptr)
    {
        call::with(control,
                   [&](boxlite_call *raw) { detail::run(boxlite_execution_close_stdin, get(), total_bytes, raw); });
    }
    // `which`: BOXLITE_STREAM_STDOUT or _STDERR.
    stream_state state(std::int32_t which, call *control = nullptr)
    {
        using owner = detail::handle<boxlite_stream_state, boxlite_stream_state_free>;
        return call::with(control, [&](boxlite_call *raw) {
            return stream_state(detail::make<owner>(boxlite_execution_stream_state, get(), which, raw).get());
        });
    }
    // After the end of a taken stream, of which `received` bytes came: throws if that was a cut.
    void check_complete(std::int32_t which, std::uint64_t received, call *control = nullptr)
    {
        std::string why;
        try {
            const auto now = state(which, control);
            if (now.closed && now.first + received == now.total) {
                return;
            }
            if (now.taken_over) {
                why = ": another taker has taken the stream over";
            } else if (now.closed && now.dropped > 0) {
                why = ": the box has given up output that nobody had taken";
            }
        } catch (const error &unknown) {
            if (unknown.code().value() == BOXLITE_TIMEOUT || unknown.code().value() == BOXLITE_CANCELLED) {
                throw;
            }
            // Nobody can say that it is complete: the box is gone, say.
            why = std::string(": ") + unknown.what();
        }
        throw error(BOXLITE_EXECUTION, "output cut off after " + std::to_string(received) + " bytes" + why,
                    "run the command again", id());
    }

private:
    template <class Function>
    descriptor take(Function function, std::int32_t flags, std::uint64_t offset, call *control)
    {
        return call::with(control, [&](boxlite_call *raw) {
            std::int32_t fd = -1;
            detail::run(function, get(), offset, flags, raw, &fd);
            return descriptor(fd);
        });
    }
};

// What box::executions says of one.
struct execution_info {
    explicit execution_info(const boxlite_execution_info *from)
        : id(detail::text(boxlite_execution_info_id(from))),
          started_at_ms(boxlite_execution_info_started_at_ms(from)), tty(boxlite_execution_info_tty(from) != 0),
          stdin_mode(boxlite_execution_info_stdin(from)), stdout_mode(boxlite_execution_info_stdout(from)),
          stderr_mode(boxlite_execution_info_stderr(from)),
          merge_stderr(boxlite_execution_info_merge_stderr(from) != 0),
          stdin_taken(boxlite_execution_info_stdin_taken(from) != 0),
          stdout_taken(boxlite_execution_info_stdout_taken(from) != 0),
          stderr_taken(boxlite_execution_info_stderr_taken(from) != 0)
    {
        for (std::size_t i = 0; i < boxlite_execution_info_arg_len(from); i++) {
            argv.push_back(detail::text(boxlite_execution_info_arg(from, i)));
        }
        if (const auto *ended = boxlite_execution_info_exit(from)) {
            exit.push_back(exit_status(ended));
        }
    }
    std::string id;
    std::vector<std::string> argv;
    std::int64_t started_at_ms;
    bool tty;
    std::int32_t stdin_mode;  // BOXLITE_STDIN_*
    std::int32_t stdout_mode; // BOXLITE_OUTPUT_*, also a terminal's
    std::int32_t stderr_mode;
    bool merge_stderr; // it has no standard error of its own
    // Somebody is connected to it, or to the terminal.
    bool stdin_taken;
    bool stdout_taken;
    bool stderr_taken;
    // Empty while it runs, else one.
    std::vector<exit_status> exit;
};

// A box's row as it was when it was asked for.
struct info {
    explicit info(const boxlite_info *from)
        : id(detail::text(boxlite_info_id(from))), name(detail::text(boxlite_info_name(from))),
          status(boxlite_info_status(from)), created_at_ms(boxlite_info_created_at_ms(from)),
          updated_at_ms(boxlite_info_updated_at_ms(from)), started_at_ms(boxlite_info_started_at_ms(from)),
          pid(boxlite_info_pid(from)), image(detail::text(boxlite_info_image(from))), cpus(boxlite_info_cpus(from)),
          memory_mib(boxlite_info_memory_mib(from)), disk_size_gb(boxlite_info_disk_size_gb(from)),
          auto_remove(boxlite_info_auto_remove(from) != 0), detach(boxlite_info_detach(from) != 0),
          failure(detail::text(boxlite_info_failure(from))), engine(detail::text(boxlite_info_engine(from)))
    {
        for (std::size_t i = 0; i < boxlite_info_label_len(from); i++) {
            labels.emplace_back(detail::text(boxlite_info_label_key(from, i)),
                                detail::text(boxlite_info_label_value(from, i)));
        }
        for (std::size_t i = 0; i < boxlite_info_stage_len(from); i++) {
            stages_us.emplace_back(detail::text(boxlite_info_stage_name(from, i)), boxlite_info_stage_us(from, i));
        }
    }
    std::string id;
    std::string name;
    std::int32_t status;
    std::int64_t created_at_ms;
    std::int64_t updated_at_ms;
    std::int64_t started_at_ms;
    std::int32_t pid;
    std::string image;
    std::int32_t cpus;
    std::int64_t memory_mib;
    std::int64_t disk_size_gb;
    bool auto_remove;
    bool detach;
    std::string failure;
    std::string engine;
    std::vector<std::pair<std::string, std::string>> labels;
    std::vector<std::pair<std::string, std::int64_t>> stages_us;
};

inline std::string status_name(std::int32_t status)
{
    return detail::text(boxlite_status_name(status));
}

class box_options : public detail::handle<boxlite_box_options, boxlite_box_options_free> {
public:
    box_options() : handle(detail::make<handle>(boxlite_box_options_new)) {}
    box_options &image(const std::string &v) { return set(boxlite_box_options_set_image, detail::c_str(v)); }
    box_options &rootfs_path(const std::string &v) { return set(boxlite_box_options_set_rootfs_path, detail::c_str(v)); }
    box_options &cpus(std::int32_t v) { return set(boxlite_box_options_set_cpus, v); }
    box_options &memory_mib(std::int64_t v) { return set(boxlite_box_options_set_memory_mib, v); }
    box_options &disk_size_gb(std::int64_t v) { return set(boxlite_box_options_set_disk_size_gb, v); }
    box_options &disk_cache(std::int32_t v) { return set(boxlite_box_options_set_disk_cache, v); }
    box_options &working_dir(const std::string &v) { return set(boxlite_box_options_set_working_dir, detail::c_str(v)); }
    box_options &user(const std::string &v) { return set(boxlite_box_options_set_user, detail::c_str(v)); }
    box_options &auto_remove(bool v) { return set(boxlite_box_options_set_auto_remove, std::int32_t{v}); }
    box_options &detach(bool v) { return set(boxlite_box_options_set_detach, std::int32_t{v}); }
    box_options &engine(std::int32_t v) { return set(boxlite_box_options_set_engine, v); }
    box_options &max_lifetime_ms(std::int64_t v) { return set(boxlite_box_options_set_max_lifetime_ms, v); }
    box_options &idle_timeout_ms(std::int64_t v) { return set(boxlite_box_options_set_idle_timeout_ms, v); }
    box_options &pids_max(std::int32_t v) { return set(boxlite_box_options_set_pids_max, v); }
    box_options &cpu_millis(std::int32_t v) { return set(boxlite_box_options_set_cpu_millis, v); }
    box_options &max_open_files(std::int32_t v) { return set(boxlite_box_options_set_max_open_files, v); }
    box_options &env(const std::string &name, const std::string &v)
    {
        return set(boxlite_box_options_set_env, detail::c_str(name), detail::c_str(v));
    }
    box_options &label(const std::string &key, const std::string &v)
    {
        return set(boxlite_box_options_set_label, detail::c_str(key), detail::c_str(v));
    }

private:
    template <class Function, class... Values> box_options &set(Function function, Values... values)
    {
        detail::run(function, get(), values...);
        return *this;
    }
};

// How box::copy_in and its kin copy; what is left out is the C API's default.
struct copy_options {
    bool overwrite = true;
    // Directories are copied, not refused.
    bool recursive = true;
    // What a symbolic link leads to is copied, not the link.
    bool follow_symlinks = false;
    // A directory copied into an existing one keeps its name there.
    bool include_parent = true;
};

// How a box ended.
struct box_end {
    explicit box_end(const boxlite_box_end *from)
        : reason(boxlite_box_end_reason(from)), message(detail::text(boxlite_box_end_message(from)))
    {
    }
    std::int32_t reason; // BOXLITE_END_*
    std::string message;
};

// Figures by name; what is not known is absent.
class metrics : public detail::handle<boxlite_metrics, boxlite_metrics_free> {
public:
    using handle::handle;
    // -1 when there is none of this name.
    std::int64_t value(const std::string &name) const { return boxlite_metrics_value(get(), detail::c_str(name)); }
    std::vector<std::pair<std::string, std::int64_t>> all() const
    {
        std::vector<std::pair<std::string, std::int64_t>> figures;
        for (std::size_t i = 0; i < boxlite_metrics_len(get()); i++) {
            figures.emplace_back(detail::text(boxlite_metrics_name(get(), i)), boxlite_metrics_at(get(), i));
        }
        return figures;
    }
};

class box : public detail::handle<boxlite_box, boxlite_box_free> {
public:
    using handle::handle;
    std::string id() const { return detail::text(boxlite_box_id(get())); }
    std::string name() const { return detail::text(boxlite_box_name(get())); }
    boxlite::info info(call *control = nullptr)
    {
        using owner = detail::handle<boxlite_info, boxlite_info_free>;
        return call::with(control, [&](boxlite_call *raw) {
            return boxlite::info(detail::make<owner>(boxlite_box_info, get(), raw).get());
        });
    }
    void start(call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) { detail::run(boxlite_box_start, get(), raw); });
    }
    void stop(call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) { detail::run(boxlite_box_stop, get(), raw); });
    }
    boxlite::metrics metrics(call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            return detail::make<boxlite::metrics>(boxlite_box_metrics, get(), raw);
        });
    }
    // Until it does not run.
    box_end wait(call *control = nullptr)
    {
        using owner = detail::handle<boxlite_box_end, boxlite_box_end_free>;
        return call::with(control, [&](boxlite_call *raw) {
            return box_end(detail::make<owner>(boxlite_box_wait, get(), raw).get());
        });
    }
    // A new one each time; readable for ever once wait() would return at once.
    descriptor exit_fd()
    {
        std::int32_t fd = -1;
        detail::run(boxlite_box_exit_fd, get(), &fd);
        return descriptor(fd);
    }
    // `which`: BOXLITE_BOX_LOG_*.
    descriptor log_fd(std::int32_t which)
    {
        std::int32_t fd = -1;
        detail::run(boxlite_box_log_fd, get(), which, &fd);
        return descriptor(fd);
    }
    // Runs it to its end; throws exec_error when it was cut off.
    exec_result exec(const command &what, call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            boxlite_exec_result *result = nullptr;
            try {
                detail::run(boxlite_exec, get(), what.get(), raw, &result);
            } catch (const error &cause) {
                if (result == nullptr) {
                    throw;
                }
                throw exec_error(cause, exec_result(result));
            }
            return exec_result(result);
        });
    }
    // Starts it, its streams to be taken.
    execution exec_start(const command &what, call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            return detail::make<execution>(boxlite_box_exec_start, get(), what.get(), raw);
        });
    }
    execution attach(const std::string &id, call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            return detail::make<execution>(boxlite_box_attach, get(), detail::c_str(id), raw);
        });
    }
    std::vector<execution_info> executions(call *control = nullptr)
    {
        using owner = detail::handle<boxlite_execution_list, boxlite_execution_list_free>;
        return call::with(control, [&](boxlite_call *raw) {
            const auto list = detail::make<owner>(boxlite_box_executions, get(), raw);
            std::vector<execution_info> all;
            for (std::size_t i = 0; i < boxlite_execution_list_len(list.get()); i++) {
                all.emplace_back(boxlite_execution_list_at(list.get(), i));
            }
            return all;
        });
    }
    // Between host and box: a file, or a directory with what it holds. Paths may be std::filesystem::path.
    void copy_in(const std::string &host_path, const std::string &box_path, const copy_options &options = {},
                 call *control = nullptr)
    {
        copy(boxlite_box_copy_in, options, control, detail::c_str(host_path), detail::c_str(box_path));
    }
    void copy_out(const std::string &box_path, const std::string &host_path, const copy_options &options = {},
                  call *control = nullptr)
    {
        copy(boxlite_box_copy_out, options, control, detail::c_str(box_path), detail::c_str(host_path));
    }
    // A tar archive from `fd`, which stays the caller's, as it does below.
    void copy_in_tar(int fd, const std::string &box_path, const copy_options &options = {}, call *control = nullptr)
    {
        copy(boxlite_box_copy_in_tar, options, control, std::int32_t{fd}, detail::c_str(box_path));
    }
    void copy_out_tar(const std::string &box_path, int fd, const copy_options &options = {}, call *control = nullptr)
    {
        copy(boxlite_box_copy_out_tar, options, control, detail::c_str(box_path), std::int32_t{fd});
    }
    // A file's bytes, any of them; a longer file is refused.
    std::string read_file(const std::string &box_path, std::int64_t max_bytes, call *control = nullptr)
    {
        using owner = detail::handle<boxlite_bytes, boxlite_bytes_free>;
        return call::with(control, [&](boxlite_call *raw) {
            const auto bytes = detail::make<owner>(boxlite_box_read_file, get(), detail::c_str(box_path), max_bytes, raw);
            return std::string(static_cast<const char *>(boxlite_bytes_data(bytes.get())), boxlite_bytes_len(bytes.get()));
        });
    }
    // `mode`: permission bits.
    void write_file(const std::string &box_path, std::string_view data, std::int32_t mode = BOXLITE_MODE_DEFAULT,
                    call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) {
            detail::run(boxlite_box_write_file, get(), detail::c_str(box_path), static_cast<const void *>(data.data()),
                        data.size(), mode, raw);
        });
    }

private:
    template <class Function, class From, class To>
    void copy(Function function, const copy_options &options, call *control, From from, To to)
    {
        using owner = detail::handle<boxlite_copy_options, boxlite_copy_options_free>;
        const auto how = detail::make<owner>(boxlite_copy_options_new);
        detail::run(boxlite_copy_options_set_overwrite, how.get(), std::int32_t{options.overwrite});
        detail::run(boxlite_copy_options_set_recursive, how.get(), std::int32_t{options.recursive});
        detail::run(boxlite_copy_options_set_follow_symlinks, how.get(), std::int32_t{options.follow_symlinks});
        detail::run(boxlite_copy_options_set_include_parent, how.get(), std::int32_t{options.include_parent});
        call::with(control, [&](boxlite_call *raw) { detail::run(function, get(), from, to, how.get(), raw); });
    }
};

class runtime_options : public detail::handle<boxlite_runtime_options, boxlite_runtime_options_free> {
public:
    runtime_options() : handle(detail::make<handle>(boxlite_runtime_options_new)) {}
    runtime_options &home_dir(const std::string &v) { return set(boxlite_runtime_options_set_home_dir, detail::c_str(v)); }
    runtime_options &runtime_dir(const std::string &v)
    {
        return set(boxlite_runtime_options_set_runtime_dir, detail::c_str(v));
    }
    runtime_options &image_limits(std::uint64_t max_layer_bytes, std::uint64_t max_entries)
    {
        return set(boxlite_runtime_options_set_image_limits, max_layer_bytes, max_entries);
    }
    runtime_options &log_fd(std::int32_t level, int fd) { return set(boxlite_runtime_options_set_log_fd, level, fd); }
    // Bytes on disk for templates; 0 = every box boots.
    runtime_options &template_space(std::int64_t v) { return set(boxlite_runtime_options_set_template_space, v); }
    // Boxes kept ready ahead of being asked for; 0 = none.
    runtime_options &spares(std::int32_t v) { return set(boxlite_runtime_options_set_spares, v); }
    // What `docker login` wrote; empty: none is looked at.
    runtime_options &docker_config(const std::string &v)
    {
        return set(boxlite_runtime_options_set_docker_config, detail::c_str(v));
    }
    // Asked before the registry: "host", "host:port", or either after "http://" or "https://".
    runtime_options &registry_mirror(const std::string &registry, const std::string &mirror)
    {
        return set(boxlite_runtime_options_add_registry_mirror, detail::c_str(registry), detail::c_str(mirror));
    }
    // PEM, trusted beside the system's.
    runtime_options &ca_file(const std::string &v) { return set(boxlite_runtime_options_add_ca_file, detail::c_str(v)); }
    runtime_options &engine(std::int32_t v) { return set(boxlite_runtime_options_set_engine, v); }
    runtime_options &registry(const std::string &host, std::int32_t transport)
    {
        return set(boxlite_runtime_options_add_registry, detail::c_str(host), transport);
    }
    runtime_options &registry_search(const std::string &host, bool v)
    {
        return set(boxlite_runtime_options_set_registry_search, detail::c_str(host), std::int32_t{v});
    }
    runtime_options &registry_skip_verify(const std::string &host, bool v)
    {
        return set(boxlite_runtime_options_set_registry_skip_verify, detail::c_str(host), std::int32_t{v});
    }
    runtime_options &registry_basic_auth(const std::string &host, const std::string &user, const std::string &password)
    {
        return set(boxlite_runtime_options_set_registry_basic_auth, detail::c_str(host), detail::c_str(user),
                   detail::c_str(password));
    }
    runtime_options &registry_bearer_auth(const std::string &host, const std::string &token)
    {
        return set(boxlite_runtime_options_set_registry_bearer_auth, detail::c_str(host), detail::c_str(token));
    }

private:
    template <class Function, class... Values> runtime_options &set(Function function, Values... values)
    {
        detail::run(function, get(), values...);
        return *this;
    }
};

// An image in the home's store when it was asked for.
struct image {
    explicit image(const boxlite_image *from)
        : reference(detail::text(boxlite_image_reference(from))), repository(detail::text(boxlite_image_repository(from))),
          tag(detail::text(boxlite_image_tag(from))), digest(detail::text(boxlite_image_digest(from))),
          config_digest(detail::text(boxlite_image_config_digest(from))), size_bytes(boxlite_image_size_bytes(from)),
          stored_at_ms(boxlite_image_stored_at_ms(from))
    {
        for (std::size_t i = 0; i < boxlite_image_layer_len(from); i++) {
            layers.push_back(detail::text(boxlite_image_layer_digest(from, i)));
        }
    }
    std::string reference;
    std::string repository;
    std::string tag;
    std::string digest;
    std::string config_digest;
    std::uint64_t size_bytes;
    std::int64_t stored_at_ms;
    std::vector<std::string> layers;
};

struct pruned {
    std::int32_t kind; // BOXLITE_PRUNE_*
    std::string name;
    std::uint64_t bytes;
};

struct prune_report {
    std::vector<pruned> items;
    std::uint64_t total_bytes;
};

struct check_row {
    std::string name;
    std::int32_t status; // BOXLITE_CHECK_*
    std::string detail;
    std::string remedy;
};

struct system_report {
    std::vector<check_row> rows;
    std::string json;
};

struct repaired_box {
    std::string id;
    std::string name;
    std::int32_t outcome; // BOXLITE_REPAIR_*
    std::string detail;
};

struct repair_report {
    std::vector<repaired_box> boxes;
    std::vector<std::string> kept_paths;
};

class runtime : public detail::handle<boxlite_runtime, boxlite_runtime_free> {
public:
    explicit runtime(const runtime_options &options, call *control = nullptr)
        : handle(call::with(control, [&](boxlite_call *raw) {
              return detail::make<handle>(boxlite_runtime_new_within, options.get(), raw);
          }))
    {
    }

    // `name` may be empty.
    box create(const box_options &options, const std::string &name = {}, call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            return detail::make<box>(boxlite_create, get(), options.get(), detail::optional_c_str(name), raw);
        });
    }
    // The box with this name, and whether this call created it.
    std::pair<box, bool> open_or_create(const box_options &options, const std::string &name, call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            std::int32_t created = 0;
            auto had = detail::make<box>(boxlite_get_or_create, get(), options.get(), detail::optional_c_str(name), raw,
                                         &created);
            return std::pair<box, bool>(std::move(had), created != 0);
        });
    }
    box open(const std::string &id_or_name, call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            return detail::make<box>(boxlite_get, get(), detail::c_str(id_or_name), raw);
        });
    }
    void remove(const std::string &id_or_name, bool force = false, call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) {
            detail::run(boxlite_remove, get(), detail::c_str(id_or_name), std::int32_t{force}, raw);
        });
    }
    // The boxes with all of `labels`.
    std::vector<info> list(const std::vector<std::pair<std::string, std::string>> &labels = {}, call *control = nullptr)
    {
        using filter = detail::handle<boxlite_list_options, boxlite_list_options_free>;
        using owner = detail::handle<boxlite_info_list, boxlite_info_list_free>;
        const auto options = detail::make<filter>(boxlite_list_options_new);
        for (const auto &[key, value] : labels) {
            detail::run(boxlite_list_options_add_label, options.get(), detail::c_str(key), detail::c_str(value));
        }
        return call::with(control, [&](boxlite_call *raw) {
            const auto list = detail::make<owner>(boxlite_list, get(), options.get(), raw);
            std::vector<info> all;
            for (std::size_t i = 0; i < boxlite_info_list_len(list.get()); i++) {
                all.emplace_back(boxlite_info_list_at(list.get(), i));
            }
            return all;
        });
    }
    // Fetches what the store lacks of it, ahead of the boxes that want it.
    image pull(const std::string &reference, call *control = nullptr)
    {
        return ask_image(boxlite_image_pull, reference, control);
    }
    // As stored.
    image find_image(const std::string &reference, call *control = nullptr)
    {
        return ask_image(boxlite_image_get, reference, control);
    }
    std::vector<image> images(call *control = nullptr)
    {
        using owner = detail::handle<boxlite_image_list, boxlite_image_list_free>;
        return call::with(control, [&](boxlite_call *raw) {
            const auto list = detail::make<owner>(boxlite_runtime_images, get(), raw);
            std::vector<image> all;
            for (std::size_t i = 0; i < boxlite_image_list_len(list.get()); i++) {
                all.emplace_back(boxlite_image_list_at(list.get(), i));
            }
            return all;
        });
    }
    void remove_image(const std::string &reference, bool force = false, call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) {
            detail::run(boxlite_image_remove, get(), detail::c_str(reference), std::int32_t{force}, raw);
        });
    }
    // Deletes what no box needs, or only says what that is.
    prune_report prune(bool dry_run, call *control = nullptr)
    {
        using owner = detail::handle<boxlite_prune, boxlite_prune_free>;
        return call::with(control, [&](boxlite_call *raw) {
            const auto report = detail::make<owner>(boxlite_runtime_prune, get(), std::int32_t{dry_run}, raw);
            prune_report all{{}, boxlite_prune_total_bytes(report.get())};
            for (std::size_t i = 0; i < boxlite_prune_len(report.get()); i++) {
                all.items.push_back({boxlite_prune_kind(report.get(), i),
                                     detail::text(boxlite_prune_name(report.get(), i)),
                                     boxlite_prune_bytes(report.get(), i)});
            }
            return all;
        });
    }
    void shutdown(std::int64_t grace_ms, call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) { detail::run(boxlite_runtime_shutdown, get(), grace_ms, raw); });
    }
    boxlite::metrics metrics(call *control = nullptr)
    {
        return call::with(control, [&](boxlite_call *raw) {
            return detail::make<boxlite::metrics>(boxlite_runtime_metrics, get(), raw);
        });
    }
    // Makes the template that boxes of this size are cloned from.
    void prepare(const box_options &options, call *control = nullptr)
    {
        call::with(control, [&](boxlite_call *raw) { detail::run(boxlite_runtime_prepare, get(), options.get(), raw); });
    }
    system_report system_check(call *control = nullptr)
    {
        using owner = detail::handle<boxlite_system_check, boxlite_system_check_free>;
        return call::with(control, [&](boxlite_call *raw) {
            const auto check = detail::make<owner>(boxlite_runtime_system_check, get(), raw);
            system_report report{{}, detail::text(boxlite_system_check_json(check.get()))};
            for (std::size_t i = 0; i < boxlite_system_check_len(check.get()); i++) {
                report.rows.push_back({detail::text(boxlite_system_check_name(check.get(), i)),
                                       boxlite_system_check_status(check.get(), i),
                                       detail::text(boxlite_system_check_detail(check.get(), i)),
                                       detail::text(boxlite_system_check_remedy(check.get(), i))});
            }
            return report;
        });
    }
    // Makes a damaged database of the home anew; no runtime may be open on it.
    static repair_report repair(const runtime_options &options, call *control = nullptr)
    {
        using owner = detail::handle<boxlite_repair, boxlite_repair_free>;
        const auto from = call::with(control, [&](boxlite_call *raw) {
            return detail::make<owner>(boxlite_runtime_repair_within, options.get(), raw);
        });
        repair_report report;
        for (std::size_t i = 0; i < boxlite_repair_len(from.get()); i++) {
            report.boxes.push_back({detail::text(boxlite_repair_id(from.get(), i)),
                                    detail::text(boxlite_repair_name(from.get(), i)),
                                    boxlite_repair_outcome(from.get(), i),
                                    detail::text(boxlite_repair_detail(from.get(), i))});
        }
        for (std::size_t i = 0; i < boxlite_repair_kept_len(from.get()); i++) {
            report.kept_paths.push_back(detail::text(boxlite_repair_kept_path(from.get(), i)));
        }
        return report;
    }

private:
    template <class Function> image ask_image(Function function, const std::string &reference, call *control)
    {
        using owner = detail::handle<boxlite_image, boxlite_image_free>;
        return call::with(control, [&](boxlite_call *raw) {
            return image(detail::make<owner>(function, get(), detail::c_str(reference), raw).get());
        });
    }
};

// The library's version, and the ABI's, which is BOXLITE_ABI_VERSION of the header it was built with.
inline std::string version()
{
    return detail::text(boxlite_version());
}
inline std::int32_t abi_version()
{
    return boxlite_abi_version();
}

} // namespace boxlite

template <> struct std::is_error_code_enum<boxlite::errc> : std::true_type {};

#endif
