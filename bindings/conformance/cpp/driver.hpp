// The conformance driver in C++: performs what it is told over stdin, and prints what it saw. It expects nothing; the
// requests and answers are told in ../README.md.
#pragma once

#include "answer.hpp"
#include "request.hpp"

#include <boxlite.hpp>

#include <cstdint>
#include <string>

namespace conformance {

class driver {
public:
    driver(const std::string &home, const std::string &image, const std::string &registry);
    answer perform(const request &r);
    void shut_down();

private:
    static boxlite::box_options options(const std::string &image, std::int64_t memory_mib = 256);

    void perform(const request &r, answer &a);
    void kill_shim();

    // commands.cpp
    void run(const request &r, answer &a);
    void kill_when(const std::string &path);

    // streams.cpp
    void stream(const request &r, answer &a);
    void untaken(const request &r, answer &a);
    void attach(const request &r, answer &a);

    // start.cpp
    void start(const request &r, answer &a);

    // leaks.cpp
    void rounds(const request &r, answer &a);
    static void measure(answer &a);

    boxlite::runtime runtime_;
    // The one named `shared`.
    boxlite::box box_;
};

} // namespace conformance
