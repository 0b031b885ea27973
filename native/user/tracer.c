/* The tracer that started this process, or one that it descends from. */
#include "user/tracer.h"
#include "user/attach.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define TRACER_MS 10000

int wbpf_probes_folder(char *path, size_t bytes)
{
    char folder[2048], host[256];
    const char *text = getenv("WBPF_DIR");
    int used = text && *text ? snprintf(folder, sizeof folder, "%s", text)
                             : snprintf(folder, sizeof folder, "/dev/shm/wbpf-%u", (unsigned)geteuid());
    text = getenv("WBPF_HOST");
    if (text && *text)
        snprintf(host, sizeof host, "%s", text);
    else if (gethostname(host, sizeof host - 1) != 0)
        return -errno;
    host[sizeof host - 1] = 0;
    if (used >= (int)sizeof folder || strchr(host, '/') || host[0] == '.')
        return -EINVAL;
    if (snprintf(path, bytes, "%s/%s", folder, host) >= (int)bytes)
        return -ENAMETOOLONG;
    if ((mkdir(folder, 0770) != 0 && errno != EEXIST) || (mkdir(path, 0770) != 0 && errno != EEXIST))
        return -errno;
    struct stat st;
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) != 0 || st.st_mode & S_IWOTH) {
        close(fd);
        return -EACCES;
    }
    return fd;
}

static int connect_to_tracer(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[4096];
    int folder = wbpf_probes_folder(path, sizeof path);
    if (folder < 0)
        return folder;
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int used = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", folder, name);
    if (fd >= 0 && (used >= (int)sizeof address.sun_path ||
                    connect(fd, (struct sockaddr *)&address, sizeof address) < 0)) {
        close(fd);
        fd = -1;
    }
    close(folder);
    return fd;
}

void wbpf_tracer_wait(bool forked)
{
    const char *name = getenv("WBPF_TRACER");
    if (!name || !*name || strchr(name, '/'))
        return;
    int fd = connect_to_tracer(name), timeout_ms = TRACER_MS;
    if (fd < 0)
        return;
    struct wbpf_attach_announcement announcement = {
        .magic = WBPF_ATTACH_MAGIC, .pid = getpid(), .forked = forked};
    char answer = 0;
    if (send(fd, &announcement, sizeof announcement, MSG_NOSIGNAL) == sizeof announcement) {
        while (answer != WBPF_ATTACH_GO) {
            struct pollfd waited = {.fd = fd, .events = POLLIN};
            int ready = poll(&waited, 1, timeout_ms);
            if (ready < 0 && errno == EINTR)
                continue;
            if (ready <= 0 || recv(fd, &answer, 1, 0) <= 0)
                break;
            if (answer == WBPF_ATTACH_HOLD)
                timeout_ms = -1;
        }
    }
    close(fd);
}
