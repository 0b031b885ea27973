#include <wbpf/vmlinux.h>
#include <wbpf/filter.bpf.h>

struct exec_event {
    u64 time;
    u32 pid;
    u32 uid;
    char comm[16];
};
WBPF_EVENT(exec_event);

const volatile u32 min_uid; /* --min-uid */
u64 lost;

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} events SEC(".maps");

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
    u32 uid = bpf_get_current_uid_gid();
    if (wbpf_filtered() || uid < min_uid)
        return 0;
    struct exec_event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) {
        __atomic_fetch_add(&lost, 1, __ATOMIC_RELAXED);
        return 0;
    }
    event->time = bpf_ktime_get_ns();
    event->pid = bpf_get_current_pid_tgid() >> 32;
    event->uid = uid;
    bpf_get_current_comm(event->comm, sizeof event->comm);
    bpf_ringbuf_submit(event, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
