/* A request's fields, and the command and the call that they ask for. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = 64 };

static struct {
    const char *key;
    char *value;
} fields[FIELDS];
static size_t field_count;

static void decode(char *hex)
{
    char *to = hex;
    for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2) {
        *to++ = (char)byte;
    }
    *to = '\0';
}

const char *parse(char *line)
{
    char *rest, *op = strtok_r(line, "\t\n", &rest);
    field_count = 0;
    for (char *word; (word = strtok_r(NULL, "\t\n", &rest)) != NULL && field_count < FIELDS; field_count++) {
        char *equals = strchr(word, '=');
        *equals = '\0';
        decode(equals + 1);
        fields[field_count].key = word;
        fields[field_count].value = equals + 1;
    }
    return op;
}

const char *field(const char *key)
{
    for (size_t i = 0; i < field_count; i++) {
        if (strcmp(fields[i].key, key) == 0) {
            return fields[i].value;
        }
    }
    return NULL;
}

long long number(const char *key, long long otherwise)
{
    const char *value = field(key);
    return value != NULL ? atoll(value) : otherwise;
}

void pair(const char *key, int *rows, int *cols)
{
    if (sscanf(field(key), "%d,%d", rows, cols) != 2) {
        die(key);
    }
}

char *input(size_t *len)
{
    const char *path = field("input");
    *len = 0;
    if (path == NULL) {
        return NULL;
    }
    FILE *file = fopen(path, "r");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        die(path);
    }
    *len = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*len + 1);
    if (data == NULL || fread(data, 1, *len, file) != *len) {
        die(path);
    }
    fclose(file);
    return data;
}

boxlite_call *new_call(void)
{
    boxlite_call *call;
    MUST(boxlite_call_new(&call, &error));
    MUST(boxlite_call_set_timeout_ms(call, number("deadline_ms", -1), &error));
    return call;
}

static boxlite_code apply(boxlite_command *command, const char *key, char *value)
{
    if (strcmp(key, "env") == 0) {
        char *equals = strchr(value, '=');
        *equals = '\0';
        return boxlite_command_set_env(command, value, equals + 1, &error);
    }
    if (strcmp(key, "cwd") == 0) {
        return boxlite_command_set_working_dir(command, value, &error);
    }
    if (strcmp(key, "user") == 0) {
        return boxlite_command_set_user(command, value, &error);
    }
    if (strcmp(key, "timeout_ms") == 0) {
        return boxlite_command_set_timeout_ms(command, atoll(value), &error);
    }
    if (strcmp(key, "merge") == 0) {
        return boxlite_command_set_merge_stderr(command, 1, &error);
    }
    if (strcmp(key, "memory") == 0) {
        return boxlite_command_set_limits(command, 0, (uint64_t)atoll(value), 0, 0, &error);
    }
    if (strcmp(key, "drain_ms") == 0) {
        return boxlite_command_set_drain_ms(command, atoll(value), &error);
    }
    if (strcmp(key, "tty") == 0) {
        int rows, cols;
        pair(key, &rows, &cols);
        return boxlite_command_set_tty(command, rows, cols, &error);
    }
    return BOXLITE_OK;
}

boxlite_command *new_command(void)
{
    boxlite_command *command = NULL;
    boxlite_code code = BOXLITE_OK;
    for (size_t i = 0; i < field_count && code == BOXLITE_OK; i++) {
        char *value = fields[i].value;
        if (strcmp(fields[i].key, "arg") != 0) {
            code = apply(command, fields[i].key, value);
        } else if (command == NULL) {
            code = boxlite_command_new(value, &command, &error);
        } else {
            code = boxlite_command_add_arg(command, value, &error);
        }
    }
    if (!succeeded("error", code)) {
        boxlite_command_free(command);
        return NULL;
    }
    return command;
}
