/* Events go to a process of Python's, which decodes and prints them; and behind the first, what the guest
 * itself prints, so that all comes in the order that it was said in. */
#include "launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)

struct frame {
    uint32_t kind, number, bytes; /* of src/wbpf/cli/launched.py */
};

static bool start(struct printer *printer)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); /* less is fine too */
    printer->process = python_spawn_launched("print", ends[0], printer->module_fd, printer->words);
    printer->fd = ends[1];
    close(ends[0]);
    return printer->process > 0;
}

/* Blocks while the printer has too much to do. False: nobody reads what it prints. */
bool printer_send(struct printer *printer, char kind, uint32_t number, const void *data, uint32_t bytes)
{
    struct frame frame = {(uint32_t)kind, number, bytes};
    struct iovec parts[2] = {{&frame, sizeof frame}, {(void *)data, bytes}};
    if (!printer->process && !start(printer))
        printer->is_broken = true;
    for (int at = 0; at < 2 && !printer->is_broken;) {
        ssize_t now = writev(printer->fd, parts + at, 2 - at);
        if (now < 0 && errno != EINTR)
            printer->is_broken = true;
        for (; now > 0 && at < 2 && (size_t)now >= parts[at].iov_len; at++)
            now -= (ssize_t)parts[at].iov_len;
        if (now > 0) {
            parts[at].iov_base = (char *)parts[at].iov_base + now;
            parts[at].iov_len -= (size_t)now;
        }
        if (at < 2 && parts[at].iov_len == 0)
            at++;
    }
    return !printer->is_broken;
}
