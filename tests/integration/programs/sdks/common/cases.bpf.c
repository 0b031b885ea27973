#include <wbpf/vmlinux.h>
#include <wbpf/program.bpf.h>

struct result {
    u64 value;
    char name[24];
};
WBPF_EVENT(result);

struct record {
    u8 kind; /* padding behind it */
    u32 number;
    void *pointer;
    u16 numbers[3]; /* padding behind it */
    char text[8];
    u64 last;
};

struct placed {
    u64 number;
    u64 words[124];
    u64 again; /* the number once more, behind the place where the ring begins anew */
};
WBPF_EVENT(placed);

const volatile u64 start;
u64 step = 1;
u64 counted;

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, u32);
    __type(value, u64);
} numbers SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, u32);
    __type(value, struct record);
} records SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u32);
} per_cpu SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} placed_events SEC(".maps");

/* One record, and one that is given up. */
static void place(void)
{
    struct placed *placed = bpf_ringbuf_reserve(&placed_events, sizeof *placed, 0);
    if (placed) {
        placed->number = placed->again = counted;
        bpf_ringbuf_submit(placed, 0);
    }
    void *given_up = bpf_ringbuf_reserve(&placed_events, 100, 0);
    if (given_up)
        bpf_ringbuf_discard(given_up, 0);
}

/* Run by the control program. */
SEC("?raw_tp/sys_enter")
int on_run(u64 *ctx)
{
    u32 zero = 0, key = counted + 1;
    u64 value = 100 * key;
    bpf_map_update_elem(&numbers, &key, &value, BPF_ANY);
    u32 *mine = bpf_map_lookup_elem(&per_cpu, &zero);
    if (mine)
        *mine += 1;
    struct record record = {};
    record.kind = 1;
    record.number = 0x11223344;
    record.pointer = (void *)0xffff888000001234;
    record.text[0] = 'a', record.text[1] = 'b', record.text[2] = 'c';
    record.last = start;
    bpf_map_update_elem(&records, &zero, &record, BPF_ANY);
    bpf_ringbuf_output(&events, &value, sizeof value, 0);
    place();
    counted++;
    return step; /* of what was set before loading, or after it */
}

char LICENSE[] SEC("license") = "GPL";
