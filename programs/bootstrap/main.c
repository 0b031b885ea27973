#include "bootstrap.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct bootstrap self;
    if (bootstrap_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("bootstrap");
    int event = wbpf_event_find("process");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct process)) < 0)
            return wbpf_failed("bootstrap");
    uint64_t lost = 0;
    bootstrap_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "bootstrap: %llu events lost\n", (unsigned long long)lost);
}
