/* opensnoop PID PREFIX COUNT: prints paths with this prefix that a process opens, until there were so many.
 */
#include "wasm_bpf.h"

struct event {
    uint64_t ts;
    uint32_t pid, uid;
    int ret, flags;
    char comm[16], fname[255];
};

static int seen;

static int on_event(void *context, void *data, int size)
{
    const struct event *event = data;
    if (strncmp(event->fname, context, strlen(context)))
        return 0;
    printf("%d %d %s\n", event->pid, event->ret, event->fname);
    seen++;
    return 0;
}

int main(int argc, char **argv)
{
    uint32_t pid = atoi(argv[1]);
    memcpy(section(".rodata"), &pid, sizeof pid);
    uint64_t loaded = ATTACH("", "enter_openat", "exit_openat");
    int fd = map_of(loaded, "events");
    char buffer[4096];
    /* a perf buffer begins with the first poll */
    if (wasm_bpf_buffer_poll(loaded, fd, on_event, argv[2], buffer, sizeof buffer, 1) < 0)
        return 1;
    READY();
    while (seen < atoi(argv[3]))
        if (wasm_bpf_buffer_poll(loaded, fd, on_event, argv[2], buffer, sizeof buffer, 100) < 0)
            return 1;
    return 0;
}
