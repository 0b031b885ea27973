#include "probes.skel.h"

#include <inttypes.h>

int main(void)
{
    static struct wbpf_reader events, quiet;
    struct probes self;
    uint64_t count = 0;
    if (probes_open(&self) || probes_load(&self) || probes_attach(&self) ||
        wbpf_reader_open(&quiet, self.maps.quiet) || wbpf_reader_open(&events, self.maps.events))
        return wbpf_failed("probes");
    wbpf_log(WBPF_LOG_INFO, "attached");
    int event = wbpf_event_find("order");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&events, event, sizeof(struct order)) < 0)
            return wbpf_failed("probes");
    probes_get_count(&self, &count);
    fprintf(stderr, "%" PRIu64 " orders\n", count);
    return 0;
}
