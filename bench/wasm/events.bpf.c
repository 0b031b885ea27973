/*
 * What the benchmark's guest and native consumer load: a tracepoint with a field that CO-RE finds, a map for
 * each operation, and a ring. Programs of type syscall fill the ring when they are run.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct task_struct {
    int tgid;
} __attribute__((preserve_access_index));

struct event {
    unsigned long long number, words[3];
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, unsigned int);
    __type(value, unsigned long long);
} table SEC(".maps");

const volatile unsigned int only_tgid = 0;
unsigned long long number = 0, refused = 0;

static int put(void)
{
    struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) {
        __sync_fetch_and_add(&refused, 1);
        return 1;
    }
    event->number = __sync_fetch_and_add(&number, 1);
    event->words[0] = event->words[1] = event->words[2] = event->number;
    bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
    return 0;
}

struct fill_spec {
    unsigned int count;
};

static long put_one(unsigned int index, void *context)
{
    return put();
}

/* Fill the ring with so many records. */
SEC("syscall") int fill(struct fill_spec *spec)
{
    bpf_loop(spec->count, put_one, NULL, 0);
    return 0;
}

/* One record for each such call of the traced process. */
SEC("raw_tp/sys_enter") int on_enter(unsigned long long *context)
{
    struct task_struct *task = (void *)bpf_get_current_task_btf();
    unsigned long long at = 0;
    if (!only_tgid || task->tgid != (int)only_tgid || context[1] != 102 /* getuid */)
        return 0;
    struct event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) {
        __sync_fetch_and_add(&refused, 1);
        return 0;
    }
    event->number = at = __sync_fetch_and_add(&number, 1);
    event->words[0] = event->words[1] = event->words[2] = at;
    bpf_ringbuf_submit(event, 0);
    return 0;
}
