// An answer of the conformance driver in C++: what was seen.
#pragma once

#include <boxlite.hpp>

#include <fstream>
#include <map>
#include <string>
#include <string_view>

namespace conformance {

// Values are JSON.
struct answer {
    std::map<std::string, std::string> values;

    void text(const std::string &key, const std::string &value) { values[key] = '"' + value + '"'; }
    void flag(const std::string &key, bool value) { values[key] = value ? "true" : "false"; }
    template <class Number> void number(const std::string &key, Number value) { values[key] = std::to_string(value); }
    void exit(int code, int signal, bool timed_out, bool oom_killed)
    {
        number("exit", code);
        number("signal", signal);
        flag("timed_out", timed_out);
        flag("oom_killed", oom_killed);
    }
    // What a failure of `work` is.
    template <class Work> bool attempt(const std::string &key, Work work)
    {
        try {
            work();
            return true;
        } catch (const boxlite::error &error) {
            text(key, error.code().message());
            if (error.exit_code() >= 0) {
                number("exit_code", error.exit_code());
            }
            return false;
        }
    }
    void wait(boxlite::execution &execution)
    {
        attempt("wait", [&] {
            const auto end = execution.wait();
            exit(end.code, end.signal, end.timed_out, end.oom_killed);
        });
    }
};

// An output that is there as a whole.
inline void write_file(const std::string &path, std::string_view data)
{
    std::ofstream(path, std::ios::binary).write(data.data(), static_cast<std::streamsize>(data.size()));
}

} // namespace conformance
