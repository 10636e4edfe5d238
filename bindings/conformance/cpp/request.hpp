// A request of the conformance driver in C++, and the command that it asks for.
#pragma once

#include <boxlite.hpp>

#include <string>
#include <utility>
#include <vector>

namespace conformance {

struct request {
    std::string op;
    std::vector<std::pair<std::string, std::string>> fields;

    // "op\tkey=hex\t..."
    explicit request(const std::string &line);

    bool has(const std::string &key) const { return find(key) != nullptr; }
    std::string text(const std::string &key) const { return has(key) ? *find(key) : std::string(); }
    long long number(const std::string &key, long long otherwise = 0) const
    {
        return has(key) ? std::stoll(*find(key)) : otherwise;
    }
    std::pair<int, int> pair(const std::string &key) const;
    std::string input() const;
    boxlite::command command() const;

private:
    const std::string *find(const std::string &key) const;
};

} // namespace conformance
