/* What calls.c asks the host to do: run, drain, iterate, and be told apart by a filter. */
#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>

#include <wbpf/filter.bpf.h>

char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_USER_RINGBUF);
    __uint(max_entries, 4096);
} commands SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, unsigned int);
    __type(value, unsigned long long);
} table SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 2);
    __type(key, unsigned int);
    __type(value, unsigned long long);
} other SEC(".maps");

const volatile unsigned int number = 0; /* of the traced system call */
unsigned int printed = 0;               /* the process whose name the iterator prints */

static long take(struct bpf_dynptr *record, void *context)
{
    unsigned long long value = 0;
    if (bpf_dynptr_read(&value, sizeof value, record, 0, 0) == 0)
        *(unsigned long long *)context += value;
    return 0;
}

/* The sum of the records that wait. */
SEC("syscall") int drain(void *context)
{
    unsigned long long sum = 0;
    bpf_user_ringbuf_drain(&commands, take, &sum, 0);
    return (int)sum;
}

struct bpf_iter_meta {
    struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
    struct bpf_iter_meta *meta;
    struct task_struct *task;
} __attribute__((preserve_access_index));

struct twice {
    unsigned int in, out;
};

SEC("syscall") int twice(struct twice *context)
{
    context->out = 2 * context->in;
    return 9;
}

/* Cuts two bytes off, and writes to the first. */
SEC("xdp") int cut(struct xdp_md *context)
{
    if (bpf_xdp_adjust_tail(context, -2))
        return XDP_ABORTED;
    unsigned char *data = (void *)(long)context->data;
    if (data + 1 > (unsigned char *)(long)context->data_end)
        return XDP_ABORTED;
    data[0] = 0xee;
    return XDP_TX;
}

/* 200 lines for the first thread of one process. */
SEC("iter/task") int list(struct bpf_iter__task *context)
{
    static const char format[] = "line %d\n";
    struct task_struct *task = context->task;
    if (!task || !printed || task->pid != (int)printed)
        return 0;
    for (unsigned long long i = 0; i < 200; i++)
        bpf_seq_printf(context->meta->seq, format, sizeof format, &i, sizeof i);
    return 0;
}

/* Can't be run by itself. */
SEC("perf_event") int sampled(void *context)
{
    return 0;
}

/* Counts such calls of each process that is traced. */
SEC("raw_tp/sys_enter") int on_enter(unsigned long long *context)
{
    if (context[1] != number || wbpf_filtered())
        return 0;
    unsigned int tgid = bpf_get_current_pid_tgid() >> 32;
    unsigned long long one = 1, *count = bpf_map_lookup_elem(&table, &tgid);
    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&table, &tgid, &one, BPF_NOEXIST);
    return 0;
}
