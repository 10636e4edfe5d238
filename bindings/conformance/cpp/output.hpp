// The streams of a command that runs, as descriptors.
#pragma once

#include "answer.hpp"

#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

namespace conformance {

// An output that goes to a file as it comes.
class output {
public:
    output(boxlite::execution &execution, boxlite::descriptor fd, std::int32_t which, const std::string &path);
    // False at the end.
    bool read_some();
    void read_until(const std::string &text);
    void read_at_least(std::uint64_t bytes);
    void read_all();
    void finish(answer &to, const std::string &key);
    int fd() const { return fd_.get(); }

private:
    boxlite::execution &execution_;
    boxlite::descriptor fd_;
    std::int32_t which_;
    std::ofstream file_;
    std::string seen_;
    std::uint64_t received_ = 0;
};

// To a command that may read no more of it.
void send_all(int fd, std::string_view data);

} // namespace conformance
