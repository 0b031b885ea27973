#include "common.h"

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} rb SEC(".maps");

SEC("socket")
int socket_handler(struct __sk_buff *skb)
{
    u32 *event = bpf_ringbuf_reserve(&rb, 4, 0);
    if (event) {
        *event = skb->len;
        bpf_ringbuf_submit(event, 0);
    }
    return skb->len;
}
