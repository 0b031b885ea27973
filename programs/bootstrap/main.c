#include "bootstrap.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct bootstrap self;
    if (bootstrap_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("bootstrap");
    int event = wbpf_event_find("process");
    uint64_t lost = 0, told = 0;
    while (wbpf_wait(1000) >= 0) {
        if (wbpf_reader_emit(&reader, event, sizeof(struct process)) < 0)
            return wbpf_failed("bootstrap");
        if (!bootstrap_get_lost(&self, &lost) && lost > told) {
            fprintf(stderr, "bootstrap: %llu events lost\n", (unsigned long long)(lost - told));
            told = lost;
        }
    }
}
