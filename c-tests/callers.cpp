// Calls from a C++ static constructor and destructor, before and after main.
#include <boxlite.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <unistd.h>

namespace {

[[noreturn]] void fail(const std::string &what)
{
    std::fprintf(stderr, "%s\n", what.c_str());
    _exit(1);
}

void ok(boxlite_code code, boxlite_error *error, const char *what)
{
    if (code != BOXLITE_OK) {
        fail(std::string(what) + ": " + boxlite_error_message(error));
    }
}

#define OK(call) ok((call), error, #call)

// A box for as long as the program's statics live.
class Sandbox {
public:
    Sandbox()
    {
        const char *image = std::getenv("BOXLITE_TEST_IMAGE");
        if (image == nullptr || mkdtemp(home_) == nullptr) {
            fail("run this by ctest");
        }
        boxlite_runtime_options *options;
        OK(boxlite_runtime_options_new(&options, &error));
        OK(boxlite_runtime_options_set_home_dir(options, home_, &error));
        OK(boxlite_runtime_new(options, &runtime_, &error));
        boxlite_runtime_options_free(options);
        boxlite_box_options *box_options;
        OK(boxlite_box_options_new(&box_options, &error));
        OK(boxlite_box_options_set_image(box_options, image, &error));
        OK(boxlite_box_options_set_memory_mib(box_options, 256, &error));
        OK(boxlite_create(runtime_, box_options, nullptr, nullptr, &box_, &error));
        boxlite_box_options_free(box_options);
        if (run("echo constructor | tee /file") != "constructor\n") {
            fail("the constructor's command");
        }
    }

    Sandbox(const Sandbox &) = delete;
    Sandbox &operator=(const Sandbox &) = delete;

    ~Sandbox()
    {
        if (run("cat /file /main") != "constructor\nmain\n") {
            fail("the destructor's command");
        }
        OK(boxlite_remove(runtime_, boxlite_box_id(box_), 1, nullptr, &error));
        boxlite_box_free(box_);
        OK(boxlite_runtime_shutdown(runtime_, 0, nullptr, &error));
        boxlite_runtime_free(runtime_);
        // A runtime that was freed closes its database in the background, which may make a file anew meanwhile.
        std::error_code left;
        for (int tries = 0; tries < 100 && std::filesystem::exists(home_); tries++) {
            std::filesystem::remove_all(home_, left);
            usleep(left ? 100000 : 0);
        }
        if (left) {
            fail("the home can't be deleted: " + left.message());
        }
    }

    std::string run(const char *script)
    {
        boxlite_command *command;
        boxlite_exec_result *result;
        OK(boxlite_command_new("sh", &command, &error));
        OK(boxlite_command_add_arg(command, "-c", &error));
        OK(boxlite_command_add_arg(command, script, &error));
        OK(boxlite_exec(box_, command, nullptr, &result, &error));
        boxlite_command_free(command);
        std::string output(boxlite_exec_result_stdout(result), boxlite_exec_result_stdout_len(result));
        if (boxlite_exec_result_exit_code(result) != 0) {
            fail(script);
        }
        boxlite_exec_result_free(result);
        return output;
    }

private:
    boxlite_error *error = nullptr;
    char home_[32] = "/tmp/boxlite-c-XXXXXX";
    boxlite_runtime *runtime_ = nullptr;
    boxlite_box *box_ = nullptr;
};

Sandbox sandbox;

} // namespace

int main()
{
    return sandbox.run("echo main | tee /main") == "main\n" ? 0 : 1;
}
