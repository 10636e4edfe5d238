// Many commands, and what they have left in this process.
#include "driver.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace conformance {

namespace {

long entries(const char *dir)
{
    return static_cast<long>(std::distance(std::filesystem::directory_iterator(dir), {}));
}

} // namespace

void driver::rounds(const request &r, answer &a)
{
    const auto command = r.command();
    int failed = 0;
    for (auto left = r.number("count"); left > 0; left--) {
        failed += box_.exec(command).exit_code() != 0;
    }
    a.number("failed", failed);
}

void driver::measure(answer &a)
{
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmRSS:", 0) == 0) {
            a.number("resident_kib", std::stol(line.substr(6)));
        }
    }
    a.number("descriptors", entries("/proc/self/fd"));
    a.number("threads", entries("/proc/self/task"));
}

} // namespace conformance
