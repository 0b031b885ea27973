#include "tcpconnlat.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct tcpconnlat self;
    if (tcpconnlat_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("tcpconnlat");
    int event = wbpf_event_find("connection");
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct connection)) < 0)
            return wbpf_failed("tcpconnlat");
    uint64_t lost = 0;
    tcpconnlat_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "tcpconnlat: %llu events lost\n", (unsigned long long)lost);
}
