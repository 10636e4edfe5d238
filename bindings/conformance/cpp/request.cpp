#include "request.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace conformance {

request::request(const std::string &line)
{
    for (std::size_t at = 0; at <= line.size();) {
        const auto end = std::min(line.find('\t', at), line.size());
        const auto word = line.substr(at, end - at);
        const auto equals = word.find('=');
        if (at == 0) {
            op = word;
        } else {
            std::string value;
            for (auto hex = equals + 1; hex < word.size(); hex += 2) {
                value += static_cast<char>(std::stoi(word.substr(hex, 2), nullptr, 16));
            }
            fields.emplace_back(word.substr(0, equals), value);
        }
        at = end + 1;
    }
}

std::pair<int, int> request::pair(const std::string &key) const
{
    const auto value = text(key);
    return {std::stoi(value), std::stoi(value.substr(value.find(',') + 1))};
}

std::string request::input() const
{
    std::ifstream file(text("input"), std::ios::binary);
    return has("input") ? std::string(std::istreambuf_iterator<char>(file), {}) : std::string();
}

boxlite::command request::command() const
{
    std::vector<std::string> words;
    for (const auto &[key, value] : fields) {
        if (key == "arg") {
            words.push_back(value);
        }
    }
    boxlite::command command(words.at(0), {words.begin() + 1, words.end()});
    for (const auto &[key, value] : fields) {
        if (key == "env") {
            command.env(value.substr(0, value.find('=')), value.substr(value.find('=') + 1));
        } else if (key == "cwd") {
            command.working_dir(value);
        } else if (key == "user") {
            command.user(value);
        } else if (key == "timeout_ms") {
            command.timeout_ms(number(key));
        } else if (key == "merge") {
            command.merge_stderr(true);
        } else if (key == "memory") {
            command.limits(0, static_cast<std::uint64_t>(number(key)), 0, 0);
        } else if (key == "drain_ms") {
            command.drain_ms(number(key));
        } else if (key == "tty") {
            command.tty(pair(key).first, pair(key).second);
        }
    }
    return command;
}

const std::string *request::find(const std::string &key) const
{
    for (const auto &[name, value] : fields) {
        if (name == key) {
            return &value;
        }
    }
    return nullptr;
}

} // namespace conformance
