/* bootstrap COMM EXITS [MIN_MS]: prints starts and ends of processes of this name, until so many ended. */
#include "wasm_bpf.h"

struct event {
    int pid, is_exit;
    unsigned exit_code;
    uint64_t duration_ns;
    char comm[16];
};

struct rodata {
    uint64_t min_duration_ns;
    char only[16];
};

static int exits;

static int on_event(void *context, void *data, int size)
{
    const struct event *event = data;
    if (size != sizeof *event || context != &exits)
        exit(94);
    printf("%s %s %d\n", event->is_exit ? "EXIT" : "EXEC", event->comm, event->pid);
    exits += event->is_exit;
    return 0;
}

int main(int argc, char **argv)
{
    struct rodata *rodata = (void *)section(".rodata");
    strncpy(rodata->only, argv[1], 15);
    if (argc > 3)
        rodata->min_duration_ns = strtoull(argv[3], NULL, 10) * 1000000;
    uint64_t loaded = ATTACH(NULL, "handle_exec", "handle_exit");
    int fd = map_of(loaded, "rb");
    READY();
    char buffer[4096];
    while (exits < atoi(argv[2]))
        if (wasm_bpf_buffer_poll(loaded, fd, on_event, &exits, buffer, sizeof buffer, 100) < 0)
            return 1;
    return wasm_close_bpf_object(loaded);
}
