/* xdp INTERFACE COUNT: until so many packets of UDP came; the status is 7 then. */
#include "wasm_bpf.h"
#include <poll.h>
#include <time.h>

int main(int argc, char **argv)
{
    uint64_t loaded = ATTACH(argv[1], "xdp_pass");
    int fd = map_of(loaded, "packets");
    READY();
    for (;;) {
        uint32_t key = 0;
        uint64_t count = 0;
        if (wasm_bpf_map_operate(fd, LOOKUP, &key, &count, NULL, 0))
            return 1;
        if (count >= strtoull(argv[2], NULL, 10)) {
            printf("%llu\n", (unsigned long long)count);
            return 7;
        }
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}
