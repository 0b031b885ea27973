#include "execve.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct execve self;
    if (execve_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("execve");
    int event = wbpf_event_find("exec");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct exec)) < 0)
            return wbpf_failed("execve");
    uint64_t lost = 0;
    execve_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "execve: %llu events lost\n", (unsigned long long)lost);
}
