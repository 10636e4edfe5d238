// A command that runs to its end in one call, and what may happen to it meanwhile.
#include "driver.hpp"

#include <chrono>
#include <thread>

namespace conformance {

namespace {

// A thread that is waited for, however its scope is left.
struct joined {
    std::thread thread;

    ~joined()
    {
        if (thread.joinable()) {
            thread.join();
        }
    }
};

} // namespace

void driver::run(const request &r, answer &a)
{
    auto command = r.command();
    command.input(r.input());
    boxlite::call call;
    call.timeout_ms(r.number("deadline_ms", -1));
    const auto outputs = [&](const boxlite::exec_result &result) {
        write_file(r.text("out"), result.out());
        write_file(r.text("err"), result.err());
    };
    joined killer;
    if (r.has("kill_when")) {
        killer.thread = std::thread([&] { kill_when(r.text("kill_when")); });
    }
    try {
        const auto result = box_.exec(command, &call);
        a.exit(result.exit_code(), result.signal(), result.timed_out(), result.oom_killed());
        a.flag("open", result.output_still_open());
        outputs(result);
    } catch (const boxlite::exec_error &cut_off) {
        outputs(cut_off.so_far());
        throw;
    }
}

// Kills the box's shim once there is this file in the box.
void driver::kill_when(const std::string &path)
{
    const auto missing = [&] {
        try {
            box_.read_file(path, 1);
            return false;
        } catch (const boxlite::error &error) {
            return error.code() == boxlite::errc::not_found;
        }
    };
    while (missing()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    kill_shim();
}

} // namespace conformance
