/* A histogram of the first argument by powers of two. */
#include <wbpf/vmlinux.h>

#include <wbpf/probe.bpf.h>
#include <wbpf/program.bpf.h>

unsigned long long slots[64];

SEC("probe/site")
int site(struct wbpf_probe_context *context)
{
    unsigned long long value = context->args[0];
    unsigned int slot = 0;

    for (int bit = 5; bit >= 0; bit--)
        if (value >> (1 << bit)) {
            slot += 1 << bit;
            value >>= 1 << bit;
        }
    __sync_fetch_and_add(&slots[slot & 63], 1);
    return 0;
}
