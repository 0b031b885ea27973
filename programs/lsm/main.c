#include "lsm.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct lsm self;
    if (lsm_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("lsm");
    int event = wbpf_event_find("removal");
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct removal)) < 0)
            return wbpf_failed("lsm");
    uint64_t lost = 0;
    lsm_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "lsm: %llu events lost\n", (unsigned long long)lost);
}
