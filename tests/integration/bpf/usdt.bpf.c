/* A static probe's argument, as libbpf's header reads it. */
#include <linux/bpf.h>
#include <linux/ptrace.h>

typedef _Bool bool;

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/usdt.bpf.h>

char LICENSE[] SEC("license") = "GPL";

volatile __u64 calls = 0, cookies = 0;
volatile long sum = 0;

SEC("usdt") int BPF_USDT(on_work, int amount)
{
    __sync_fetch_and_add(&calls, 1);
    __sync_fetch_and_add(&sum, amount);
    __sync_fetch_and_add(&cookies, bpf_usdt_cookie(ctx));
    return 0;
}
