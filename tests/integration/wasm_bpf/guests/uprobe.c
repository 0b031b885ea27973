/* uprobe COUNT: prints calls and returns until there were so many. */
#include "wasm_bpf.h"

static int count;

static int on_call(void *context, void *data, int size)
{
    printf("%u\n", *(uint32_t *)data);
    count++;
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t loaded = ATTACH("ignored", "uprobe_add", "uretprobe_add");
    int fd = map_of(loaded, "calls");
    READY();
    uint32_t event;
    while (count < atoi(argv[1]))
        if (wasm_bpf_buffer_poll(loaded, fd, on_call, NULL, &event, sizeof event, 100) < 0)
            return 1;
    return 0;
}
