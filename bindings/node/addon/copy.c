/* Files into a box and out of it: by path, as a tar archive by descriptor, and as bytes. */
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct copying {
    struct operation operation;
    boxlite_box *box;
    boxlite_copy_options *options;
    char *from, *to;               /* paths; an archive has one of them */
    int archive;                   /* our own descriptor: the caller may close its one meanwhile */
    char *data;
    size_t length;
    int32_t mode;
    int64_t max_bytes;
    boxlite_bytes *content;
};

static void discard(struct operation *operation)
{
    struct copying *copying = (struct copying *)operation;
    boxlite_copy_options_free(copying->options);
    boxlite_bytes_free(copying->content);
    free(copying->from);
    free(copying->to);
    free(copying->data);
    if (copying->archive >= 0) {
        close(copying->archive);
    }
}

static struct copying *begin(napi_env napi, napi_value box, napi_value call, void (*work)(struct operation *))
{
    struct handle *handle = handle_from(napi, box, KIND_BOX);
    struct copying *copying = handle == NULL ? NULL : operation_new(napi, sizeof *copying, call);
    if (copying == NULL) {
        return NULL;
    }
    operation_use(&copying->operation, handle);
    copying->box = handle->pointer;
    copying->archive = -1;
    copying->operation.work = work;
    copying->operation.discard = discard;
    return copying;
}

static bool read_options(napi_env napi, napi_value value, struct copying *copying)
{
    struct reader reader;
    struct reader *const r = &reader;
    boxlite_copy_options *options = NULL;
    reader_begin(r, napi, value);
    reader_check(r, boxlite_copy_options_new(&copying->options, &r->error));
    options = copying->options;
    if (read_flag(r, "overwrite")) {
        reader_check(r, boxlite_copy_options_set_overwrite(options, r->number != 0, &r->error));
    }
    if (read_flag(r, "recursive")) {
        reader_check(r, boxlite_copy_options_set_recursive(options, r->number != 0, &r->error));
    }
    if (read_flag(r, "followSymlinks")) {
        reader_check(r, boxlite_copy_options_set_follow_symlinks(options, r->number != 0, &r->error));
    }
    if (read_flag(r, "includeParent")) {
        reader_check(r, boxlite_copy_options_set_include_parent(options, r->number != 0, &r->error));
    }
    return reader_end(r);
}

/* False with an exception pending. */
static bool to_descriptor(napi_env napi, napi_value value, int *own)
{
    double number;
    if (!to_number(napi, value, "fd", &number)) {
        return false;
    }
    errno = EBADF;
    *own = number < 0 || number > INT32_MAX ? -1 : fcntl((int)number, F_DUPFD_CLOEXEC, 0);
    if (*own < 0 && errno == EBADF) {
        throw_type(napi, "fd", "is no open descriptor");
    } else if (*own < 0) {
        napi_throw(napi, error_text(napi, BOXLITE_RESOURCE_EXHAUSTED, "fd: no further descriptor can be opened",
                                    "raise the limit on open files (ulimit -n)"));
    }
    return *own >= 0;
}

static void in_work(struct operation *operation)
{
    struct copying *copying = (struct copying *)operation;
    operation->code = boxlite_box_copy_in(copying->box, copying->from, copying->to, copying->options, operation->call,
                                          &operation->error);
}

static void out_work(struct operation *operation)
{
    struct copying *copying = (struct copying *)operation;
    operation->code = boxlite_box_copy_out(copying->box, copying->from, copying->to, copying->options, operation->call,
                                           &operation->error);
}

static napi_value by_paths(napi_env napi, napi_callback_info info, const char *from, const char *to,
                           void (*work)(struct operation *))
{
    napi_value args[ARGS_MAX];
    struct copying *copying;
    args_get(napi, info, args);
    if ((copying = begin(napi, args[0], args[4], work)) == NULL) {
        return NULL;
    }
    if (!to_text(napi, args[1], from, &copying->from) || !to_text(napi, args[2], to, &copying->to)
        || !read_options(napi, args[3], copying)) {
        return operation_drop(copying);
    }
    return operation_start(copying);
}

/* copyIn(box, hostPath, boxPath, options, call) */
napi_value box_copy_in(napi_env napi, napi_callback_info info)
{
    return by_paths(napi, info, "hostPath", "boxPath", in_work);
}

/* copyOut(box, boxPath, hostPath, options, call) */
napi_value box_copy_out(napi_env napi, napi_callback_info info)
{
    return by_paths(napi, info, "boxPath", "hostPath", out_work);
}

static void in_tar_work(struct operation *operation)
{
    struct copying *copying = (struct copying *)operation;
    operation->code = boxlite_box_copy_in_tar(copying->box, copying->archive, copying->to, copying->options,
                                              operation->call, &operation->error);
}

static void out_tar_work(struct operation *operation)
{
    struct copying *copying = (struct copying *)operation;
    operation->code = boxlite_box_copy_out_tar(copying->box, copying->from, copying->archive, copying->options,
                                               operation->call, &operation->error);
}

/* copyInTar(box, fd, boxPath, options, call) */
napi_value box_copy_in_tar(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct copying *copying;
    args_get(napi, info, args);
    if ((copying = begin(napi, args[0], args[4], in_tar_work)) == NULL) {
        return NULL;
    }
    if (!to_descriptor(napi, args[1], &copying->archive) || !to_text(napi, args[2], "boxPath", &copying->to)
        || !read_options(napi, args[3], copying)) {
        return operation_drop(copying);
    }
    return operation_start(copying);
}

/* copyOutTar(box, boxPath, fd, options, call) */
napi_value box_copy_out_tar(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct copying *copying;
    args_get(napi, info, args);
    if ((copying = begin(napi, args[0], args[4], out_tar_work)) == NULL) {
        return NULL;
    }
    if (!to_text(napi, args[1], "boxPath", &copying->from) || !to_descriptor(napi, args[2], &copying->archive)
        || !read_options(napi, args[3], copying)) {
        return operation_drop(copying);
    }
    return operation_start(copying);
}

static void read_work(struct operation *operation)
{
    struct copying *copying = (struct copying *)operation;
    operation->code = boxlite_box_read_file(copying->box, copying->from, copying->max_bytes, operation->call,
                                            &copying->content, &operation->error);
}

static napi_value read_result(napi_env napi, struct operation *operation)
{
    const boxlite_bytes *content = ((struct copying *)operation)->content;
    bool thrown = false;
    napi_value bytes = js_bytes(napi, boxlite_bytes_data(content), boxlite_bytes_len(content));
    napi_is_exception_pending(napi, &thrown);
    if (bytes == NULL && !thrown) {
        napi_throw(napi, error_text(napi, BOXLITE_RESOURCE_EXHAUSTED, "the file is larger than a Buffer may be",
                                    "copy the file to the host instead of reading it"));
    }
    return bytes;
}

/* readFile(box, boxPath, maxBytes, call): a Buffer */
napi_value box_read_file(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct copying *copying;
    double max_bytes;
    args_get(napi, info, args);
    if (!to_number(napi, args[2], "maxBytes", &max_bytes)
        || (copying = begin(napi, args[0], args[3], read_work)) == NULL) {
        return NULL;
    }
    copying->operation.result = read_result;
    copying->max_bytes = (int64_t)max_bytes;
    return to_text(napi, args[1], "boxPath", &copying->from) ? operation_start(copying) : operation_drop(copying);
}

static void write_work(struct operation *operation)
{
    struct copying *copying = (struct copying *)operation;
    operation->code = boxlite_box_write_file(copying->box, copying->to, copying->data, copying->length, copying->mode,
                                             operation->call, &operation->error);
}

/* writeFile(box, boxPath, data, mode, call) */
napi_value box_write_file(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct copying *copying;
    double mode = BOXLITE_MODE_DEFAULT;
    args_get(napi, info, args);
    if ((!is_nothing(napi, args[3]) && !to_number(napi, args[3], "mode", &mode))
        || (copying = begin(napi, args[0], args[4], write_work)) == NULL) {
        return NULL;
    }
    /* What is no mode stays none, and is refused by the library. */
    copying->mode = mode < INT32_MIN || mode > INT32_MAX ? INT32_MAX : (int32_t)mode;
    if (!to_text(napi, args[1], "boxPath", &copying->to)
        || !to_bytes(napi, args[2], "data", &copying->data, &copying->length)) {
        return operation_drop(copying);
    }
    return operation_start(copying);
}
