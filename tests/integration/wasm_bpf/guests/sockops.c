/* sockops CGROUP COUNT: until so many connections were begun by the cgroup's processes. */
#include "wasm_bpf.h"
#include <unistd.h>

int main(int argc, char **argv)
{
    uint64_t loaded = ATTACH(argv[1], "count_ops");
    int fd = map_of(loaded, "ops");
    READY();
    for (uint32_t wanted = atoi(argv[2]), active, passive;; usleep(20000)) {
        active = passive = 0;
        for (uint32_t key = 0; key < 2; key++) {
            struct {
                uint64_t values[256], canary;
            } cpus;
            memset(&cpus, 0xa5, sizeof cpus);
            int error = wasm_bpf_map_operate(fd, LOOKUP, &key, cpus.values, NULL, 0);
            if (error)
                return fprintf(stderr, "lookup: %d\n", error), 3;
            if (cpus.canary != 0xa5a5a5a5a5a5a5a5)
                return 4;
            for (int cpu = 0; cpu < 256 && cpus.values[cpu] != 0xa5a5a5a5a5a5a5a5; cpu++)
                *(key ? &passive : &active) += (uint32_t)cpus.values[cpu];
        }
        if (active >= wanted)
            return printf("%u %u\n", active, passive), 0;
    }
}
