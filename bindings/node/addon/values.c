/* JavaScript values to C and back. Owns nothing; what it refuses it refuses with the name of the value. */
#include "addon.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void args_get(napi_env napi, napi_callback_info info, napi_value args[ARGS_MAX])
{
    size_t count = ARGS_MAX;
    napi_get_cb_info(napi, info, &count, args, NULL, NULL);
}

napi_value undefined(napi_env napi)
{
    napi_value value = NULL;
    napi_get_undefined(napi, &value);
    return value;
}

napi_value js_text(napi_env napi, const char *text)
{
    napi_value value = NULL;
    if (text == NULL) {
        napi_get_null(napi, &value);
    } else {
        napi_create_string_utf8(napi, text, NAPI_AUTO_LENGTH, &value);
    }
    return value;
}

napi_value js_bytes(napi_env napi, const char *bytes, size_t length)
{
    napi_value value = NULL;
    void *copy;
    napi_create_buffer_copy(napi, length, bytes, &copy, &value);
    return value;
}

napi_value js_number(napi_env napi, double number)
{
    napi_value value = NULL;
    napi_create_double(napi, number, &value);
    return value;
}

napi_value js_flag(napi_env napi, int32_t flag)
{
    napi_value value = NULL;
    napi_get_boolean(napi, flag != 0, &value);
    return value;
}

void set_value(napi_env napi, napi_value object, const char *key, napi_value value)
{
    if (value != NULL) {
        napi_set_named_property(napi, object, key, value);
    }
}

void set_text(napi_env napi, napi_value object, const char *key, const char *text)
{
    set_value(napi, object, key, js_text(napi, text));
}

void set_number(napi_env napi, napi_value object, const char *key, double number)
{
    set_value(napi, object, key, js_number(napi, number));
}

void set_flag(napi_env napi, napi_value object, const char *key, int32_t flag)
{
    set_value(napi, object, key, js_flag(napi, flag));
}

bool is_nothing(napi_env napi, napi_value value)
{
    napi_valuetype type = napi_undefined;
    napi_typeof(napi, value, &type);
    return type == napi_undefined || type == napi_null;
}

bool to_bytes(napi_env napi, napi_value value, const char *name, char **text, size_t *size)
{
    napi_valuetype type = napi_undefined;
    bool bytes = false;
    size_t length = 0;
    *text = NULL;
    napi_typeof(napi, value, &type);
    if (type == napi_string) {
        napi_get_value_string_utf8(napi, value, NULL, 0, &length);
        if ((*text = malloc(length + 1)) != NULL) {
            napi_get_value_string_utf8(napi, value, *text, length + 1, &length);
        }
    } else if (napi_is_typedarray(napi, value, &bytes) == napi_ok && bytes) {
        napi_typedarray_type kind;
        void *data;
        napi_get_typedarray_info(napi, value, &kind, &length, &data, NULL, NULL);
        if (kind != napi_uint8_array) {
            throw_type(napi, name, "must be a string or a Uint8Array");
            return false;
        }
        if ((*text = malloc(length + 1)) != NULL) {
            memcpy(*text, length > 0 ? data : "", length);
            (*text)[length] = '\0';
        }
    } else {
        throw_type(napi, name, "must be a string or a Uint8Array");
        return false;
    }
    if (*text == NULL) {
        napi_throw_error(napi, NULL, "boxlite: out of memory");
        return false;
    }
    *size = length;
    return true;
}

bool to_text(napi_env napi, napi_value value, const char *name, char **text)
{
    size_t length;
    if (!to_bytes(napi, value, name, text, &length)) {
        return false;
    }
    if (memchr(*text, '\0', length) != NULL) {
        free(*text);
        *text = NULL;
        throw_type(napi, name, "has a NUL byte inside");
        return false;
    }
    return true;
}

bool to_number(napi_env napi, napi_value value, const char *name, double *number)
{
    if (napi_get_value_double(napi, value, number) != napi_ok || *number != floor(*number)
        || fabs(*number) > 9007199254740991.0) {
        throw_type(napi, name, "must be a whole number");
        return false;
    }
    return true;
}

bool to_flag(napi_env napi, napi_value value)
{
    bool flag = false;
    napi_value boolean;
    if (napi_coerce_to_bool(napi, value, &boolean) == napi_ok) {
        napi_get_value_bool(napi, boolean, &flag);
    }
    return flag;
}

void reader_begin(struct reader *reader, napi_env napi, napi_value object)
{
    *reader = (struct reader){.napi = napi, .object = object};
}

static void forget(struct reader *reader)
{
    free(reader->key);
    free(reader->text);
    reader->key = reader->text = NULL;
}

bool read_value(struct reader *reader, const char *key, napi_value *value)
{
    forget(reader);
    if (reader->failed || is_nothing(reader->napi, reader->object)) {
        return false;
    }
    if (napi_get_named_property(reader->napi, reader->object, key, value) != napi_ok) {
        reader->failed = true;
        return false;
    }
    return !is_nothing(reader->napi, *value);
}

bool read_text(struct reader *reader, const char *key)
{
    napi_value value;
    if (!read_value(reader, key, &value)) {
        return false;
    }
    reader->failed = !to_text(reader->napi, value, key, &reader->text);
    return !reader->failed;
}

bool read_number(struct reader *reader, const char *key)
{
    napi_value value;
    if (!read_value(reader, key, &value)) {
        return false;
    }
    reader->failed = !to_number(reader->napi, value, key, &reader->number);
    return !reader->failed;
}

bool read_natural(struct reader *reader, const char *key)
{
    if (!read_number(reader, key)) {
        return false;
    }
    reader->failed = reader->number < 0;
    if (reader->failed) {
        throw_type(reader->napi, key, "must not be negative");
    }
    return !reader->failed;
}

bool read_flag(struct reader *reader, const char *key)
{
    napi_value value;
    if (!read_value(reader, key, &value)) {
        return false;
    }
    reader->number = to_flag(reader->napi, value);
    return true;
}

bool read_pairs(struct reader *reader, const char *key)
{
    napi_valuetype type = napi_undefined;
    if (!read_value(reader, key, &reader->pairs)) {
        return false;
    }
    napi_typeof(reader->napi, reader->pairs, &type);
    if (type != napi_object || napi_get_property_names(reader->napi, reader->pairs, &reader->names) != napi_ok) {
        throw_type(reader->napi, key, "must be an object of names and values");
        reader->failed = true;
        return false;
    }
    reader->pair = 0;
    napi_get_array_length(reader->napi, reader->names, &reader->pair_count);
    return true;
}

bool next_pair(struct reader *reader)
{
    napi_value name, value;
    forget(reader);
    if (reader->failed || reader->pair >= reader->pair_count) {
        return false;
    }
    if (napi_get_element(reader->napi, reader->names, reader->pair++, &name) != napi_ok
        || napi_get_property(reader->napi, reader->pairs, name, &value) != napi_ok
        || !to_text(reader->napi, name, "name", &reader->key)
        || (!is_nothing(reader->napi, value) && !to_text(reader->napi, value, reader->key, &reader->text))) {
        reader->failed = true;
        return false;
    }
    return true;
}

bool read_texts(struct reader *reader, const char *key)
{
    bool array = false;
    if (!read_value(reader, key, &reader->pairs)) {
        return false;
    }
    napi_is_array(reader->napi, reader->pairs, &array);
    if (!array || napi_get_array_length(reader->napi, reader->pairs, &reader->pair_count) != napi_ok) {
        throw_type(reader->napi, key, "must be an array");
        reader->failed = true;
        return false;
    }
    reader->pair = 0;
    return true;
}

bool next_text(struct reader *reader, const char *key)
{
    napi_value one;
    forget(reader);
    if (reader->failed || reader->pair >= reader->pair_count) {
        return false;
    }
    if (napi_get_element(reader->napi, reader->pairs, reader->pair++, &one) != napi_ok
        || !to_text(reader->napi, one, key, &reader->text)) {
        reader->failed = true;
        return false;
    }
    return true;
}

void reader_check(struct reader *reader, boxlite_code code)
{
    if (code != BOXLITE_OK) {
        error_throw(reader->napi, code, reader->error);
        reader->failed = true;
    }
}

bool reader_end(struct reader *reader)
{
    forget(reader);
    return !reader->failed;
}
