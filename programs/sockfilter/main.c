#include "sockfilter.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct sockfilter self;
    if (sockfilter_open(&self) || sockfilter_load(&self) || wbpf_reader_open(&reader, self.maps.events) ||
        wbpf_program_attach(self.programs.on_packet, wbpf_param("interface")) < 0)
        return wbpf_failed("sockfilter");
    int event = wbpf_event_find("packet");
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct packet)) < 0)
            return wbpf_failed("sockfilter");
    uint64_t lost = 0;
    sockfilter_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "sockfilter: %llu packets lost\n", (unsigned long long)lost);
}
