/* An answer: one line of JSON, printed as things are seen, and the outputs that are there as a whole. */
#include "driver.h"

#include <stdarg.h>
#include <stdio.h>

static const char *separator;

void begin_answer(void)
{
    separator = "{";
}

void end_answer(void)
{
    printf("%s}\n", *separator == '{' ? separator : "");
    fflush(stdout);
}

void tell(const char *key, const char *format, ...)
{
    va_list values;
    printf("%s\"%s\": ", separator, key);
    separator = ", ";
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
}

void tell_flag(const char *key, bool value)
{
    tell(key, value ? "true" : "false");
}

bool succeeded(const char *key, boxlite_code code)
{
    if (code == BOXLITE_OK) {
        return true;
    }
    tell(key, "\"%s\"", boxlite_code_name(code));
    if (boxlite_error_exit_code(error) >= 0) {
        tell("exit_code", "%d", (int)boxlite_error_exit_code(error));
    }
    boxlite_error_free(error);
    error = NULL;
    return false;
}

void tell_exit(int code, int signal, int timed_out, int oom_killed)
{
    tell("exit", "%d", code);
    tell("signal", "%d", signal);
    tell_flag("timed_out", timed_out);
    tell_flag("oom_killed", oom_killed);
}

void tell_wait(boxlite_execution *execution)
{
    boxlite_exit *exit;
    if (succeeded("wait", boxlite_execution_wait(execution, NULL, &exit, &error))) {
        tell_exit(boxlite_exit_code(exit), boxlite_exit_signal(exit), boxlite_exit_timed_out(exit),
                  boxlite_exit_oom_killed(exit));
        boxlite_exit_free(exit);
    }
}

void write_file(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "w");
    if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0) {
        die(path);
    }
}
