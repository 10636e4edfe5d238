/* Objects of options as the library's builders: of a box, of a command. */
#include "addon.h"

#include <stdlib.h>

/* A number for an int32_t parameter: what does not fit becomes one that is refused. */
static int32_t int32(double number)
{
    return number < -1 ? -2 : number > INT32_MAX ? INT32_MAX : (int32_t)number;
}

/* NULL with an exception pending. */
boxlite_box_options *box_options_from(napi_env napi, napi_value value)
{
    boxlite_box_options *options = NULL;
    struct reader reader;
    struct reader *const r = &reader;
    reader_begin(r, napi, value);
    reader_check(r, boxlite_box_options_new(&options, &r->error));
    if (read_text(r, "image")) {
        reader_check(r, boxlite_box_options_set_image(options, r->text, &r->error));
    }
    if (read_text(r, "rootfs")) {
        reader_check(r, boxlite_box_options_set_rootfs_path(options, r->text, &r->error));
    }
    if (read_number(r, "cpus")) {
        reader_check(r, boxlite_box_options_set_cpus(options, int32(r->number), &r->error));
    }
    if (read_number(r, "memoryMib")) {
        reader_check(r, boxlite_box_options_set_memory_mib(options, (int64_t)r->number, &r->error));
    }
    if (read_number(r, "diskSizeGb")) {
        reader_check(r, boxlite_box_options_set_disk_size_gb(options, (int64_t)r->number, &r->error));
    }
    if (read_number(r, "diskCache")) {
        reader_check(r, boxlite_box_options_set_disk_cache(options, int32(r->number), &r->error));
    }
    if (read_pairs(r, "env")) {
        while (next_pair(r)) {
            reader_check(r, boxlite_box_options_set_env(options, r->key, r->text, &r->error));
        }
    }
    if (read_text(r, "cwd")) {
        reader_check(r, boxlite_box_options_set_working_dir(options, r->text, &r->error));
    }
    if (read_text(r, "user")) {
        reader_check(r, boxlite_box_options_set_user(options, r->text, &r->error));
    }
    if (read_flag(r, "autoRemove")) {
        reader_check(r, boxlite_box_options_set_auto_remove(options, r->number != 0, &r->error));
    }
    if (read_flag(r, "detach")) {
        reader_check(r, boxlite_box_options_set_detach(options, r->number != 0, &r->error));
    }
    if (read_number(r, "engine")) {
        reader_check(r, boxlite_box_options_set_engine(options, int32(r->number), &r->error));
    }
    if (read_natural(r, "maxLifetime")) {
        reader_check(r, boxlite_box_options_set_max_lifetime_ms(options, (int64_t)r->number, &r->error));
    }
    if (read_natural(r, "idleTimeout")) {
        reader_check(r, boxlite_box_options_set_idle_timeout_ms(options, (int64_t)r->number, &r->error));
    }
    if (read_natural(r, "pidsMax")) {
        reader_check(r, boxlite_box_options_set_pids_max(options, int32(r->number), &r->error));
    }
    if (read_natural(r, "cpuMillis")) {
        reader_check(r, boxlite_box_options_set_cpu_millis(options, int32(r->number), &r->error));
    }
    if (read_natural(r, "maxOpenFiles")) {
        reader_check(r, boxlite_box_options_set_max_open_files(options, int32(r->number), &r->error));
    }
    if (read_pairs(r, "labels")) {
        while (next_pair(r)) {
            reader_check(r, boxlite_box_options_set_label(options, r->key, r->text, &r->error));
        }
    }
    if (!reader_end(r)) {
        boxlite_box_options_free(options);
        return NULL;
    }
    return options;
}

static boxlite_command *program_of(struct reader *r)
{
    boxlite_command *command = NULL;
    if (read_text(r, "program")) {
        reader_check(r, boxlite_command_new(r->text, &command, &r->error));
    } else if (!r->failed) {
        throw_type(r->napi, "program", "must be a string or a Uint8Array");
        r->failed = true;
    }
    return command;
}

static void arguments(struct reader *r, boxlite_command *command)
{
    napi_value list;
    uint32_t count = 0, known = 0;
    char **words;
    if (!read_value(r, "args", &list)) {
        return;
    }
    if (napi_get_array_length(r->napi, list, &count) != napi_ok) {
        throw_type(r->napi, "args", "must be an array of strings");
        r->failed = true;
        return;
    }
    words = calloc(count + 1, sizeof *words);
    for (; words != NULL && known < count && !r->failed; known++) {
        napi_value word;
        napi_get_element(r->napi, list, known, &word);
        r->failed = !to_text(r->napi, word, "args", &words[known]);
    }
    if (words != NULL && !r->failed) {
        reader_check(r, boxlite_command_add_args(command, (const char *const *)words, count, &r->error));
    }
    for (uint32_t i = 0; words != NULL && i < known; i++) {
        free(words[i]);
    }
    free(words);
}

static void input(struct reader *r, boxlite_command *command)
{
    napi_value value;
    napi_valuetype type = napi_undefined;
    void *data = NULL;
    size_t length = 0;
    bool bytes = false;
    if (!read_value(r, "input", &value)) {
        return;
    }
    napi_typeof(r->napi, value, &type);
    if (type == napi_string) {
        /* Unlike a word of the command, it may have NULs inside. */
        napi_get_value_string_utf8(r->napi, value, NULL, 0, &length);
        if ((data = malloc(length + 1)) != NULL) {
            napi_get_value_string_utf8(r->napi, value, data, length + 1, &length);
            reader_check(r, boxlite_command_set_input(command, data, length, &r->error));
            free(data);
        }
        return;
    }
    if (napi_is_typedarray(r->napi, value, &bytes) == napi_ok && bytes) {
        napi_typedarray_type kind;
        napi_get_typedarray_info(r->napi, value, &kind, &length, &data, NULL, NULL);
        bytes = kind == napi_uint8_array;
    }
    if (!bytes) {
        throw_type(r->napi, "input", "must be a string or a Uint8Array");
        r->failed = true;
        return;
    }
    reader_check(r, boxlite_command_set_input(command, length > 0 ? data : "", length, &r->error));
}

static void limits(struct reader *r, boxlite_command *command)
{
    static const char *const keys[] = {"pids", "memoryBytes", "openFiles", "cpuMillis"};
    uint64_t values[4] = {0};
    struct reader of;
    napi_value object;
    if (!read_value(r, "limits", &object)) {
        return;
    }
    reader_begin(&of, r->napi, object);
    for (size_t i = 0; i < 4; i++) {
        if (read_natural(&of, keys[i])) {
            values[i] = (uint64_t)of.number;
        }
    }
    r->failed = !reader_end(&of);
    if (!r->failed) {
        reader_check(r, boxlite_command_set_limits(command, values[0], values[1], values[2], values[3], &r->error));
    }
}

static void tty(struct reader *r, boxlite_command *command)
{
    struct reader of;
    napi_value object;
    double rows = 24, cols = 80;
    if (!read_value(r, "tty", &object)) {
        return;
    }
    reader_begin(&of, r->napi, object);
    if (read_number(&of, "rows")) {
        rows = of.number;
    }
    if (read_number(&of, "cols")) {
        cols = of.number;
    }
    r->failed = !reader_end(&of);
    if (!r->failed) {
        reader_check(r, boxlite_command_set_tty(command, int32(rows), int32(cols), &r->error));
    }
}

/* NULL with an exception pending. */
boxlite_command *command_from(napi_env napi, napi_value value)
{
    struct reader reader;
    struct reader *const r = &reader;
    boxlite_command *command;
    reader_begin(r, napi, value);
    command = program_of(r);
    arguments(r, command);
    input(r, command);
    limits(r, command);
    tty(r, command);
    if (read_pairs(r, "env")) {
        while (next_pair(r)) {
            reader_check(r, boxlite_command_set_env(command, r->key, r->text, &r->error));
        }
    }
    if (read_text(r, "cwd")) {
        reader_check(r, boxlite_command_set_working_dir(command, r->text, &r->error));
    }
    if (read_text(r, "user")) {
        reader_check(r, boxlite_command_set_user(command, r->text, &r->error));
    }
    if (read_number(r, "timeout")) {
        reader_check(r, boxlite_command_set_timeout_ms(command, (int64_t)r->number, &r->error));
    }
    if (read_flag(r, "mergeStderr")) {
        reader_check(r, boxlite_command_set_merge_stderr(command, r->number != 0, &r->error));
    }
    if (read_number(r, "maxOutput")) {
        reader_check(r, boxlite_command_set_max_output(command, r->number < 0 ? 0 : (uint64_t)r->number, &r->error));
    }
    if (read_number(r, "drain")) {
        reader_check(r, boxlite_command_set_drain_ms(command, (int64_t)r->number, &r->error));
    }
    if (read_number(r, "stdin")) {
        reader_check(r, boxlite_command_set_stdin(command, int32(r->number), &r->error));
    }
    if (read_number(r, "stdout")) {
        reader_check(r, boxlite_command_set_stdout(command, int32(r->number), &r->error));
    }
    if (read_number(r, "stderr")) {
        reader_check(r, boxlite_command_set_stderr(command, int32(r->number), &r->error));
    }
    if (!reader_end(r)) {
        boxlite_command_free(command);
        return NULL;
    }
    return command;
}
