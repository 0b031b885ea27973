/* What a Python program's site hands over, and the sites of the pool library counted. */
#include <wbpf/vmlinux.h>

#include <wbpf/probe.bpf.h>
#include <wbpf/program.bpf.h>

__u64 count, sum;
__u64 seen[9];
char text[16];

SEC("probe/shop:order")
int order(struct wbpf_probe_context *ctx)
{
    __sync_fetch_and_add(&count, 1);
    __sync_fetch_and_add(&sum, ctx->args[0]);
    for (int i = 0; i < 8; i++)
        seen[i] = ctx->args[i];
    seen[8] = ctx->count;
    bpf_probe_read_user_str(text, sizeof text, (void *)ctx->args[1]);
    return 0;
}

/* By bpf_get_attach_cookie(): the number of the site. */
__u64 calls[16], bytes[16];
char last_id[32];

SEC("probe/wbpf_pool")
int pool(struct wbpf_probe_context *ctx)
{
    __u64 at = bpf_get_attach_cookie(ctx) & 15;
    __sync_fetch_and_add(&calls[at], 1);
    __sync_fetch_and_add(&bytes[at], ctx->args[3]);
    return 0;
}

SEC("probe/wbpf_pool:create")
int created(struct wbpf_probe_context *ctx)
{
    bpf_probe_read_user_str(last_id, sizeof last_id, (void *)ctx->args[4]);
    return 0;
}
