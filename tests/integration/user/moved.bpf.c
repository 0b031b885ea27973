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

int number, customer;
long price_cents;
char name[4];

SEC("uprobe")
int on_order(struct pt_regs *ctx)
{
    const struct order *order = (const struct order *)wbpf_arg(ctx, 0);

    bpf_probe_read_user(&number, sizeof number, &order->number);
    bpf_probe_read_user(&price_cents, sizeof price_cents, &order->price_cents);
    bpf_probe_read_user(&customer, sizeof customer, &order->customer.id);
    bpf_probe_read_user(name, sizeof name, &order->customer.name);
    return 0;
}
