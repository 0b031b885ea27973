/* A congestion control, the oldest kind of struct_ops. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

struct sock;
struct tcp_congestion_ops {
    __u32 (*ssthresh)(struct sock *socket);
    void (*cong_avoid)(struct sock *socket, __u32 ack, __u32 acked);
    __u32 (*undo_cwnd)(struct sock *socket);
    char name[16];
} __attribute__((preserve_access_index));

SEC("struct_ops/threshold") __u32 threshold(__u64 *ctx)
{
    return 2;
}

SEC("struct_ops/avoid") void avoid(__u64 *ctx)
{
}

SEC("struct_ops/undo") __u32 undo(__u64 *ctx)
{
    return 2;
}

SEC(".struct_ops") struct tcp_congestion_ops wbpf_test_cc = {
    .ssthresh = (void *)threshold,
    .cong_avoid = (void *)avoid,
    .undo_cwnd = (void *)undo,
    .name = "wbpf_test_cc",
};
