// What each op is: itself, where one call does it.
#include "driver.hpp"

#include <csignal>

namespace conformance {

driver::driver(const std::string &home, const std::string &image, const std::string &registry)
    : runtime_(boxlite::runtime_options().home_dir(home).registry(registry, BOXLITE_TRANSPORT_HTTP)),
      box_(runtime_.create(options(image), "shared"))
{
}

answer driver::perform(const request &r)
{
    answer a;
    // What a command is refused for, or what ends an op that has no word for it.
    a.attempt("error", [&] { perform(r, a); });
    return a;
}

void driver::shut_down() { runtime_.shutdown(5000); }

boxlite::box_options driver::options(const std::string &image, std::int64_t memory_mib)
{
    boxlite::box_options options;
    options.image(image).memory_mib(memory_mib);
    return options;
}

void driver::perform(const request &r, answer &a)
{
    boxlite::copy_options copying;
    copying.overwrite = r.number("overwrite", 1) != 0;
    if (r.op == "run") {
        run(r, a);
    } else if (r.op == "stream") {
        stream(r, a);
    } else if (r.op == "untaken") {
        untaken(r, a);
    } else if (r.op == "attach") {
        attach(r, a);
    } else if (r.op == "start") {
        start(r, a);
    } else if (r.op == "create") {
        runtime_.create(options(r.text("image"), r.number("memory_mib", 256)), r.text("name"));
    } else if (r.op == "get") {
        runtime_.open(r.text("name"));
    } else if (r.op == "remove") {
        runtime_.remove(r.text("name"), r.number("force") != 0);
    } else if (r.op == "copy_in") {
        box_.copy_in(r.text("host"), r.text("box"), copying);
    } else if (r.op == "copy_out") {
        box_.copy_out(r.text("box"), r.text("host"), copying);
    } else if (r.op == "read_file") {
        write_file(r.text("out"), box_.read_file(r.text("box"), r.number("max", 1 << 20)));
    } else if (r.op == "write_file") {
        box_.write_file(r.text("box"), r.input());
    } else if (r.op == "stop") {
        box_.stop();
    } else if (r.op == "reopen") {
        box_ = runtime_.open(box_.id());
    } else if (r.op == "rounds") {
        rounds(r, a);
    } else if (r.op == "measure") {
        measure(a);
    } else {
        a.text("unknown", r.op);
    }
}

void driver::kill_shim() { ::kill(box_.info().pid, SIGKILL); }

} // namespace conformance
