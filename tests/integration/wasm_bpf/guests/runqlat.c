/* runqlat TGID COUNT: a histogram of a process's waits for a CPU, when there were so many. */
#include "wasm_bpf.h"
#include <unistd.h>

struct hist {
    uint32_t slots[26];
    char comm[16];
};

int main(int argc, char **argv)
{
    uint32_t tgid = atoi(argv[1]), total = 0;
    memcpy(section(".rodata"), &tgid, sizeof tgid);
    uint64_t loaded = ATTACH(NULL, "sched_wakeup", "sched_wakeup_new", "sched_switch");
    int fd = map_of(loaded, "hists");
    READY();
    while (total < strtoul(argv[2], NULL, 10)) {
        usleep(50000);
        /* print and clear, as the original does */
        uint32_t key = -2, next;
        while (!wasm_bpf_map_operate(fd, NEXT_KEY, &key, NULL, &next, 0)) {
            struct hist hist;
            if (wasm_bpf_map_operate(fd, LOOKUP, &next, &hist, NULL, 0))
                return 2;
            uint32_t here = 0;
            for (int i = 0; i < 26; i++)
                here += hist.slots[i];
            if (next == tgid)
                total += here;
            else
                return 3;
            key = next;
        }
        key = -2;
        while (!wasm_bpf_map_operate(fd, NEXT_KEY, &key, NULL, &next, 0)) {
            if (wasm_bpf_map_operate(fd, DELETE, &next, NULL, NULL, 0))
                return 4;
            key = next;
        }
    }
    printf("%u\n", total);
    return 0;
}
