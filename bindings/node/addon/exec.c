/* Commands run to their end, and commands started or taken up with their streams. */
#include "addon.h"

#include <stdlib.h>
#include <unistd.h>

/* Which streams are taken at once; the places of struct handle's descriptors, too. */
enum { STDIN = 0, STDOUT = 1, STDERR = 2 };

struct executing {
    struct operation operation;
    boxlite_box *box;
    boxlite_command *command;
    char *id;
    bool wanted[3], tty;
    uint64_t offset[3];
    int fds[3];
    boxlite_exec_result *result;
    boxlite_execution *execution;
    boxlite_execution_list *list;
};

static void discard(struct operation *operation)
{
    struct executing *executing = (struct executing *)operation;
    for (size_t i = 0; i < 3; i++) {
        if (executing->fds[i] >= 0) {
            close(executing->fds[i]);
        }
    }
    boxlite_command_free(executing->command);
    boxlite_exec_result_free(executing->result);
    boxlite_execution_free(executing->execution);
    boxlite_execution_list_free(executing->list);
    free(executing->id);
}

static struct executing *begin(napi_env napi, napi_value box, napi_value call, void (*work)(struct operation *),
                               napi_value (*result)(napi_env, struct operation *))
{
    struct handle *handle = handle_from(napi, box, KIND_BOX);
    struct executing *executing = handle == NULL ? NULL : operation_new(napi, sizeof *executing, call);
    if (executing == NULL) {
        return NULL;
    }
    operation_use(&executing->operation, handle);
    executing->box = handle->pointer;
    executing->fds[0] = executing->fds[1] = executing->fds[2] = -1;
    executing->operation.work = work;
    executing->operation.result = result;
    executing->operation.discard = discard;
    return executing;
}

static void exec_work(struct operation *operation)
{
    struct executing *executing = (struct executing *)operation;
    operation->code = boxlite_exec(executing->box, executing->command, operation->call, &executing->result,
                                   &operation->error);
}

static napi_value exec_result(napi_env napi, struct operation *operation)
{
    const boxlite_exec_result *result = ((struct executing *)operation)->result;
    napi_value object;
    if (result == NULL) {
        return NULL;
    }
    napi_create_object(napi, &object);
    set_number(napi, object, "code", boxlite_exec_result_exit_code(result));
    set_number(napi, object, "signal", boxlite_exec_result_signal(result));
    set_flag(napi, object, "timedOut", boxlite_exec_result_timed_out(result));
    set_flag(napi, object, "oomKilled", boxlite_exec_result_oom_killed(result));
    set_value(napi, object, "stdout",
              js_bytes(napi, boxlite_exec_result_stdout(result), boxlite_exec_result_stdout_len(result)));
    set_number(napi, object, "stdoutTotal", (double)boxlite_exec_result_stdout_total(result));
    set_flag(napi, object, "stdoutTruncated", boxlite_exec_result_stdout_truncated(result));
    set_value(napi, object, "stderr",
              js_bytes(napi, boxlite_exec_result_stderr(result), boxlite_exec_result_stderr_len(result)));
    set_number(napi, object, "stderrTotal", (double)boxlite_exec_result_stderr_total(result));
    set_flag(napi, object, "stderrTruncated", boxlite_exec_result_stderr_truncated(result));
    set_flag(napi, object, "outputStillOpen", boxlite_exec_result_output_still_open(result));
    return object;
}

/* exec(box, command, call): how it ended and what it wrote */
napi_value box_exec(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct executing *executing;
    args_get(napi, info, args);
    if ((executing = begin(napi, args[0], args[2], exec_work, exec_result)) == NULL) {
        return NULL;
    }
    executing->operation.partial = true;
    executing->command = command_from(napi, args[1]);
    return executing->command == NULL ? operation_drop(executing) : operation_start(executing);
}

/* Takes the streams that are wanted. */
static void take(struct executing *executing)
{
    struct operation *operation = &executing->operation;
    boxlite_execution *execution = executing->execution;
    const int32_t flags = BOXLITE_FD_NONBLOCK;
    boxlite_call *call = operation->call;
    boxlite_error **error = &operation->error;
    if (executing->tty) {
        if (executing->wanted[STDOUT]) {
            operation->code = boxlite_execution_take_tty(execution, executing->offset[STDOUT], flags, call,
                                                         &executing->fds[STDOUT], error);
        }
        return;
    }
    if (executing->wanted[STDIN]) {
        operation->code = boxlite_execution_take_stdin(execution, flags, call, &executing->fds[STDIN], error);
    }
    if (operation->code == BOXLITE_OK && executing->wanted[STDOUT]) {
        operation->code = boxlite_execution_take_stdout(execution, executing->offset[STDOUT], flags, call,
                                                        &executing->fds[STDOUT], error);
    }
    if (operation->code == BOXLITE_OK && executing->wanted[STDERR]) {
        operation->code = boxlite_execution_take_stderr(execution, executing->offset[STDERR], flags, call,
                                                        &executing->fds[STDERR], error);
    }
}

static void exec_start_work(struct operation *operation)
{
    struct executing *executing = (struct executing *)operation;
    operation->code = boxlite_box_exec_start(executing->box, executing->command, operation->call, &executing->execution,
                                             &operation->error);
    if (operation->code != BOXLITE_OK) {
        return;
    }
    take(executing);
    if (operation->code != BOXLITE_OK) {
        /* Nobody will ever have it: it must not run on. */
        boxlite_call *call = NULL;
        if (boxlite_call_new(&call, NULL) == BOXLITE_OK) {
            boxlite_call_set_timeout_ms(call, 5000, NULL);
            boxlite_execution_kill(executing->execution, call, NULL);
        }
        boxlite_call_free(call);
    }
}

static void attach_work(struct operation *operation)
{
    struct executing *executing = (struct executing *)operation;
    operation->code = boxlite_box_attach(executing->box, executing->id, operation->call, &executing->execution,
                                         &operation->error);
    if (operation->code == BOXLITE_OK) {
        take(executing);
    }
}

/* { handle, id } */
static napi_value started_result(napi_env napi, struct operation *operation)
{
    struct executing *executing = (struct executing *)operation;
    boxlite_execution *execution = executing->execution;
    struct handle *handle;
    napi_value result, value;
    napi_create_object(napi, &result);
    set_text(napi, result, "id", boxlite_execution_id(execution));
    executing->execution = NULL;
    if ((value = handle_new(napi, KIND_EXECUTION, execution, &handle)) == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < 3; i++) {
        handle->fds[i] = executing->fds[i];
        executing->fds[i] = -1;
    }
    set_value(napi, result, "handle", value);
    return result;
}

/* { tty, stdin, stdout, stderr }: what is to be taken, the outputs as offsets (-1 the oldest). */
static bool read_takes(napi_env napi, napi_value value, struct executing *executing)
{
    static const char *const keys[] = {"stdin", "stdout", "stderr"};
    struct reader reader;
    reader_begin(&reader, napi, value);
    if (read_flag(&reader, "tty")) {
        executing->tty = reader.number != 0;
    }
    for (size_t i = 0; i < 3; i++) {
        if (read_number(&reader, keys[i])) {
            executing->wanted[i] = true;
            executing->offset[i] = reader.number < 0 ? BOXLITE_OFFSET_OLDEST : (uint64_t)reader.number;
        }
    }
    return reader_end(&reader);
}

/* execStart(box, command, takes, call): { handle, id } */
napi_value box_exec_start(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct executing *executing;
    args_get(napi, info, args);
    if ((executing = begin(napi, args[0], args[3], exec_start_work, started_result)) == NULL) {
        return NULL;
    }
    if (!read_takes(napi, args[2], executing) || (executing->command = command_from(napi, args[1])) == NULL) {
        return operation_drop(executing);
    }
    return operation_start(executing);
}

/* attach(box, id, takes, call): { handle, id } */
napi_value box_attach(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct executing *executing;
    args_get(napi, info, args);
    if ((executing = begin(napi, args[0], args[3], attach_work, started_result)) == NULL) {
        return NULL;
    }
    if (!read_takes(napi, args[2], executing) || !to_text(napi, args[1], "id", &executing->id)) {
        return operation_drop(executing);
    }
    return operation_start(executing);
}

static void executions_work(struct operation *operation)
{
    struct executing *executing = (struct executing *)operation;
    operation->code = boxlite_box_executions(executing->box, operation->call, &executing->list, &operation->error);
}

static napi_value executions_result(napi_env napi, struct operation *operation)
{
    const boxlite_execution_list *list = ((struct executing *)operation)->list;
    napi_value result;
    napi_create_array(napi, &result);
    for (size_t i = 0; i < boxlite_execution_list_len(list); i++) {
        const boxlite_execution_info *info = boxlite_execution_list_at(list, i);
        const boxlite_exit *exit = boxlite_execution_info_exit(info);
        napi_value one, words, taken;
        napi_create_object(napi, &one);
        napi_create_array(napi, &words);
        for (size_t word = 0; word < boxlite_execution_info_arg_len(info); word++) {
            napi_set_element(napi, words, (uint32_t)word, js_text(napi, boxlite_execution_info_arg(info, word)));
        }
        set_text(napi, one, "id", boxlite_execution_info_id(info));
        set_value(napi, one, "args", words);
        set_number(napi, one, "startedAt", (double)boxlite_execution_info_started_at_ms(info));
        set_flag(napi, one, "tty", boxlite_execution_info_tty(info));
        set_number(napi, one, "stdin", boxlite_execution_info_stdin(info));
        set_number(napi, one, "stdout", boxlite_execution_info_stdout(info));
        set_number(napi, one, "stderr", boxlite_execution_info_stderr(info));
        set_flag(napi, one, "mergeStderr", boxlite_execution_info_merge_stderr(info));
        napi_create_object(napi, &taken);
        set_flag(napi, taken, "stdin", boxlite_execution_info_stdin_taken(info));
        set_flag(napi, taken, "stdout", boxlite_execution_info_stdout_taken(info));
        set_flag(napi, taken, "stderr", boxlite_execution_info_stderr_taken(info));
        set_value(napi, one, "taken", taken);
        set_value(napi, one, "exit", exit == NULL ? js_text(napi, NULL) : js_exit(napi, exit));
        napi_set_element(napi, result, (uint32_t)i, one);
    }
    return result;
}

/* executions(box, call) */
napi_value box_executions(napi_env napi, napi_callback_info info)
{
    napi_value args[ARGS_MAX];
    struct executing *executing;
    args_get(napi, info, args);
    executing = begin(napi, args[0], args[1], executions_work, executions_result);
    return executing == NULL ? NULL : operation_start(executing);
}
