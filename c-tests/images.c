/* Images: pulled ahead with progress, found, listed, kept while boxes need them, removed, pruned; bounded, and asked for
 * with the credentials that docker login keeps. */
#define _GNU_SOURCE
#include "harness.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct seen {
    int reports;
    bool booted;
    char last_stage[32];
    char reference[512];
    size_t layers;
};

static int32_t note(const boxlite_progress *progress, void *user)
{
    struct seen *seen = user;
    seen->reports++;
    snprintf(seen->last_stage, sizeof seen->last_stage, "%s", boxlite_progress_stage(progress));
    snprintf(seen->reference, sizeof seen->reference, "%s", boxlite_progress_reference(progress));
    seen->booted = seen->booted || strcmp(seen->last_stage, "boot") == 0;
    seen->layers = boxlite_progress_layer_len(progress);
    return 0;
}

static void pulling(boxlite_runtime *runtime)
{
    boxlite_image *image;
    struct seen seen = {0};
    EXPECT(BOXLITE_NOT_FOUND, boxlite_image_get(runtime, test_image(), NULL, &image, &error));
    CHECK(image == NULL);
    boxlite_call *call = new_call(60000);
    OK(boxlite_call_set_progress(call, note, &seen, &error));
    OK(boxlite_image_pull(runtime, test_image(), call, &image, &error));
    CHECK(seen.reports > 0 && !seen.booted);
    CHECK_STR(seen.last_stage, "done");
    CHECK_STR(seen.reference, boxlite_image_reference(image));
    CHECK_INT((long long)seen.layers, (long long)boxlite_image_layer_len(image));

    CHECK(strstr(boxlite_image_reference(image), boxlite_image_repository(image)) != NULL);
    CHECK(strncmp(boxlite_image_digest(image), "sha256:", 7) == 0);
    CHECK(strncmp(boxlite_image_config_digest(image), "sha256:", 7) == 0);
    /* The image of the tests is a directory, of which no tag was asked for. */
    CHECK(boxlite_image_tag(image) == NULL);
    CHECK(boxlite_image_layer_len(image) > 0);
    CHECK(strncmp(boxlite_image_layer_digest(image, 0), "sha256:", 7) == 0);
    CHECK(boxlite_image_layer_digest(image, boxlite_image_layer_len(image)) == NULL);
    CHECK(boxlite_image_size_bytes(image) > 100000);
    CHECK(boxlite_image_stored_at_ms(image) > 1500000000000);

    boxlite_image *same;
    OK(boxlite_image_get(runtime, boxlite_image_digest(image), NULL, &same, &error));
    CHECK_STR(boxlite_image_reference(same), boxlite_image_reference(image));
    boxlite_image_free(same);
    boxlite_image_free(image);

    OK(boxlite_call_cancel(call, &error));
    EXPECT(BOXLITE_CANCELLED, boxlite_image_pull(runtime, test_image(), call, &image, &error));
    CHECK(image == NULL);
    boxlite_call_free(call);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_image_pull(runtime, "oci:/no/such/layout", NULL, &image, &error));
    EXPECT(BOXLITE_INVALID_ARGUMENT, boxlite_image_pull(runtime, "Bad Name", NULL, &image, &error));
    EXPECT_ABOUT(BOXLITE_INVALID_ARGUMENT, "reference", boxlite_image_pull(runtime, "\xff", NULL, &image, &error));
}

static size_t listed(boxlite_runtime *runtime)
{
    boxlite_image_list *list;
    OK(boxlite_runtime_images(runtime, NULL, &list, &error));
    size_t count = boxlite_image_list_len(list);
    for (size_t i = 0; i < count; i++) {
        CHECK(boxlite_image_reference(boxlite_image_list_at(list, i))[0] != '\0');
    }
    CHECK(boxlite_image_list_at(list, count) == NULL);
    boxlite_image_list_free(list);
    return count;
}

/* What a prune finds; its bytes go to *bytes. */
static size_t prune(boxlite_runtime *runtime, int32_t dry_run, uint64_t *bytes)
{
    boxlite_prune *report;
    uint64_t sum = 0;
    OK(boxlite_runtime_prune(runtime, dry_run, NULL, &report, &error));
    size_t count = boxlite_prune_len(report);
    for (size_t i = 0; i < count; i++) {
        CHECK_INT(boxlite_prune_kind(report, i), BOXLITE_PRUNE_IMAGE);
        CHECK(strncmp(boxlite_prune_name(report, i), "oci:", 4) == 0);
        sum += boxlite_prune_bytes(report, i);
    }
    CHECK_INT(boxlite_prune_kind(report, count), -1);
    CHECK(boxlite_prune_name(report, count) == NULL);
    CHECK_INT((long long)boxlite_prune_total_bytes(report), (long long)sum);
    boxlite_prune_free(report);
    *bytes = sum;
    return count;
}

/* What a box's start says when its image is beyond a bound. */
static void check_bound(const char *dir, uint64_t layer_bytes, uint64_t entries, const char *word)
{
    char path[512];
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    snprintf(path, sizeof path, "%s/%s", home(), dir);
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, path, &error));
    OK(boxlite_runtime_options_set_image_limits(options, layer_bytes, entries, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    boxlite_box *box = create_box(runtime, "bounded");
    boxlite_code code = boxlite_box_start(box, NULL, &error);
    CHECK(strstr(boxlite_error_message(error), word) != NULL);
    EXPECT(BOXLITE_RESOURCE_EXHAUSTED, code);
    boxlite_box_free(box);
    OK(boxlite_remove(runtime, "bounded", 0, NULL, &error));
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
}

static void bounds_are_kept(void)
{
    /* The other one is so large that only one of them can be the reason. */
    check_bound("few-bytes", 1000, 1 << 30, "more than 1000 bytes");
    check_bound("few-entries", 1 << 30, 3, "more than 3 entries");
}

/* A registry that lets nobody in, and notes what it was shown. */
struct registry {
    int listener, port;
    bool saw_login;
    pthread_t thread;
};

static const char *const refusal = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\n"
                                   "Content-Length: 0\r\nConnection: close\r\n\r\n";

static void *serve(void *argument)
{
    struct registry *registry = argument;
    for (int one; (one = accept4(registry->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(one)) {
        char request[8192];
        size_t length = 0;
        request[0] = '\0';
        for (ssize_t count; strstr(request, "\r\n\r\n") == NULL && length < sizeof request - 1
                 && (count = recv(one, request + length, sizeof request - 1 - length, 0)) > 0;) {
            length += (size_t)count;
            request[length] = '\0';
        }
        /* user:pass */
        registry->saw_login = registry->saw_login || strcasestr(request, "authorization: basic dXNlcjpwYXNz") != NULL;
        (void)send(one, refusal, strlen(refusal), MSG_NOSIGNAL);
        (void)shutdown(one, SHUT_WR);
        while (recv(one, request, sizeof request, 0) > 0) {
        }
    }
    return NULL;
}

static void start_registry(struct registry *registry)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    *registry = (struct registry){.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK_INT(bind(registry->listener, (struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(registry->listener, 8), 0);
    CHECK_INT(getsockname(registry->listener, (struct sockaddr *)&address, &size), 0);
    registry->port = ntohs(address.sin_port);
    CHECK_INT(pthread_create(&registry->thread, NULL, serve, registry), 0);
}

/* Whether the registry is shown the login of a `docker login` when the options name this file of credentials. */
static bool shows_login(const char *dir, const char *config)
{
    struct registry registry;
    char host[64], reference[128], path[512];
    boxlite_runtime_options *options;
    boxlite_runtime *runtime;
    boxlite_image *image;
    start_registry(&registry);
    snprintf(host, sizeof host, "127.0.0.1:%d", registry.port);
    snprintf(reference, sizeof reference, "%s/some/image:1", host);
    if (config[0] != '\0') {
        FILE *file = fopen(config, "we");
        CHECK(file != NULL && fprintf(file, "{\"auths\":{\"%s\":{\"auth\":\"dXNlcjpwYXNz\"}}}", host) > 0
              && fclose(file) == 0);
    }
    snprintf(path, sizeof path, "%s/%s", home(), dir);
    OK(boxlite_runtime_options_new(&options, &error));
    OK(boxlite_runtime_options_set_home_dir(options, path, &error));
    OK(boxlite_runtime_options_set_docker_config(options, config, &error));
    OK(boxlite_runtime_options_add_registry(options, host, BOXLITE_TRANSPORT_HTTP, &error));
    OK(boxlite_runtime_new(options, &runtime, &error));
    boxlite_runtime_options_free(options);
    EXPECT(BOXLITE_NETWORK, boxlite_image_pull(runtime, reference, NULL, &image, &error));
    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_runtime_free(runtime);
    (void)shutdown(registry.listener, SHUT_RDWR);
    CHECK_INT(pthread_join(registry.thread, NULL), 0);
    close(registry.listener);
    return registry.saw_login;
}

static void what_docker_login_left_is_shown(void)
{
    char config[512], dir[500];
    snprintf(dir, sizeof dir, "%s/docker", home());
    snprintf(config, sizeof config, "%s/config.json", dir);
    CHECK_INT(mkdir(dir, 0700), 0);
    CHECK(shows_login("logged-in", config));
    /* This one is found without the options, which say that none is looked at. */
    CHECK_INT(setenv("DOCKER_CONFIG", dir, 1), 0);
    CHECK(!shows_login("nobody", ""));
}

int main(void)
{
    boxlite_runtime *runtime = open_runtime();
    uint64_t announced, freed;
    CHECK_INT((long long)listed(runtime), 0);
    CHECK_INT((long long)prune(runtime, 0, &freed), 0);
    pulling(runtime);
    CHECK_INT((long long)listed(runtime), 1);
    CHECK_INT((long long)prune(runtime, 1, &announced), 1);

    /* A box that was only created needs its image already. */
    boxlite_box *box = create_box(runtime, "user");
    CHECK_INT((long long)prune(runtime, 0, &freed), 0);
    CHECK_OUTPUT(box, "echo runs", "runs\n");
    EXPECT(BOXLITE_INVALID_STATE, boxlite_image_remove(runtime, test_image(), 0, NULL, &error));
    CHECK_INT((long long)prune(runtime, 0, &freed), 0);
    CHECK_INT((long long)listed(runtime), 1);

    /* Removed all the same: the box goes on, and pulls it again when it is started again. */
    OK(boxlite_image_remove(runtime, test_image(), 1, NULL, &error));
    CHECK_INT((long long)listed(runtime), 0);
    EXPECT(BOXLITE_NOT_FOUND, boxlite_image_remove(runtime, test_image(), 1, NULL, &error));
    CHECK_OUTPUT(box, "echo goes on > /file; cat /file", "goes on\n");
    OK(boxlite_box_stop(box, NULL, &error));
    boxlite_box_free(box);
    OK(boxlite_get(runtime, "user", NULL, &box, &error));
    CHECK_OUTPUT(box, "cat /file", "goes on\n");
    CHECK_INT((long long)listed(runtime), 1);

    OK(boxlite_remove(runtime, "user", 1, NULL, &error));
    boxlite_box_free(box);
    CHECK_INT((long long)prune(runtime, 1, &announced), 1);
    CHECK(announced > 100000);
    CHECK_INT((long long)listed(runtime), 1);
    CHECK_INT((long long)prune(runtime, 0, &freed), 1);
    CHECK_INT((long long)freed, (long long)announced);
    CHECK_INT((long long)listed(runtime), 0);

    OK(boxlite_runtime_shutdown(runtime, -1, NULL, &error));
    boxlite_image_list *list;
    EXPECT(BOXLITE_STOPPED, boxlite_runtime_images(runtime, NULL, &list, &error));
    boxlite_runtime_free(runtime);
    bounds_are_kept();
    what_docker_login_left_is_shown();
    return finish();
}
