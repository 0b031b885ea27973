#include "xdp.skel.h"

/* Hands the host a line for each protocol that was seen. */
static int report(struct xdp *self, int event)
{
    static struct xdp_counters_slot values[4096];
    int cpus = wbpf_map_cpus(self->maps.counters);
    for (uint32_t protocol = 0; protocol < 256; protocol++) {
        int error = xdp_counters_lookup(self, &protocol, values);
        if (error)
            return error;
        struct traffic line = {.protocol = protocol};
        for (int cpu = 0; cpu < cpus; cpu++) {
            line.packets += values[cpu].value.packets;
            line.bytes += values[cpu].value.bytes;
            line.dropped += values[cpu].value.dropped;
        }
        if (line.packets && (error = wbpf_emit(event, &line, sizeof line)) < 0)
            return error;
    }
    return 0;
}

int main(void)
{
    struct xdp self;
    if (xdp_open(&self) || xdp_load(&self) ||
        wbpf_program_attach(self.programs.on_packet, wbpf_param("interface")) < 0)
        return wbpf_failed("xdp");
    int event = wbpf_event_find("traffic");
    int interval_ms = wbpf_param_uint("interval") / 1000000;
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(interval_ms ? interval_ms : -1) >= 0)
        if (report(&self, event))
            return wbpf_failed("xdp");
    return report(&self, event) ? wbpf_failed("xdp") : 0;
}
