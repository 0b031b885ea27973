#include "common.h"
#include <bpf/bpf_tracing.h>

struct task_struct {
    int pid, tgid;
    char comm[16];
} __attribute__((preserve_access_index));

#define SLOTS 26

struct hist {
    u32 slots[SLOTS];
    char comm[16];
};

const volatile u32 targ_tgid = 0;
const volatile _Bool filter_cg = 0;

struct {
    __uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
    __type(key, u32);
    __type(value, u32);
    __uint(max_entries, 1);
} cgroup_map SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} start SEC(".maps");

static struct hist zero;

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, struct hist);
} hists SEC(".maps");

static int wakeup(struct task_struct *task)
{
    u32 pid = task->pid;
    u64 now = bpf_ktime_get_ns();
    if (!pid || (targ_tgid && task->tgid != targ_tgid))
        return 0;
    if (filter_cg && !bpf_current_task_under_cgroup(&cgroup_map, 0))
        return 0;
    bpf_map_update_elem(&start, &pid, &now, 0);
    return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
    return wakeup(task);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
    return wakeup(task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, _Bool preempt, struct task_struct *prev, struct task_struct *next)
{
    u32 pid = next->pid, tgid = next->tgid, slot = 0;
    u64 *at = bpf_map_lookup_elem(&start, &pid), us;
    if (!at)
        return 0;
    us = (bpf_ktime_get_ns() - *at) / 1000;
    bpf_map_delete_elem(&start, &pid);
    for (int i = 0; i < SLOTS - 1 && us > 1; i++, us >>= 1)
        slot++;
    struct hist *hist = bpf_map_lookup_elem(&hists, &tgid);
    if (!hist) {
        bpf_map_update_elem(&hists, &tgid, &zero, BPF_NOEXIST);
        hist = bpf_map_lookup_elem(&hists, &tgid);
        if (!hist)
            return 0;
        bpf_probe_read_kernel_str(hist->comm, sizeof hist->comm, next->comm);
    }
    if (slot < SLOTS)
        __sync_fetch_and_add(&hist->slots[slot], 1);
    return 0;
}
