#include <wbpf/vmlinux.h>

#include <wbpf/program.bpf.h>
#include <wbpf_regs.h>

__u64 count, sum, returned, results, instructions, cookies;
__u64 arguments[6];

SEC("uprobe")
int on_entry(struct pt_regs *ctx)
{
    __sync_fetch_and_add(&count, 1);
    __sync_fetch_and_add(&sum, wbpf_arg(ctx, 0));
    return 0;
}

SEC("uretprobe")
int on_return(struct pt_regs *ctx)
{
    __sync_fetch_and_add(&returned, 1);
    __sync_fetch_and_add(&results, wbpf_return_value(ctx));
    return 0;
}

SEC("uprobe")
int on_arguments(struct pt_regs *ctx)
{
    arguments[0] = wbpf_arg(ctx, 0);
    arguments[1] = wbpf_arg(ctx, 1);
    arguments[2] = wbpf_arg(ctx, 2);
    arguments[3] = wbpf_arg(ctx, 3);
    arguments[4] = wbpf_arg(ctx, 4);
    arguments[5] = wbpf_arg(ctx, 5);
    cookies = bpf_get_attach_cookie(ctx);
    return 0;
}
