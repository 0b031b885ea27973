/* A program that a clock runs. */
#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <linux/ptrace.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

__u64 ticks, period, times[256];

SEC("perf_event") int on_tick(struct bpf_perf_event_data *ctx)
{
    times[ticks & 255] = bpf_ktime_get_ns();
    period = ctx->sample_period;
    __sync_fetch_and_add(&ticks, 1);
    return 0;
}
