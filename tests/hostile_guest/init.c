/* An init that tries to get out of its virtual machine, says on the console what came of each try, and reboots. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

/* A negative result is a failed try. */
static void tried(int result, const char *format, ...) {
    int error = errno;
    va_list values;
    va_start(values, format);
    printf("hostile: ");
    vprintf(format, values);
    va_end(values);
    printf(": %s\n", result < 0 ? strerror(error) : "GOT THROUGH");
    fflush(stdout);
}

static void write_to_the_root(const char *when) {
    char self[256];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length < 0 ? 0 : length] = 0;
    tried(open("/evil", O_CREAT | O_WRONLY, 0755), "%s: create a file", when);
    tried(mkdir("/evil.d", 0755), "%s: make a directory", when);
    tried(symlink("/etc/passwd", "/evil.l"), "%s: make a link", when);
    tried(rename(self, "/evil"), "%s: rename the init %s", when, self);
    tried(unlink(self), "%s: delete the init", when);
    tried(chmod(self, 0777), "%s: change the init's mode", when);
    tried(truncate(self, 0), "%s: empty the init", when);
}

static void write_to_disks(void) {
    DIR *disks = opendir("/sys/block");
    struct dirent *disk;
    while (disks && (disk = readdir(disks))) {
        char path[512], serial[64] = "";
        snprintf(path, sizeof path, "/sys/block/%s/serial", disk->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%63s", serial) != 1) serial[0] = 0;
        fclose(file);
        /* Its own disks a guest may write to. */
        if (!strcmp(serial, "box") || !strcmp(serial, "transfer")) continue;
        snprintf(path, sizeof path, "/dev/%s", disk->d_name);
        int fd = open(path, O_RDWR | O_SYNC);
        tried(fd < 0 ? -1 : (int)pwrite(fd, "evil", 4, 4096), "write to the disk %s", serial);
    }
}

static int connect_to(unsigned cid, unsigned port, int kind) {
    struct sockaddr_vm there = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
    struct timeval patience = {0, 300000};
    int fd = socket(AF_VSOCK, kind, 0), result;
    if (fd < 0) return -1;
    setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    result = connect(fd, (struct sockaddr *)&there, sizeof there);
    if (result == 0) {
        /* An answer is what counts. */
        char byte = 0;
        result = write(fd, &byte, 1) == 1 && read(fd, &byte, 1) == 1 ? 0 : -1;
    }
    return result;
}

int main(void) {
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);

    write_to_the_root("as found");
    tried(mount(NULL, "/", NULL, MS_REMOUNT, NULL), "make the root writable (allowed, if it changes nothing)");
    write_to_the_root("after a remount");
    write_to_disks();

    /* 1024 is the agent's own; the ones above are where a network would be handed out. */
    unsigned ports[] = {1, 22, 80, 1023, 1025, 1026, 1027, 1028, 1029, 1030, 1031, 2375};
    for (unsigned i = 0; i < sizeof ports / sizeof *ports; i++) {
        tried(connect_to(VMADDR_CID_HOST, ports[i], SOCK_STREAM), "reach the host's vsock port %u", ports[i]);
    }
    for (unsigned port = 1024; port < 1032; port++) {
        tried(connect_to(VMADDR_CID_HOST, port, SOCK_DGRAM), "reach the host's vsock datagram port %u", port);
    }
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(22), .sin_addr = {htonl(0x0a000202)}};
    tried(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&local, sizeof local), "reach a network");
    printf("hostile: end\n");
    fflush(stdout);
    sync();
    reboot(RB_AUTOBOOT);
}
