#include "output.hpp"

#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace conformance {

output::output(boxlite::execution &execution, boxlite::descriptor fd, std::int32_t which, const std::string &path)
    : execution_(execution), fd_(std::move(fd)), which_(which), file_(path, std::ios::binary)
{
}

bool output::read_some()
{
    char chunk[65536];
    const auto count = ::read(fd_.get(), chunk, sizeof chunk);
    if (count <= 0) {
        return false;
    }
    received_ += static_cast<std::uint64_t>(count);
    if (seen_.size() < 4096) {
        seen_.append(chunk, static_cast<std::size_t>(count));
    }
    file_.write(chunk, count);
    return true;
}

void output::read_until(const std::string &text)
{
    while (seen_.find(text) == std::string::npos && read_some()) {
    }
}

void output::read_at_least(std::uint64_t bytes)
{
    while (received_ < bytes && read_some()) {
    }
}

void output::read_all()
{
    while (read_some()) {
    }
}

void output::finish(answer &to, const std::string &key)
{
    to.attempt(key, [&] { execution_.check_complete(which_, received_); });
    file_.close();
}

void send_all(int fd, std::string_view data)
{
    for (ssize_t count; !data.empty() && (count = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL)) > 0;) {
        data.remove_prefix(static_cast<std::size_t>(count));
    }
}

} // namespace conformance
