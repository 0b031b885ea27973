/*
 * Rewriting system calls where they are first met: what loads their number, before the `syscall`, becomes a
 * jump to a stub, which does the same and goes on at wbpf_syscall_entry. The `syscall` itself stays: who
 * comes to it in another way, or returns to what is behind it, finds all as it was.
 *
 * Processors that run the same code must see the old instruction or the new one. A jump of five bytes is
 * written by one locked store where it lies in 16 aligned bytes; else, and where the number is loaded by two
 * bytes, a short jump of two to where nobody comes by: the padding behind the function's `ret`.
 */
#include "user/syscall_state.h"

#if defined(WBPF_HAVE_SYSCALLS)
#include <asm/unistd.h>
#include <elf.h>
#include <linux/membarrier.h>
#include <sys/mman.h>

#define SITES_MOST 1024
#define STUB_BYTES 32
#define PAGE       4096u
#define JUMP       5

struct site {
    uint64_t at; /* behind its `syscall` */
    uint64_t from, island;
    uint8_t before[JUMP]; /* what was at `from` */
    uint8_t bytes;        /* that are written there; 0: it stays as it is */
    bool written;
};

struct module wbpf_syscall_modules[MODULES_MOST];
uint32_t wbpf_syscall_module_count;
static struct site sites[SITES_MOST];
static uint64_t stubs; /* one for each */
static uint32_t busy;

static uint8_t *bytes_at(uint64_t address)
{
    return (uint8_t *)(uintptr_t)address;
}

static bool same(const uint8_t *a, const uint8_t *b, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        to[i] = from[i];
}

static void put_relative(uint8_t *to, uint64_t target, uint64_t next)
{
    int32_t distance = (int32_t)(target - next);
    copy(to, (const uint8_t *)&distance, sizeof distance);
}

static bool reaches(uint64_t from, uint64_t to)
{
    int64_t distance = (int64_t)(to - from);
    return distance > INT32_MIN + (1 << 20) && distance < INT32_MAX - (1 << 20);
}

static bool lies_in_window(uint64_t from, uint32_t bytes)
{
    return from / 16 == (from + bytes - 1) / 16;
}

/* By hash; one that is new has no address yet. NULL: there is no room. */
static struct site *find_site(uint64_t at)
{
    uint32_t start = (uint32_t)(at * 0x9e3779b97f4a7c15u >> 54);
    for (uint32_t i = 0; i < 64; i++) {
        struct site *site = &sites[(start + i) % SITES_MOST];
        uint64_t there = __atomic_load_n(&site->at, __ATOMIC_ACQUIRE);
        if (there == at || !there)
            return site;
    }
    return NULL;
}

static bool in_module(uint64_t low, uint64_t high)
{
    for (uint32_t i = 0; i < wbpf_syscall_module_count; i++)
        if (low >= wbpf_syscall_modules[i].low && high <= wbpf_syscall_modules[i].high)
            return true;
    return false;
}

/* Where nobody comes by, behind
 *     cmp $-4096 or $-4095, %rax;  ja or jae somewhere;  ret
 * which is what most functions of libc have behind their calls; 0: not here. */
static uint64_t find_island(uint64_t at)
{
    static const uint8_t nops[][11] = {
        {0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
        {0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
        {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
        {0x0f, 0x1f, 0x80, 0, 0, 0, 0},
        {0x66, 0x0f, 0x1f, 0x44, 0, 0},
        {0x0f, 0x1f, 0x44, 0, 0},
    };
    static const uint8_t lengths[] = {10, 9, 8, 7, 6, 5};
    const uint8_t *code = bytes_at(at);
    if (code[0] != 0x48 || code[1] != 0x3d || code[2] > 1 || code[3] != 0xf0 || code[4] != 0xff ||
        code[5] != 0xff || (code[6] != 0x77 && code[6] != 0x73) || code[8] != 0xc3)
        return 0;
    code += 9;
    while (*code == 0x66 && code[1] == 0x66) /* more prefixes of the longest */
        code++;
    for (uint32_t i = 0; i < sizeof lengths; i++)
        if (same(code, nops[i], lengths[i]))
            return at + 9;
    return 0;
}

/* What a site looks like: where to write, and how many bytes. */
static void plan(struct site *site, uint64_t number)
{
    static const uint8_t reading[] = {0x48, 0x8b, 0x54, 0x24, 0x18, 0x48, 0x8b, 0x74, 0x24, 0x10,
                                      0x41, 0x89, 0xc0, 0x8b, 0x7c, 0x24, 0x08, 0x31, 0xc0};
    uint64_t call = site->at - 2;
    const uint8_t *code = bytes_at(call);
    uint32_t immediate = 0;
    if (number >= NUMBERS || number == __NR_rt_sigreturn /* known by its bytes */ ||
        !in_module(call - 32, site->at + 32) || code[0] != 0x0f || code[1] != 0x05)
        return;
    copy((uint8_t *)&immediate, code - 4, 4);
    if (code[-5] == 0xb8 && immediate == number && (code[-6] & 0xf0) != 0x40)
        site->from = call - 5; /* mov $number, %eax */
    else if (code[-7] == 0x48 && code[-6] == 0xc7 && code[-5] == 0xc0 && immediate == number)
        site->from = call - 7; /* mov $number, %rax */
    else if (number == 0 && same(code - sizeof reading, reading, sizeof reading))
        site->from = call - 6; /* mov 8(%rsp), %edi; xor %eax, %eax, where threads read */
    else if (number == 0 && code[-2] == 0x31 && code[-1] == 0xc0 && (code[-3] & 0xf0) != 0x40)
        site->from = call - 2; /* xor %eax, %eax */
    else
        return;
    if (site->from < call - 4 && lies_in_window(site->from, JUMP))
        site->bytes = JUMP;
    else if ((site->from == call - 2 || site->from == call - 5) && lies_in_window(site->from, 2) &&
             (site->island = find_island(site->at)))
        site->bytes = 2;
}

static bool protect(uint64_t from, uint32_t bytes, bool writable)
{
    uint64_t low = from & ~(uint64_t)(PAGE - 1), high = (from + bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    return WBPF_DIRECT(__NR_mprotect, low, high - low, PROT_READ | PROT_EXEC | (writable ? PROT_WRITE : 0)) ==
           0;
}

/* All processors see what was written before they run on. */
static void synchronise(void)
{
    (void)WBPF_DIRECT(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
}

/* In one store; the bytes lie in 16 that are aligned. */
static void store(uint64_t to, const uint8_t *bytes, uint32_t count)
{
    uint64_t base = to & ~(uint64_t)15, *words = (uint64_t *)(uintptr_t)base;
    uint64_t old[2] = {words[0], words[1]}, new[2] = {words[0], words[1]};
    copy((uint8_t *)new + (to - base), bytes, count);
    __asm__ volatile("lock cmpxchg16b %0"
                     : "+m"(*(char (*)[16])words), "+a"(old[0]), "+d"(old[1])
                     : "b"(new[0]), "c"(new[1])
                     : "cc", "memory");
}

static bool write_stub(const struct site *site, uint64_t stub, uint64_t number)
{
    uint8_t code[STUB_BYTES];
    uint32_t n = 0;
    static const uint8_t reload[] = {0x8b, 0x7c, 0x24, 0x08};
    if (site->from == site->at - 8) { /* mov 8(%rsp), %edi */
        copy(code, reload, sizeof reload);
        n = sizeof reload;
    }
    code[n++] = 0xb8; /* mov $number, %eax */
    copy(code + n, (const uint8_t *)&number, 4);
    n += 4;
    code[n++] = 0x48; /* lea what is behind the call, %rcx */
    code[n++] = 0x8d;
    code[n++] = 0x0d;
    put_relative(code + n, site->at, stub + n + 4);
    n += 4;
    code[n++] = 0xff; /* jmp to the address behind it */
    code[n++] = 0x25;
    put_relative(code + n, 0, 0);
    n += 4;
    uint64_t entry = WBPF_WORD_(wbpf_syscall_entry);
    copy(code + n, (const uint8_t *)&entry, sizeof entry);
    n += sizeof entry;
    if (same(bytes_at(stub), code, n))
        return true;
    if (!protect(stub, STUB_BYTES, true))
        return false;
    copy(bytes_at(stub), code, n);
    return protect(stub, STUB_BYTES, false);
}

static void write_jump(uint8_t code[JUMP], uint64_t from, uint64_t stub)
{
    code[0] = 0xe9;
    put_relative(code + 1, stub, from + JUMP);
}

static void rewrite(struct site *site, uint64_t stub, uint64_t number)
{
    uint8_t jump[JUMP];
    uint64_t low = site->from, high = site->island ? site->island + JUMP : site->from + JUMP;
    if (!reaches(low, stub) || !write_stub(site, stub, number) || !protect(low, (uint32_t)(high - low), true))
        return;
    copy(site->before, bytes_at(site->from), JUMP);
    if (site->island) {
        write_jump(jump, site->island, stub);
        copy(bytes_at(site->island), jump, JUMP);
        jump[0] = 0xeb;
        jump[1] = (uint8_t)(site->island - site->from - 2);
    } else {
        write_jump(jump, site->from, stub);
    }
    synchronise();
    store(site->from, jump, site->bytes);
    site->written = true;
    (void)protect(low, (uint32_t)(high - low), false);
    synchronise();
}

void wbpf_sites_prepare(void)
{
    if (stubs)
        return;
    long at = WBPF_DIRECT(__NR_mmap, 0, SITES_MOST * STUB_BYTES, PROT_READ | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stubs = at < 0 && at > -4096 ? 0 : (uint64_t)at;
}

void wbpf_site_rewrite(uint64_t at, uint64_t number)
{
    struct site *site = find_site(at);
    if (!site || (site->at && (!site->bytes || site->written)))
        return;
    if (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
        return; /* next time */
    if (!site->at || (site->at == at && site->bytes && !site->written)) {
        *site = (struct site){0, 0, 0, {0}, 0, false};
        __atomic_store_n(&site->at, at, __ATOMIC_RELEASE);
        plan(site, number);
    }
    if (site->at == at && site->bytes && !site->written && stubs && wbpf_syscalls_active)
        rewrite(site, stubs + (uint64_t)(site - sites) * STUB_BYTES, number);
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}

void wbpf_sites_restore(void)
{
    while (__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE))
        (void)WBPF_DIRECT(__NR_sched_yield);
    for (uint32_t i = 0; i < SITES_MOST; i++) {
        struct site *site = &sites[i];
        uint8_t there[JUMP], jump[JUMP];
        uint64_t stub = stubs + (uint64_t)i * STUB_BYTES;
        if (!site->written)
            continue;
        site->written = false;
        write_jump(jump, site->from, stub);
        if (site->island) {
            jump[0] = 0xeb;
            jump[1] = (uint8_t)(site->island - site->from - 2);
        }
        /* The module may be gone, and another be there. */
        if (!wbpf_copy_in(there, site->from, JUMP) || !same(there, jump, site->bytes) ||
            !protect(site->from, JUMP, true))
            continue;
        store(site->from, site->before, site->bytes);
        (void)protect(site->from, JUMP, false);
    }
    synchronise();
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
}
#endif
