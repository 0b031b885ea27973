/* Reads a structure of an application, whose fields move between its versions. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

struct order {
    __u32 number;
    __u64 price;
} __attribute__((preserve_access_index));

__u64 price;

SEC("raw_tp/order") int read_order(__u64 *ctx)
{
    struct order *order = (void *)ctx[0];
    __u64 found = 0;
    if (bpf_probe_read_kernel(&found, sizeof found, &order->price))
        return -1;
    price = found;
    return 0;
}
