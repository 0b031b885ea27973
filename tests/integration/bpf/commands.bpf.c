/* Records that are written for programs. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

struct {
    __uint(type, BPF_MAP_TYPE_USER_RINGBUF);
    __uint(max_entries, 4096);
} commands SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} seen SEC(".maps");

__u64 sum, failed, most;

static long take(struct bpf_dynptr *command, void *context)
{
    __u64 one = 1, part = 0;
    __u32 *number = bpf_dynptr_data(command, 0, sizeof *number);
    if (!number)
        return 0;
    bpf_map_update_elem(&seen, number, &one, BPF_ANY);
    *(__u64 *)context += *number;
    if (bpf_dynptr_read(&part, 3, command, 4, 0) == -7) /* E2BIG */
        failed++;
    sum = sum * 31 + part;
    return --most == 0;
}

SEC("syscall") int obey(void *ctx)
{
    __u64 total = 0;
    long count = bpf_user_ringbuf_drain(&commands, take, &total, 0);
    return count < 0 ? count : count * 1000 + total;
}

struct stop {
    __u64 here;
};

static long again(struct bpf_dynptr *command, void *context)
{
    ((struct stop *)context)->here = bpf_user_ringbuf_drain(&commands, take, context, 0);
    return 0;
}

SEC("syscall") int inside(void *ctx)
{
    struct stop stop = {};
    bpf_user_ringbuf_drain(&commands, again, &stop, 0);
    return stop.here;
}
