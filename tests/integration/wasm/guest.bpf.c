/* What the guests of these tests load. TRACED and NUMBER are given when it is compiled. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 65536);
} events SEC(".maps"), other SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
    __uint(key_size, 4);
    __uint(value_size, 4);
} perf SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, unsigned int);
    __type(value, unsigned int);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 1);
    __uint(key_size, 4);
    __uint(value_size, 4);
} calls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 16);
    __type(key, unsigned int);
    __type(value, unsigned long long);
} shared SEC(".maps");

unsigned long long number = 0;

/* One record in each ring, and one count, for each such call of the traced process. */
SEC("raw_tp/sys_enter") int on_enter(unsigned long long *context)
{
    unsigned int zero = 0;
    if (bpf_get_current_pid_tgid() >> 32 != TRACED || context[1] != NUMBER)
        return 0;
    unsigned long long record[2] = {__sync_fetch_and_add(&number, 1), 7};
    bpf_ringbuf_output(&events, record, sizeof record, 0);
    record[1] = 8;
    bpf_ringbuf_output(&other, record, sizeof record, 0);
    bpf_perf_event_output(context, &perf, BPF_F_CURRENT_CPU, record, sizeof record);
    unsigned int *count = bpf_map_lookup_elem(&counts, &zero);
    if (count)
        ++*count;
    return 0;
}

/* Keeps what is in it alive. */
SEC("raw_tp/sys_enter") int tail(void *context)
{
    unsigned int zero = 0;
    bpf_map_lookup_elem(&shared, &zero);
    bpf_tail_call(context, &calls, 0);
    return 0;
}

#ifdef REFUSED
SEC("raw_tp/sys_enter") int refused(unsigned long long *context)
{
    return *(volatile int *)(context[0] + 8); /* the verifier allows no such access */
}
#endif
