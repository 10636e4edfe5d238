/* Errors of the library as JavaScript errors. */
#include "addon.h"

#include <stdio.h>

/* setErrorClass(class): whose constructor takes (message, fields). */
napi_value errors_set_class(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    args_get(napi, info, args);
    napi_create_reference(napi, args[0], 1, &env_of(napi)->error_class);
    return undefined(napi);
}

static napi_value make(napi_env napi, const char *message, napi_value fields)
{
    napi_value class, error = NULL, args[2];
    args[0] = js_text(napi, message);
    args[1] = fields;
    if (napi_get_reference_value(napi, env_of(napi)->error_class, &class) != napi_ok
        || napi_new_instance(napi, class, 2, args, &error) != napi_ok) {
        return NULL;
    }
    return error;
}

static napi_value fields_of(napi_env napi, boxlite_code code, const char *hint, const char *subject)
{
    napi_value fields;
    napi_create_object(napi, &fields);
    set_text(napi, fields, "code", boxlite_code_name(code));
    set_text(napi, fields, "hint", hint);
    set_text(napi, fields, "subject", subject);
    return fields;
}

napi_value error_make(napi_env napi, boxlite_code code, const boxlite_error *error)
{
    napi_value fields = fields_of(napi, boxlite_error_code(error) != BOXLITE_OK ? boxlite_error_code(error) : code,
                                  boxlite_error_hint(error), boxlite_error_subject(error));
    if (boxlite_error_os_errno(error) != 0) {
        set_number(napi, fields, "errno", boxlite_error_os_errno(error));
    }
    if (boxlite_error_exit_code(error) >= 0) {
        set_number(napi, fields, "exitCode", boxlite_error_exit_code(error));
    }
    return make(napi, boxlite_error_message(error), fields);
}

napi_value error_text(napi_env napi, boxlite_code code, const char *message, const char *hint)
{
    return make(napi, message, fields_of(napi, code, hint, NULL));
}

napi_value error_throw(napi_env napi, boxlite_code code, boxlite_error *error)
{
    napi_value made = error_make(napi, code, error);
    boxlite_error_free(error);
    if (made != NULL) {
        napi_throw(napi, made);
    }
    return NULL;
}

napi_value throw_type(napi_env napi, const char *name, const char *problem)
{
    char message[256];
    snprintf(message, sizeof message, "%s: %s", name, problem);
    napi_value fields = fields_of(napi, BOXLITE_INVALID_ARGUMENT, "see the types in index.d.ts", name);
    napi_value made = make(napi, message, fields);
    if (made != NULL) {
        napi_throw(napi, made);
    }
    return NULL;
}
