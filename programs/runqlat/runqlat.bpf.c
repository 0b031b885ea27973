#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>
#include <wbpf/histogram.bpf.h>

#define SLOTS 26

struct waits {
    u64 time;
    u64 count;
    u64 total;
    u64 us[SLOTS];
};

struct waits waits; /* since the start */

/* Since when a thread could run. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} waiting SEC(".maps");

static __always_inline int begin(struct task_struct *task)
{
    u32 pid = task->pid;
    u64 now = bpf_ktime_get_ns();
    if (pid && !wbpf_filtered_task(task))
        bpf_map_update_elem(&waiting, &pid, &now, BPF_ANY);
    return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
    return begin(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
    return begin(task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev, struct task_struct *next)
{
    if (preempt) /* it could go on */
        begin(prev);
    u32 pid = next->pid;
    u64 *since = bpf_map_lookup_elem(&waiting, &pid);
    if (!since)
        return 0;
    u64 waited = bpf_ktime_get_ns() - *since;
    bpf_map_delete_elem(&waiting, &pid);
    __atomic_fetch_add(&waits.us[wbpf_log2_slot(waited / 1000, SLOTS)], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&waits.count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&waits.total, waited, __ATOMIC_RELAXED);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
