/* A program that gives records up, leaves some open for ever, and cuts payloads. */
#include <wbpf/kernel.bpf.h>

#define SEC(name) __attribute__((section(name), used))

char LICENSE[] SEC("license") = "GPL";

const volatile uint64_t call_number = 0;
const volatile uint64_t forget = 0; /* which calls' records are left open: 1 << call */
uint64_t calls = 0;

struct text {
    uint64_t call;
    uint16_t bytes;
    char text[118];
};
WBPF_SCHEMA(careless, "careless call:u64 text:bytes");

SEC("raw_tp/sys_enter") int on_enter(uint64_t *ctx)
{
    struct wbpf_now now;
    struct wbpf_record record;
    if (ctx[1] != call_number || wbpf_now(&now) != WBPF_IN_TRACE)
        return 0;
    uint64_t call = calls++;
    struct text *text = wbpf_reserve(&record, sizeof *text);
    if (!text)
        return 0;
    text->call = call;
    text->bytes = 6;
    __builtin_memcpy(text->text, "filled", 6);
    if (call < 64 && forget >> call & 1)
        return 0;
    if (call % 4 == 2) {
        wbpf_discard(ctx, &record);
        return 0;
    }
    wbpf_shorten(&record, 16);
    wbpf_commit(ctx, &record, &now, WBPF_KIND_EVENT, WBPF_LEVEL_INFO, careless());
    return 0;
}
