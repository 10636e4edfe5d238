// The C++ binding on one real box.
#include "boxlite.hpp"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <poll.h>
#include <sys/socket.h>

namespace {

int faults = 0;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            faults++; \
        } \
    } while (false)

static_assert(!std::is_copy_constructible_v<boxlite::box> && std::is_nothrow_move_constructible_v<boxlite::box>);
static_assert(!std::is_copy_constructible_v<boxlite::descriptor>);

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
        CHECK(*e.what() != '\0' && !e.hint().empty());
        return e.code();
    }
    return {};
}

void execs(boxlite::box &box)
{
    const std::string bytes("\0\xff\n", 3);
    auto echo = box.exec(boxlite::command("cat").input(bytes));
    CHECK(echo.exit_code() == 0 && echo.out() == bytes && echo.out_total() == 3 && !echo.out_truncated());
    auto both = box.exec(boxlite::command("sh", {"-c", "echo $A; pwd; echo no >&2; exit 3"}).env("A", "\xff").working_dir("/tmp"));
    CHECK(both.exit_code() == 3 && both.out() == "\xff\n/tmp\n" && both.err() == "no\n");
    CHECK(box.exec(boxlite::command("sleep", {"600"}).timeout_ms(100)).timed_out());

    try {
        box.exec(boxlite::command("no-such-program"));
        CHECK(false);
    } catch (const boxlite::error &e) {
        CHECK(e.exit_code() == 127 && !e.hint().empty());
    }
    CHECK(code_of([&] { boxlite::command("sh").arg(std::string("a\0b", 3)); }) == boxlite::errc::invalid_argument);
}

void streams(boxlite::box &box)
{
    auto cat = box.exec_start(boxlite::command("cat").stdin_mode(BOXLITE_STDIN_ONCE).stdout_mode(BOXLITE_OUTPUT_PIPE));
    auto in = cat.take_stdin();
    auto out = cat.take_stdout();
    CHECK(::write(in.get(), "hello", 5) == 5);
    CHECK(::shutdown(in.get(), SHUT_WR) == 0);
    const auto got = read_all(out);
    const auto status = cat.wait();
    CHECK(got == "hello" && status.code == 0 && status.signal == 0);
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
    CHECK(::poll(&ended, 1, 10000) == 1);
    ::close(ended.fd);
}

std::string content(const std::filesystem::path &path)
{
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void trees(boxlite::box &box, const std::filesystem::path &dir)
{
    const std::string bytes("\0two\xff", 5);
    std::filesystem::create_directories(dir / "tree/sub dir/empty");
    std::ofstream(dir / "tree/one") << "one";
    std::ofstream(dir / "tree/sub dir/\xff", std::ios::binary) << bytes;
    std::filesystem::create_symlink("one", dir / "tree/link");

    box.copy_in(dir / "tree", "/new/tree");
    CHECK(box.exec(boxlite::command("readlink", {"/new/tree/link"})).out() == "one\n");
    box.copy_out("/new/tree", dir / "back");
    CHECK(content(dir / "back/one") == "one" && content(dir / "back/sub dir/\xff") == bytes);
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

void archives(boxlite::box &box, const std::filesystem::path &dir)
{
    const boxlite::descriptor archive(::open((dir / "a.tar").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    box.copy_out_tar("/new/tree", archive.get());
    CHECK(::lseek(archive.get(), 0, SEEK_CUR) > 1024 && ::lseek(archive.get(), 0, SEEK_SET) == 0);
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

void files(boxlite::box &box, const std::filesystem::path &dir)
{
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
        CHECK(false);
    } catch (const boxlite::error &e) {
        CHECK(e.code() == boxlite::errc::not_found && e.subject() == (dir / "none").string());
    }
}

void everything(const std::string &home, const char *image)
{
    boxlite::runtime_options where;
    where.home_dir(home);
    boxlite::runtime runtime(where);
    CHECK(!runtime.system_check().rows.empty());
    CHECK(boxlite::abi_version() == BOXLITE_ABI_VERSION && !boxlite::version().empty());
    boxlite::box_options options;
    options.image(image).memory_mib(256).label("a", "b");

    auto box = runtime.create(options, "first");
    CHECK(box.name() == "first" && runtime.list({{"a", "b"}}).size() == 1 && runtime.list({{"a", "c"}}).empty());

    // What a callback throws comes out of the call it was made in, which is cancelled.
    boxlite::call call;
    call.on_progress([](const boxlite::progress &) -> bool { throw std::out_of_range("from the callback"); });
    try {
        box.start(&call);
        CHECK(false);
    } catch (const std::out_of_range &) {
    }
    execs(box);
    streams(box);
    // Beside the home's own files.
    const auto dir = std::filesystem::path(home) / "test";
    trees(box, dir);
    archives(box, dir);
    files(box, dir);
    CHECK(code_of([&] { runtime.create(options, "first"); }) == boxlite::errc::already_exists);
    CHECK(code_of([&] { runtime.open("none"); }) == boxlite::errc::not_found);

    CHECK(!runtime.open_or_create(options, "first").second);
    const auto images = runtime.images();
    CHECK(images.size() == 1 && runtime.find_image(images.front().digest).reference == images.front().reference);
    CHECK(runtime.pull(image).layers.size() == images.front().layers.size());
    CHECK(runtime.prune(false).items.empty());
    CHECK(code_of([&] { runtime.remove_image(image); }) == boxlite::errc::invalid_state);

    auto moved = std::move(box);
    try {
        box.id();
        CHECK(false);
    } catch (const std::logic_error &) {
    }
    CHECK(boxlite::status_name(moved.info().status) == "running");
    CHECK(moved.metrics().value("memory_bytes") > 0 && !runtime.metrics().all().empty());
    CHECK(!read_all(moved.log_fd(BOXLITE_BOX_LOG_SHIM)).empty());
    pollfd ended{moved.exit_fd().release(), POLLIN, 0};
    runtime.remove(moved.id(), true);
    CHECK(::poll(&ended, 1, 10000) == 1);
    ::close(ended.fd);
    CHECK(moved.wait().reason == BOXLITE_END_STOPPED);
    const auto left = runtime.prune(true);
    CHECK(left.items.size() == 1 && left.total_bytes == left.items.front().bytes);
    runtime.shutdown(0);
}

} // namespace

int main()
{
    const char *image = std::getenv("BOXLITE_TEST_IMAGE");
    char home[] = "/tmp/boxlite-cpp-XXXXXX";
    if (image == nullptr || mkdtemp(home) == nullptr) {
        std::fprintf(stderr, "run this by ctest\n");
        return 1;
    }
    try {
        everything(home, image);
    } catch (const std::exception &e) {
        std::fprintf(stderr, "%s\n", e.what());
        faults++;
    }
    std::filesystem::remove_all(home);
    return faults != 0;
}
