// Commands whose streams are taken: as they come, when nobody took them, by another one who attaches.
#include "driver.hpp"
#include "output.hpp"

#include <optional>
#include <sys/socket.h>
#include <thread>

namespace conformance {

void driver::stream(const request &r, answer &a)
{
    const bool tty = r.has("tty");
    auto command = r.command();
    command.stdout_mode(BOXLITE_OUTPUT_PIPE);
    if (!tty) {
        command.stderr_mode(BOXLITE_OUTPUT_PIPE);
    }
    auto execution = box_.exec_start(command);
    std::optional<boxlite::descriptor> in;
    std::optional<output> err;
    std::thread feeder, reader;
    output out(execution, tty ? execution.take_tty() : execution.take_stdout(), BOXLITE_STREAM_STDOUT, r.text("out"));
    if (!tty) {
        in = execution.take_stdin();
        err.emplace(execution, execution.take_stderr(), BOXLITE_STREAM_STDERR, r.text("err"));
        feeder = std::thread([&] {
            send_all(in->get(), r.input());
            ::shutdown(in->get(), SHUT_WR);
        });
        reader = std::thread([&] { err->read_all(); });
    }
    out.read_until(r.text("until"));
    out.read_at_least(static_cast<std::uint64_t>(r.number("shim_after")));
    if (r.has("shim_after")) {
        kill_shim();
    }
    if (r.has("resize")) {
        a.attempt("resize", [&] { execution.resize_tty(r.pair("resize").first, r.pair("resize").second); });
    }
    if (tty) {
        send_all(out.fd(), r.text("type"));
    }
    if (r.has("signal")) {
        a.attempt("sent", [&] { execution.signal(static_cast<std::int32_t>(r.number("signal"))); });
    }
    if (r.has("kill")) {
        a.attempt("sent", [&] { execution.kill(); });
    }
    out.read_all();
    if (!tty) {
        reader.join();
        feeder.join();
        err->finish(a, "stderr");
    }
    out.finish(a, "stdout");
    a.wait(execution);
}

// Lets a command write what nobody takes, waits, and takes what is left.
void driver::untaken(const request &r, answer &a)
{
    auto command = r.command();
    auto execution = box_.exec_start(command.stdin_mode(BOXLITE_STDIN_NULL));
    a.wait(execution);
    const auto state = execution.state(BOXLITE_STREAM_STDOUT);
    a.number("total", state.total);
    a.number("dropped", state.dropped);
    a.flag("closed", state.closed);
    output out(execution, execution.take_stdout(), BOXLITE_STREAM_STDOUT, r.text("out"));
    out.read_all();
    out.finish(a, "stdout");
}

// One starts a command and talks to it, another takes it up by its id and talks on.
void driver::attach(const request &r, answer &a)
{
    auto command = r.command();
    auto execution = box_.exec_start(command.stdin_mode(BOXLITE_STDIN_KEEP).stdout_mode(BOXLITE_OUTPUT_PIPE));
    const auto first = r.text("first"), second = r.text("second");
    const auto offset = static_cast<std::uint64_t>(r.number("offset"));
    output before(execution, execution.take_stdout(), BOXLITE_STREAM_STDOUT, r.text("err"));
    {
        const auto in = execution.take_stdin();
        send_all(in.get(), first);
        before.read_at_least(offset);
    }
    auto attached = runtime_.open(box_.id()).attach(execution.id());
    const auto in = attached.take_stdin();
    output after(attached, attached.take_stdout(0, offset), BOXLITE_STREAM_STDOUT, r.text("out"));
    before.read_all();
    before.finish(a, "taken_over");
    send_all(in.get(), second);
    attached.close_stdin(first.size() + second.size());
    after.read_all();
    after.finish(a, "stdout");
    a.wait(attached);
}

} // namespace conformance
