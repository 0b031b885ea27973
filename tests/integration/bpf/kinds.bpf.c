/* A program of every kind that attaches on an ordinary kernel; each counts what it sees of one process. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

typedef _Bool bool;

char LICENSE[] SEC("license") = "GPL";

#define RELOCATED __attribute__((preserve_access_index))

struct seq_file;
struct bpf_iter_meta {
    struct seq_file *seq;
} RELOCATED;
struct task_struct {
    int tgid;
} RELOCATED;
struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
} RELOCATED;
struct bpf_iter__bpf_map_elem {
    struct bpf_iter_meta *meta;
    struct bpf_map *map;
    void *key, *value;
} RELOCATED;

const volatile __u32 syscall_number = 0;
const volatile char greeting[8] = "none";
volatile __u32 pid = 0;
volatile __s64 balance = -5;
volatile bool is_on = 1;
volatile double ratio = 0.5;
volatile struct {
    __u32 a, b;
} pair = {1, 2};

enum which {
    TRACEPOINT,
    RAW_TRACEPOINT,
    TP_BTF,
    UPROBE,
    URETPROBE,
    CLOCK,
    XDP,
    TC,
    CONNECT4,
    SOCKOPS,
    SKB,
    SOCKET,
    SK_LOOKUP,
    SK_MSG,
    DISSECTOR,
    REUSEPORT,
    COOKIE
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8);
    __type(key, __u32);
    __type(value, __u32);
} visited SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u32);
} connections SEC(".maps");

static void count(__u32 which)
{
    __u64 *at = bpf_map_lookup_elem(&counts, &which);
    if (at)
        __sync_fetch_and_add(at, 1);
}

static void count_mine(__u32 which)
{
    if (bpf_get_current_pid_tgid() >> 32 == pid)
        count(which);
}

SEC("tp/syscalls/sys_enter_getpgid") int tracepoint(void *ctx)
{
    count_mine(TRACEPOINT);
    count_mine(COOKIE + bpf_get_attach_cookie(ctx));
    return 0;
}

SEC("raw_tp/sys_enter") int raw_tracepoint(__u64 *ctx)
{
    if (ctx[1] == syscall_number)
        count_mine(RAW_TRACEPOINT);
    return 0;
}

SEC("tp_btf/sys_enter") int tp_btf(__u64 *ctx)
{
    if (ctx[1] == syscall_number)
        count_mine(TP_BTF);
    return 0;
}

SEC("uprobe") int on_uprobe(void *ctx)
{
    count_mine(UPROBE);
    count_mine(COOKIE + bpf_get_attach_cookie(ctx));
    return 0;
}

SEC("uretprobe") int on_uretprobe(void *ctx)
{
    count_mine(URETPROBE);
    return 0;
}

SEC("perf_event") int clock(void *ctx)
{
    count_mine(CLOCK);
    return 0;
}

SEC("xdp") int on_xdp(struct xdp_md *ctx)
{
    count(XDP);
    return XDP_PASS;
}

SEC("tc") int on_tc(struct __sk_buff *ctx)
{
    count(TC);
    return 0;
}

SEC("cgroup/connect4") int connect4(struct bpf_sock_addr *ctx)
{
    count(CONNECT4);
    return 1;
}

SEC("sockops") int on_sockops(struct bpf_sock_ops *ctx)
{
    if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
        count(SOCKOPS);
    return 1;
}

SEC("cgroup_skb/egress") int skb(struct __sk_buff *ctx)
{
    count(SKB);
    return 1;
}

SEC("socket") int filter(struct __sk_buff *ctx)
{
    count(SOCKET);
    return ctx->len;
}

SEC("sk_lookup") int lookup(struct bpf_sk_lookup *ctx)
{
    count(SK_LOOKUP);
    return SK_PASS;
}

SEC("sk_msg") int message(struct sk_msg_md *ctx)
{
    count(SK_MSG);
    return SK_PASS;
}

SEC("flow_dissector") int dissect(struct __sk_buff *ctx)
{
    count(DISSECTOR);
    return BPF_FLOW_DISSECTOR_CONTINUE;
}

SEC("sk_reuseport") int choose(struct sk_reuseport_md *ctx)
{
    count(REUSEPORT);
    return SK_PASS;
}

SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    if (task) {
        __u32 tgid = task->tgid;
        bpf_seq_write(ctx->meta->seq, &tgid, sizeof tgid);
    }
    return 0;
}

SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx)
{
    __u32 *value = ctx->value;
    if (value)
        bpf_seq_write(ctx->meta->seq, value, sizeof *value);
    return 0;
}
