/* hello IMAGE: runs a command in a virtual machine of its own (a longer program frees its handles). */
#include <boxlite.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#define TRY(call) if ((call) != BOXLITE_OK) return fprintf(stderr, "hello: %s\n%s\n", \
    boxlite_error_message(error), boxlite_error_hint(error)), 1
static double now_ms(void) {
    struct timespec now;
    return timespec_get(&now, TIME_UTC) ? now.tv_sec * 1e3 + now.tv_nsec / 1e6 : 0;
}
static double stage_ms(const boxlite_info *info, const char *stage) {
    for (size_t i = 0; i < boxlite_info_stage_len(info); i++)
        if (strcmp(boxlite_info_stage_name(info, i), stage) == 0) return boxlite_info_stage_us(info, i) / 1e3;
    return 0;
}
int main(int argc, char **argv) {
    const char *args[] = {"-c", "uname -a; echo a line on stdout; echo a line on stderr >&2; exit 7"};
    boxlite_error *error; boxlite_runtime *runtime; boxlite_box_options *options; boxlite_box *box;
    boxlite_command *command; boxlite_exec_result *result; boxlite_info *info;
    TRY(boxlite_runtime_new(NULL, &runtime, &error));
    TRY(boxlite_box_options_new(&options, &error));
    TRY(boxlite_box_options_set_image(options, argc > 1 ? argv[1] : "alpine", &error));
    TRY(boxlite_box_options_set_auto_remove(options, 1, &error));
    TRY(boxlite_create(runtime, options, NULL, NULL, &box, &error));
    TRY(boxlite_command_new("sh", &command, &error)); TRY(boxlite_command_add_args(command, args, 2, &error));
    double start = now_ms();
    TRY(boxlite_box_start(box, NULL, &error));
    double started = now_ms();
    TRY(boxlite_exec(box, command, NULL, &result, &error));
    double executed = now_ms();
    fwrite(boxlite_exec_result_stdout(result), 1, boxlite_exec_result_stdout_len(result), stdout), fflush(stdout);
    fwrite(boxlite_exec_result_stderr(result), 1, boxlite_exec_result_stderr_len(result), stderr);
    printf("exit code: %d\n", boxlite_exec_result_exit_code(result));
    TRY(boxlite_box_info(box, NULL, &info, &error));
    double pull = stage_ms(info, "pull"), disk = stage_ms(info, "image-disk"), remove = now_ms();
    TRY(boxlite_remove(runtime, boxlite_box_id(box), 1, NULL, &error));
    printf("ms: pull %.0f, image disk %.0f, boot %.0f, exec %.0f, remove %.0f\n",
           pull, disk, started - start - pull - disk, executed - started, now_ms() - remove);
}
