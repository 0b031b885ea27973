#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>
#include <wbpf_regs.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct customer {
    char name[16];
    int id;
};
struct order {
    int number;
    long price_cents;
    struct customer customer;
};
#pragma clang attribute pop

struct seen {
    s64 price_cents;
    s32 number, customer;
    char name[16];
};
WBPF_EVENT(seen);

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("uprobe/moved:place_order")
int on_order(struct pt_regs *ctx)
{
    const struct order *order = (const struct order *)wbpf_arg(ctx, 0);
    struct seen *seen = bpf_ringbuf_reserve(&events, sizeof *seen, 0);

    if (!seen)
        return 0;
    bpf_probe_read_user(&seen->number, sizeof seen->number, &order->number);
    bpf_probe_read_user(&seen->price_cents, sizeof seen->price_cents, &order->price_cents);
    bpf_probe_read_user(&seen->customer, sizeof seen->customer, &order->customer.id);
    bpf_probe_read_user_str(seen->name, sizeof seen->name, &order->customer.name);
    bpf_ringbuf_submit(seen, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
