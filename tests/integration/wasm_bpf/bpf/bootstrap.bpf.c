#include "common.h"

struct event {
    int pid, is_exit;
    unsigned exit_code;
    u64 duration_ns;
    char comm[16];
};

const volatile u64 min_duration_ns = 0;
const volatile char only[16] = "";

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 8192);
    __type(key, int);
    __type(value, u64);
} exec_start SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
} rb SEC(".maps");

static int other(void)
{
    char comm[16];
    bpf_get_current_comm(comm, sizeof comm);
    for (int i = 0; i < 16; i++) {
        if (comm[i] != only[i])
            return 1;
        if (!comm[i])
            break;
    }
    return 0;
}

SEC("tp/sched/sched_process_exec")
int handle_exec(void *ctx)
{
    int pid = bpf_get_current_pid_tgid() >> 32;
    u64 now = bpf_ktime_get_ns();
    if (other())
        return 0;
    bpf_map_update_elem(&exec_start, &pid, &now, BPF_ANY);
    if (min_duration_ns)
        return 0;
    struct event *event = bpf_ringbuf_reserve(&rb, sizeof *event, 0);
    if (!event)
        return 0;
    event->pid = pid;
    event->is_exit = 0;
    event->exit_code = 0;
    event->duration_ns = 0;
    bpf_get_current_comm(event->comm, sizeof event->comm);
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("tp/sched/sched_process_exit")
int handle_exit(void *ctx)
{
    int pid = bpf_get_current_pid_tgid() >> 32;
    u64 *start = bpf_map_lookup_elem(&exec_start, &pid), duration = 0;
    if (!start || pid != (int)bpf_get_current_pid_tgid() || other())
        return 0;
    duration = bpf_ktime_get_ns() - *start;
    bpf_map_delete_elem(&exec_start, &pid);
    if (duration < min_duration_ns)
        return 0;
    struct event *event = bpf_ringbuf_reserve(&rb, sizeof *event, 0);
    if (!event)
        return 0;
    event->pid = pid;
    event->is_exit = 1;
    event->exit_code = 0;
    event->duration_ns = duration;
    bpf_get_current_comm(event->comm, sizeof event->comm);
    bpf_ringbuf_submit(event, 0);
    return 0;
}
