// The C++ binding on one real box, which the cases use one after another.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "boxlite.hpp"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

// Anything that takes longer has gone wrong.
constexpr int patience_ms = 60000;

static_assert(!std::is_copy_constructible_v<boxlite::box> && std::is_nothrow_move_constructible_v<boxlite::box>);
static_assert(!std::is_copy_constructible_v<boxlite::descriptor>);

// A program's own functions may have any names: an unqualified call with an object of boxlite's finds them alone.
[[maybe_unused]] int run(const boxlite::box &, const std::string &) { return 0; }
static_assert(std::is_same_v<decltype(run(std::declval<boxlite::box &>(), "true")), int>);

std::string read_all(const boxlite::descriptor &fd)
{
    std::string all;
    char part[65536];
    for (ssize_t n; (n = ::read(fd.get(), part, sizeof part)) > 0;) {
        all.append(part, static_cast<std::size_t>(n));
    }
    return all;
}

template <class Work> std::error_code code_of(Work work)
{
    try {
        work();
    } catch (const boxlite::error &e) {
        CHECK(*e.what() != '\0');
        CHECK(!e.hint().empty());
        return e.code();
    }
    return {};
}

// What the cases share.
struct world {
    const char *image;
    boxlite::runtime runtime;
    boxlite::box_options options;
    boxlite::box box;
    // Beside the home's own files.
    std::filesystem::path dir;
};

world *here;

TEST_CASE("a box is created, and what a callback throws comes out of its start")
{
    CHECK(!here->runtime.system_check().rows.empty());
    CHECK(boxlite::abi_version() == BOXLITE_ABI_VERSION);
    CHECK(!boxlite::version().empty());
    CHECK(here->box.name() == "first");
    CHECK(here->runtime.list({{"a", "b"}}).size() == 1);
    CHECK(here->runtime.list({{"a", "c"}}).empty());

    boxlite::call call;
    call.on_progress([](const boxlite::progress &) -> bool { throw std::out_of_range("from the callback"); });
    CHECK_THROWS_AS(here->box.start(&call), std::out_of_range);
}

TEST_CASE("commands run to their end")
{
    boxlite::box &box = here->box;
    const std::string bytes("\0\xff\n", 3);
    auto echo = box.exec(boxlite::command("cat").input(bytes));
    CHECK(echo.exit_code() == 0);
    CHECK(echo.out() == bytes);
    CHECK(echo.out_total() == 3);
    CHECK(!echo.out_truncated());
    auto both = box.exec(boxlite::command("sh", {"-c", "echo $A; pwd; echo no >&2; exit 3"}).env("A", "\xff").working_dir("/tmp"));
    CHECK(both.exit_code() == 3);
    CHECK(both.out() == "\xff\n/tmp\n");
    CHECK(both.err() == "no\n");
    CHECK(box.exec(boxlite::command("sleep", {"600"}).timeout_ms(100)).timed_out());

    try {
        box.exec(boxlite::command("no-such-program"));
        FAIL("it did not throw");
    } catch (const boxlite::error &e) {
        CHECK(e.exit_code() == 127);
        CHECK(!e.hint().empty());
    }
    CHECK(code_of([&] { boxlite::command("sh").arg(std::string("a\0b", 3)); }) == boxlite::errc::invalid_argument);

    // A machine that is busy may need more time for a command to say something.
    std::string said;
    for (int limit_ms = 1000; said.empty() && limit_ms < 60000; limit_ms *= 2) {
        boxlite::call hurried;
        try {
            box.exec(boxlite::command("sh", {"-c", "echo so far; exec sleep 600"}), &hurried.timeout_ms(limit_ms));
            FAIL("it did not throw");
        } catch (const boxlite::exec_error &e) {
            CHECK(e.code() == boxlite::errc::timeout);
            said = e.so_far().out();
        } catch (const boxlite::error &e) {
            CHECK(e.code() == boxlite::errc::timeout);
        }
    }
    CHECK(said == "so far\n");
}

TEST_CASE("streams are descriptors")
{
    boxlite::box &box = here->box;
    auto cat = box.exec_start(boxlite::command("cat").stdin_mode(BOXLITE_STDIN_ONCE).stdout_mode(BOXLITE_OUTPUT_PIPE));
    auto in = cat.take_stdin();
    auto out = cat.take_stdout();
    CHECK(::write(in.get(), "hello", 5) == 5);
    CHECK(::shutdown(in.get(), SHUT_WR) == 0);
    const auto got = read_all(out);
    const auto status = cat.wait();
    CHECK(got == "hello");
    CHECK(status.code == 0);
    CHECK(status.signal == 0);
    cat.check_complete(BOXLITE_STREAM_STDOUT, got.size());
    CHECK(code_of([&] { cat.check_complete(BOXLITE_STREAM_STDOUT, 4); }) == boxlite::errc::execution);
    CHECK(code_of([&] { cat.take_stdout(); }) == boxlite::errc::invalid_state);

    auto sleep = box.exec_start(boxlite::command("sleep", {"600"}));
    bool listed = false;
    for (const auto &info : box.executions()) {
        listed = listed || (info.id == sleep.id() && info.argv.back() == "600" && info.exit.empty());
    }
    CHECK(listed);
    boxlite::call call;
    call.cancel();
    CHECK(code_of([&] { sleep.wait(&call); }) == boxlite::errc::cancelled);
    box.attach(sleep.id()).kill();
    CHECK(sleep.wait().signal == 9);
    pollfd ended{sleep.exit_fd().release(), POLLIN, 0};
    CHECK(::poll(&ended, 1, patience_ms) == 1);
    ::close(ended.fd);
}

std::string content(const std::filesystem::path &path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("directories go in and out")
{
    boxlite::box &box = here->box;
    const auto dir = here->dir;
    const std::string bytes("\0two\xff", 5);
    std::filesystem::create_directories(dir / "tree/sub dir/empty");
    std::ofstream(dir / "tree/one") << "one";
    std::ofstream(dir / "tree/sub dir/\xff", std::ios::binary) << bytes;
    std::filesystem::create_symlink("one", dir / "tree/link");

    box.copy_in(dir / "tree", "/new/tree");
    CHECK(box.exec(boxlite::command("readlink", {"/new/tree/link"})).out() == "one\n");
    box.copy_out("/new/tree", dir / "back");
    CHECK(content(dir / "back/one") == "one");
    CHECK(content(dir / "back/sub dir/\xff") == bytes);
    CHECK(std::filesystem::is_directory(dir / "back/sub dir/empty"));
    CHECK(std::filesystem::read_symlink(dir / "back/link") == "one");

    boxlite::copy_options how;
    how.follow_symlinks = true;
    how.include_parent = false;
    box.copy_out("/new/tree", dir / "back", how);
    CHECK(std::filesystem::is_regular_file(std::filesystem::symlink_status(dir / "back/link")));
    CHECK(!std::filesystem::exists(dir / "back/tree"));
    box.copy_out("/new/tree", dir / "back");
    CHECK(std::filesystem::exists(dir / "back/tree/one"));
    how = {};
    how.overwrite = false;
    CHECK(code_of([&] { box.copy_in(dir / "tree/one", "/new/tree/one", how); }) == boxlite::errc::already_exists);
    how = {};
    how.recursive = false;
    CHECK(code_of([&] { box.copy_in(dir / "tree", "/refused", how); }) == boxlite::errc::invalid_argument);
}

TEST_CASE("archives go in and out on descriptors")
{
    boxlite::box &box = here->box;
    const auto dir = here->dir;
    const boxlite::descriptor archive(::open((dir / "a.tar").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    box.copy_out_tar("/new/tree", archive.get());
    CHECK(::lseek(archive.get(), 0, SEEK_CUR) > 1024);
    CHECK(::lseek(archive.get(), 0, SEEK_SET) == 0);
    box.copy_in_tar(archive.get(), "/from/tar");
    CHECK(box.exec(boxlite::command("cat", {"/from/tar/tree/one"})).out() == "one");
    CHECK(code_of([&] { box.copy_in_tar(-1, "/from/tar"); }) == boxlite::errc::invalid_argument);

    // A source that says nothing ends when the call does.
    int ends[2];
    CHECK(::pipe(ends) == 0);
    boxlite::call call;
    call.timeout_ms(100);
    CHECK(code_of([&] { box.copy_in_tar(ends[0], "/from/pipe", {}, &call); }) == boxlite::errc::timeout);
    call.cancel();
    CHECK(code_of([&] { box.copy_in_tar(ends[0], "/from/pipe", {}, &call); }) == boxlite::errc::cancelled);
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST_CASE("files are read and written as bytes")
{
    boxlite::box &box = here->box;
    const auto dir = here->dir;
    const std::string bytes("\0one\xff\n\0", 7);
    box.write_file("/etc/new/file", bytes, 0640);
    CHECK(box.read_file("/etc/new/file", 7) == bytes);
    CHECK(box.exec(boxlite::command("stat", {"-c", "%a", "/etc/new/file"})).out() == "640\n");
    box.write_file("/etc/new/file", {});
    CHECK(box.read_file("/etc/new/file", 0).empty());
    CHECK(box.exec(boxlite::command("stat", {"-c", "%a", "/etc/new/file"})).out() == "644\n");
    box.write_file("/etc/new/file", bytes);
    CHECK(code_of([&] { box.read_file("/etc/new/file", 6); }) == boxlite::errc::resource_exhausted);
    CHECK(code_of([&] { box.read_file("/none", 6); }) == boxlite::errc::not_found);
    CHECK(code_of([&] { box.copy_out("/none", dir / "none"); }) == boxlite::errc::not_found);
    CHECK(!std::filesystem::exists(dir / "none"));
    try {
        box.copy_in(dir / "none", "/none");
        FAIL("it did not throw");
    } catch (const boxlite::error &e) {
        CHECK(e.code() == boxlite::errc::not_found);
        CHECK(e.subject() == (dir / "none").string());
    }
}

TEST_CASE("names are unique, images are listed and kept")
{
    boxlite::runtime &runtime = here->runtime;
    const char *image = here->image;
    CHECK(code_of([&] { runtime.create(here->options, "first"); }) == boxlite::errc::already_exists);
    CHECK(code_of([&] { runtime.open("none"); }) == boxlite::errc::not_found);

    CHECK(!runtime.open_or_create(here->options, "first").second);
    const auto images = runtime.images();
    CHECK(images.size() == 1);
    CHECK(runtime.find_image(images.front().digest).reference == images.front().reference);
    CHECK(runtime.pull(image).layers.size() == images.front().layers.size());
    CHECK(runtime.prune(false).items.empty());
    CHECK(code_of([&] { runtime.remove_image(image); }) == boxlite::errc::invalid_state);
}

TEST_CASE("a box that was moved from throws, the other goes on and ends")
{
    boxlite::runtime &runtime = here->runtime;
    auto moved = std::move(here->box);
    CHECK_THROWS_AS(here->box.id(), std::logic_error);
    CHECK(boxlite::status_name(moved.info().status) == "running");
    CHECK(moved.metrics().value("memory_bytes") > 0);
    CHECK(!runtime.metrics().all().empty());
    CHECK(!read_all(moved.log_fd(BOXLITE_BOX_LOG_SHIM)).empty());
    pollfd ended{moved.exit_fd().release(), POLLIN, 0};
    runtime.remove(moved.id(), true);
    CHECK(::poll(&ended, 1, patience_ms) == 1);
    ::close(ended.fd);
    // A removal waits for seconds only before it kills.
    const auto reason = moved.wait().reason;
    CHECK((reason == BOXLITE_END_STOPPED || reason == BOXLITE_END_KILLED));
}

// Bounds that its own process keeps, and an end that nobody asked for.
TEST_CASE("a box is bounded, and its end is told")
{
    boxlite::runtime &runtime = here->runtime;
    const char *image = here->image;
    boxlite::box_options options;
    options.image(image).memory_mib(256).idle_timeout_ms(5000).max_lifetime_ms(3600000).pids_max(16).max_open_files(99);
    options.cpu_millis(500);
    auto [box, created] = runtime.open_or_create(options, "bounded");
    CHECK(created);
    CHECK(code_of([&] { box.wait(); }) == boxlite::errc::invalid_state);
    CHECK(code_of([&] { box.log_fd(BOXLITE_BOX_LOG_CONSOLE); }) == boxlite::errc::not_found);
    CHECK(code_of([&] { box.metrics(); }) == boxlite::errc::invalid_state);
    const auto many = box.exec(boxlite::command("sh", {"-c", "for i in $(seq 40); do sleep 60 & done; echo all"}));
    CHECK(many.out().empty());
    CHECK(many.err().find("fork") != std::string::npos);
    CHECK(box.exec(boxlite::command("sh", {"-c", "ulimit -n"})).out() == "99\n");
    CHECK(box.exec(boxlite::command("cat", {"/sys/fs/cgroup/cpu.max"})).out() == "50000 100000\n");
    boxlite::call call;
    call.cancel();
    CHECK(code_of([&] { box.wait(&call); }) == boxlite::errc::cancelled);
    const auto end = box.wait();
    CHECK(end.reason == BOXLITE_END_IDLE);
    CHECK(!end.message.empty());
    runtime.remove("bounded");
    CHECK(code_of([&] { options.idle_timeout_ms(-1); }) == boxlite::errc::invalid_argument);
    CHECK(code_of([&] { options.cpu_millis(256001); }) == boxlite::errc::invalid_argument);
}

TEST_CASE("what nobody uses is pruned")
{
    const auto left = here->runtime.prune(true);
    CHECK(left.items.size() == 1);
    CHECK(left.total_bytes == left.items.front().bytes);
    here->runtime.shutdown(0);
}

} // namespace

int main(int argc, char **argv)
{
    const char *image = std::getenv("BOXLITE_TEST_IMAGE");
    char home[] = "/tmp/boxlite-cpp-XXXXXX";
    if (image == nullptr || mkdtemp(home) == nullptr) {
        std::fprintf(stderr, "run this by ctest\n");
        return 1;
    }
    int status = 1;
    try {
        boxlite::runtime_options where;
        where.home_dir(home).docker_config("");
        boxlite::runtime runtime(where);
        boxlite::box_options options;
        options.image(image).memory_mib(256).label("a", "b");
        auto box = runtime.create(options, "first");
        world shared{image, std::move(runtime), std::move(options), std::move(box), std::filesystem::path(home) / "test"};
        here = &shared;
        status = doctest::Context(argc, argv).run();
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
    }
    // A runtime that is gone closes its database in the background, which may make a file anew meanwhile.
    std::error_code left;
    for (int tries = 0; tries < 100 && std::filesystem::exists(home); tries++) {
        std::filesystem::remove_all(home, left);
        ::usleep(left ? 100000 : 0);
    }
    if (left) {
        std::fprintf(stderr, "the home can't be deleted: %s\n", left.message().c_str());
        status = 1;
    }
    return status;
}
