#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>
#include <wbpf/histogram.bpf.h>

#define SLOTS 26

struct requests {
    u64 time;
    u64 count;
    u64 total;
    u64 us[SLOTS];
};

struct requests requests; /* since the start */
const volatile bool from_queue;

/* When a request was queued or issued, by whom it was that wbpf_filtered() lets pass. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, struct request *);
    __type(value, u64);
} started SEC(".maps");

static __always_inline int begin(struct request *request)
{
    if (wbpf_filtered())
        return 0;
    u64 now = bpf_ktime_get_ns();
    bpf_map_update_elem(&started, &request, &now, BPF_NOEXIST);
    return 0;
}

SEC("tp_btf/block_rq_insert")
int BPF_PROG(on_insert, struct request *request)
{
    return from_queue ? begin(request) : 0;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue, struct request *request)
{
    return begin(request);
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *request, int error, unsigned int bytes)
{
    u64 *since = bpf_map_lookup_elem(&started, &request);
    if (!since)
        return 0;
    u64 took = bpf_ktime_get_ns() - *since;
    bpf_map_delete_elem(&started, &request);
    __atomic_fetch_add(&requests.us[wbpf_log2_slot(took / 1000, SLOTS)], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&requests.count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&requests.total, took, __ATOMIC_RELAXED);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
