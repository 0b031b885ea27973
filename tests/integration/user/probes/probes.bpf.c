#include <wbpf/vmlinux.h>

#include <wbpf/probe.bpf.h>
#include <wbpf/program.bpf.h>

struct order {
    u64 number;
    u32 thread;
    u32 reserved;
};
WBPF_EVENT(order);

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} quiet SEC(".maps");

u64 count;

SEC("probe/shop:order")
int on_order(struct wbpf_probe_context *ctx)
{
    __sync_fetch_and_add(&count, 1);
    struct order *order = bpf_ringbuf_reserve(&events, sizeof *order, 0);
    if (!order)
        return 0;
    order->number = ctx->args[0];
    order->thread = bpf_get_current_pid_tgid();
    order->reserved = 0;
    bpf_ringbuf_submit(order, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
