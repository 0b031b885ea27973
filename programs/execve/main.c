#include "execve.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct execve self;
    if (execve_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("execve");
    int event = wbpf_event_find("exec");
    uint64_t lost = 0, told = 0;
    while (wbpf_wait(1000) >= 0) {
        if (wbpf_reader_emit(&reader, event, sizeof(struct exec)) < 0)
            return wbpf_failed("execve");
        if (!execve_get_lost(&self, &lost) && lost > told) {
            fprintf(stderr, "execve: %llu events lost\n", (unsigned long long)(lost - told));
            told = lost;
        }
    }
}
