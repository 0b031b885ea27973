#include "kprobe.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct kprobe self;
    if (kprobe_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("kprobe");
    int event = wbpf_event_find("unlinked");
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct unlinked)) < 0)
            return wbpf_failed("kprobe");
    uint64_t lost = 0;
    kprobe_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "kprobe: %llu events lost\n", (unsigned long long)lost);
}
