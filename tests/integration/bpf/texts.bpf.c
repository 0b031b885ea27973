/* Values put into texts, copies of memory and where the thread is, by the kernel's helpers and by ours. */
#include <linux/bpf.h>
#include <wbpf/program.bpf.h>

char LICENSE[] SEC("license") = "GPL";

char texts[8][64];
long results[8];
char word[16] = "word";

#define FORMAT(n, room, format, ...)                                                                         \
    {                                                                                                        \
        static const char format_[] = format;                                                                \
        __u64 values_[] = {__VA_ARGS__};                                                                     \
        results[n] = bpf_snprintf(texts[n], room, format_, values_, sizeof values_);                         \
    }

SEC("raw_tp/sys_enter") int format(struct bpf_raw_tracepoint_args *context)
{
    __u64 a = context->args[0], b = context->args[1];
    FORMAT(0, 64, "%d %i %u %x %X", a, b, a, b, a);
    FORMAT(1, 64, "%lld|%llu|%lx|%llX", a, b, a, b);
    FORMAT(2, 64, "%5d|%-8u|%08x|%+d|% d", a, b, a, b, a);
    FORMAT(3, 64, "<%s> %c %%", (__u64)word, 'x');
    FORMAT(4, 10, "%llu and more", a);
    FORMAT(5, 64, "%%%lu", b);
    FORMAT(6, 64, "%px", a);
    FORMAT(7, 64, "<%s>", 16);
    return 0;
}

SEC("raw_tp/sys_enter") int print(struct bpf_raw_tracepoint_args *context)
{
    static const char format_[] = "%d, %d, %d, %s\n";
    __u64 values[] = {context->args[0], 2, 3, (__u64)word};
    return bpf_trace_vprintk(format_, sizeof format_, values, sizeof values);
}

SEC("raw_tp/sys_enter") int places(struct bpf_raw_tracepoint_args *context)
{
    results[0] = bpf_get_numa_node_id();
    for (int level = 0; level < 3; level++)
        results[1 + level] = bpf_get_current_ancestor_cgroup_id(level);
    return 0;
}

SEC("syscall") int copy(__u64 *context)
{
    results[0] = bpf_copy_from_user(texts[0], 16, (void *)context[0]);
    results[1] = bpf_copy_from_user(texts[1], 16, (void *)8);
    return 0;
}
