#include "sockops.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct sockops self;
    if (sockops_open(&self) || sockops_load(&self) || wbpf_reader_open(&reader, self.maps.events) ||
        wbpf_program_attach(self.programs.on_socket, wbpf_param("group")) < 0)
        return wbpf_failed("sockops");
    int event = wbpf_event_find("connection");
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct connection)) < 0)
            return wbpf_failed("sockops");
    uint64_t lost = 0;
    sockops_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "sockops: %llu events lost\n", (unsigned long long)lost);
}
