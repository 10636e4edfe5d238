// asio IMAGE: commands of a box in an event loop, on one thread: their streams are sockets of asio's, and their ends are
// waited for as descriptors. Nothing polls, and no thread waits.
//
// Starting a box or a command still waits for it: a program that must not do even that leaves it to a thread of its own.
#include <asio.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <boxlite.hpp>
#include <iostream>

using namespace asio::experimental::awaitable_operators;
using stream = asio::local::stream_protocol::socket;

// Takes a descriptor from boxlite: asio closes it.
stream to_stream(const asio::any_io_executor &loop, boxlite::descriptor from)
{
    return {loop, asio::local::stream_protocol(), from.release()};
}

asio::awaitable<void> write_all(stream to, std::string input)
{
    std::error_code refused;
    co_await asio::async_write(to, asio::buffer(input), asio::redirect_error(asio::use_awaitable, refused));
    // The command's end of file. One that reads no more has closed it already.
    to.shutdown(stream::shutdown_send, refused);
}

// Prints a stream by lines, and returns how many bytes came.
asio::awaitable<std::uint64_t> print_lines(std::string name, stream from)
{
    std::string pending;
    std::uint64_t received = 0;
    for (std::error_code ended;;) {
        const auto length = co_await asio::async_read_until(from, asio::dynamic_buffer(pending), '\n',
                                                            asio::redirect_error(asio::use_awaitable, ended));
        if (ended) {
            received += pending.size();
            break;
        }
        std::cout << name << ": " << pending.substr(0, length) << std::flush;
        received += length;
        pending.erase(0, length);
    }
    if (!pending.empty()) {
        std::cout << name << ": " << pending << std::endl;
    }
    co_return received;
}

asio::awaitable<void> until_ended(boxlite::execution &of)
{
    asio::posix::stream_descriptor ended(co_await asio::this_coro::executor, of.exit_fd().release());
    co_await ended.async_wait(asio::posix::stream_descriptor::wait_read, asio::use_awaitable);
}

asio::awaitable<void> follow(boxlite::box &box, std::string name, boxlite::command command, std::string input)
{
    const auto loop = co_await asio::this_coro::executor;
    auto execution = box.exec_start(command.stdout_mode(BOXLITE_OUTPUT_PIPE).stdin_mode(BOXLITE_STDIN_ONCE));
    auto in = to_stream(loop, execution.take_stdin(BOXLITE_FD_NONBLOCK));
    auto out = to_stream(loop, execution.take_stdout(BOXLITE_FD_NONBLOCK));
    const auto received = co_await (write_all(std::move(in), std::move(input)) && print_lines(name, std::move(out)) &&
                                    until_ended(execution));
    // All of it came, or this throws; both answer at once now.
    execution.check_complete(BOXLITE_STREAM_STDOUT, received);
    std::cout << name << " exit code " << execution.wait().code << std::endl;
}

int main(int argc, char **argv)
try {
    boxlite::runtime runtime{boxlite::runtime_options()};
    auto box = runtime.create(boxlite::box_options().image(argc > 1 ? argv[1] : "alpine").auto_remove(true));
    box.start();

    asio::io_context loop;
    std::exception_ptr failure;
    const auto done = [&](std::exception_ptr thrown) { failure = failure ? failure : thrown; };
    const auto script = [](const char *text) { return boxlite::command("sh", {"-c", text}); };
    asio::co_spawn(loop, follow(box, "steps", script("for i in 1 2 3; do echo step $i; sleep 0.3; done"), ""), done);
    asio::co_spawn(loop, follow(box, "sorted", boxlite::command("sort"), "pear\napple\nfig\n"), done);
    asio::co_spawn(loop, follow(box, "failing", script("echo before; exit 3"), ""), done);
    loop.run();

    runtime.shutdown(-2);
    if (failure) {
        std::rethrow_exception(failure);
    }
} catch (const boxlite::error &error) {
    std::cerr << "asio: " << error.what() << '\n' << error.hint() << std::endl;
    return 1;
}
