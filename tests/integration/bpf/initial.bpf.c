/* Maps that begin with maps and programs. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

int leaf(struct xdp_md *ctx);

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} first SEC(".maps"), second SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 3);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps") = {.values = {[1] = &first, [2] = &second}};

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 4);
    __uint(key_size, sizeof(__u32));
    __array(values, int(void *));
} tails SEC(".maps") = {.values = {[3] = (void *)&leaf}};

SEC("xdp")
int leaf(struct xdp_md *ctx)
{
    return 7;
}

static __always_inline __u64 number(__u32 n)
{
    __u32 zero = 0;
    void *inner = bpf_map_lookup_elem(&outer, &n);
    __u64 *value = inner ? bpf_map_lookup_elem(inner, &zero) : (void *)0;
    if (!value)
        return 0;
    *value = n;
    return n;
}

SEC("xdp")
int root(struct xdp_md *ctx)
{
    if (number(0) * 100 + number(1) * 10 + number(2) == 12)
        bpf_tail_call(ctx, &tails, 3);
    return 1;
}
