/* A histogram of the first argument, or of the result, by powers of two. */
#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>
#include <wbpf_regs.h>

unsigned long long slots[64];

static __always_inline int add(unsigned long long value)
{
    unsigned int slot = 0;

    for (int bit = 5; bit >= 0; bit--)
        if (value >> (1 << bit)) {
            slot += 1 << bit;
            value >>= 1 << bit;
        }
    __sync_fetch_and_add(&slots[slot & 63], 1);
    return 0;
}

SEC("uprobe")
int on_entry(struct pt_regs *context)
{
    return add(wbpf_arg(context, 0));
}

SEC("uretprobe")
int on_return(struct pt_regs *context)
{
    return add(wbpf_return_value(context));
}
