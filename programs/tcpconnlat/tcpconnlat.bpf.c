#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>

struct connection {
    u64 time;
    u64 latency_ns;
    u8 local[16]; /* IPv4 as ::ffff:a.b.c.d */
    u16 local_port;
    u8 remote[16];
    u16 remote_port;
    u32 pid;
    u8 connected; /* or it failed */
    u8 reserved[7];
    char comm[16];
};
WBPF_EVENT(connection);

struct start {
    u64 time;
    u32 pid;
    char comm[16];
};

/* What the tracepoint hands over; where its fields are is found when the program is loaded. */
struct trace_event_raw_inet_sock_set_state {
    const void *skaddr;
    int oldstate;
    int newstate;
    u16 sport;
    u16 dport;
    u16 family;
    u16 protocol;
    u8 saddr[4];
    u8 daddr[4];
    u8 saddr_v6[16]; /* of IPv4 too: ::ffff:a.b.c.d */
    u8 daddr_v6[16];
} __attribute__((preserve_access_index));

const volatile u64 min_latency_ns; /* --min-latency */
u64 lost;

/* Connections under way, by the address of their socket. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 16384);
    __type(key, u64);
    __type(value, struct start);
} starts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1024 * 1024);
} events SEC(".maps");

/* In the thread that connects. */
static __always_inline void begin(u64 socket)
{
    if (wbpf_filtered())
        return;
    struct start start = {.time = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() >> 32};
    bpf_get_current_comm(start.comm, sizeof start.comm);
    bpf_map_update_elem(&starts, &socket, &start, BPF_ANY);
}

/* In whatever runs on the CPU that the answer reaches. */
static __always_inline void end(struct trace_event_raw_inet_sock_set_state *ctx, u64 socket)
{
    struct start *start = bpf_map_lookup_elem(&starts, &socket);
    if (!start)
        return;
    u64 latency_ns = bpf_ktime_get_ns() - start->time;
    struct connection *event = NULL;
    if (latency_ns >= min_latency_ns) {
        event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
        if (!event)
            __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
    }
    if (event) {
        *event = (struct connection){.time = start->time, .latency_ns = latency_ns, .pid = start->pid};
        __builtin_memcpy(event->comm, start->comm, sizeof event->comm);
        bpf_probe_read_kernel(event->local, 16, ctx->saddr_v6);
        bpf_probe_read_kernel(event->remote, 16, ctx->daddr_v6);
        event->local_port = ctx->sport;
        event->remote_port = ctx->dport;
        event->connected = ctx->newstate == BPF_TCP_ESTABLISHED;
        bpf_ringbuf_submit(event, 0);
    }
    bpf_map_delete_elem(&starts, &socket);
}

SEC("tp/sock/inet_sock_set_state")
int on_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
    u64 socket = (u64)ctx->skaddr;
    if (ctx->protocol != IPPROTO_TCP)
        return 0;
    if (ctx->newstate == BPF_TCP_SYN_SENT)
        begin(socket);
    else if (ctx->oldstate == BPF_TCP_SYN_SENT)
        end(ctx, socket);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
