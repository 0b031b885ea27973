#include "netmon.skel.h"

static uint16_t host_order(uint16_t port)
{
    return port << 8 | port >> 8;
}

/* Hands the host a line for each flow. */
static int report(struct netmon *self, int event)
{
    struct flow_key key, next;
    const struct flow_key *at = NULL;
    while (!netmon_flows_next(self, at, &next)) {
        key = next;
        at = &key;
        struct flow_stats stats;
        if (netmon_flows_lookup(self, &key, &stats))
            continue; /* it made way for a newer flow */
        struct flow line = {
            .local_port = host_order(key.local_port),
            .remote_port = host_order(key.remote_port),
            .protocol = key.protocol,
            .packets_in = stats.packets[0],
            .bytes_in = stats.bytes[0],
            .packets_out = stats.packets[1],
            .bytes_out = stats.bytes[1],
            .latencies = stats.latencies,
            .latency_mean_ns = stats.latencies ? stats.latency_sum_ns / stats.latencies : 0,
            .latency_max_ns = stats.latency_max_ns,
        };
        memcpy(line.local, key.local, sizeof line.local);
        memcpy(line.remote, key.remote, sizeof line.remote);
        int error = wbpf_emit(event, &line, sizeof line);
        if (error < 0)
            return error;
    }
    return 0;
}

int main(void)
{
    struct netmon self;
    const char *interface = wbpf_param("interface");
    char ingress[64], egress[64];
    snprintf(ingress, sizeof ingress, "%s:ingress", interface);
    snprintf(egress, sizeof egress, "%s:egress", interface);
    if (netmon_open(&self) || netmon_load(&self) ||
        wbpf_program_attach(self.programs.on_ingress, ingress) < 0 ||
        wbpf_program_attach(self.programs.on_egress, egress) < 0)
        return wbpf_failed("netmon");
    int event = wbpf_event_find("flow");
    int interval_ms = wbpf_param_uint("interval") / 1000000;
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(interval_ms ? interval_ms : -1) >= 0)
        if (report(&self, event))
            return wbpf_failed("netmon");
    return report(&self, event) ? wbpf_failed("netmon") : 0;
}
