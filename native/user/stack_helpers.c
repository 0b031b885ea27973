/*
 * Stacks of the thread that a program runs in, by frame pointers from where it was when the program was
 * called. What is no frame ends the stack: memory is read through the kernel, which tells what is not there.
 */
#include "maps/maps.h"
#include "user/direct.h"
#include "user/functions.h"
#include "user/helpers.h"
#include "user/syscalls.h"
#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define UNUSED __attribute__((unused))
#define HELPER(name)                                                                                         \
    static uint64_t name(struct wbpf_env UNUSED *env, uint64_t UNUSED r1, uint64_t UNUSED r2,                \
                         uint64_t UNUSED r3, uint64_t UNUSED r4, uint64_t UNUSED r5)
#define MEMORY(r)    ((void *)(uintptr_t)(r))
#define ANSWER(code) ((uint64_t)(int64_t)(code))

enum { FRAMES_MOST = 127, WINDOW = 1024 };

/* Indexes in struct pt_regs. */
#if defined(__x86_64__)
enum { FRAME = 4, ADDRESS = 16, POINTER = 19 };
#else
enum { FRAME = 29, ADDRESS = 32, POINTER = 31 };
#endif

/* Part of a stack, read at once. */
struct window {
    uint64_t low, bytes;
    uint8_t data[WINDOW];
};

static bool read_pair(struct window *window, uint64_t at, uint64_t pair[2])
{
    if (at < window->low || at + 16 > window->low + window->bytes) {
        uint64_t page_end = (at | 4095) + 1, end = at + WINDOW;
        end = end > page_end && at + 16 <= page_end ? page_end : end;
        struct iovec here = {window->data, end - at}, there = {MEMORY(at), end - at};
        long got = WBPF_DIRECT(SYS_process_vm_readv, wbpf_current_ids() >> 32, &here, 1, &there, 1, 0);
        window->low = at;
        window->bytes = got < 0 ? 0 : (uint64_t)got;
        if (window->bytes < 16)
            return false;
    }
    memcpy(pair, window->data + (at - window->low), 16);
    return true;
}

static uint32_t walk(const struct wbpf_env *env, uint64_t *addresses, uint32_t most)
{
    const uint64_t *registers = env->registers;
    struct wbpf_stack_start start = {0, 0};
    struct window window = {0};
    uint64_t pair[2];
    uint32_t count = 0;
    if (env->start)
        start = *env->start;
    else if (registers)
        start = (struct wbpf_stack_start){registers[ADDRESS], registers[FRAME]};
    if (!start.address)
        return 0;
    addresses[count++] = start.address;
    if (!env->start && wbpf_function_has_no_frame(start.address) &&
        read_pair(&window, registers[POINTER], pair) && pair[0])
        addresses[count++] = wbpf_function_returns_to(registers[POINTER], pair[0]);
    uint64_t at = start.frame;
    while (count < most && at && at % 8 == 0 && read_pair(&window, at, pair) && pair[1]) {
        addresses[count++] = wbpf_function_returns_to(at + 8, pair[1]);
        if (pair[0] <= at) /* stacks grow down: callers are above */
            break;
        at = pair[0];
    }
    return count;
}

/* Of the flags, how many frames to leave out; there is no kernel's stack here. */
static int64_t take(const struct wbpf_env *env, uint64_t flags, uint64_t *addresses, uint32_t *skip)
{
    *skip = flags & BPF_F_SKIP_FIELD_MASK;
    uint32_t count = flags & BPF_F_USER_STACK ? walk(env, addresses, FRAMES_MOST) : 0;
    return count > *skip ? (int64_t)(count - *skip) : -EFAULT;
}

HELPER(get_stackid)
{
    uint64_t addresses[FRAMES_MOST], how = BPF_F_FAST_STACK_CMP | BPF_F_REUSE_STACKID;
    uint32_t skip;
    if (r3 & ~(BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | how))
        return ANSWER(-EINVAL);
    int64_t count = take(env, r3, addresses, &skip);
    return ANSWER(
        count < 0 ? count : wbpf_user_map_put_stack(MEMORY(r2), addresses + skip, (uint32_t)count, r3 & how));
}

HELPER(get_stack)
{
    uint64_t addresses[FRAMES_MOST];
    uint32_t skip, bytes = (uint32_t)r3;
    int64_t count = r4 & ~(BPF_F_SKIP_FIELD_MASK | (uint64_t)BPF_F_USER_STACK) || bytes % 8
                        ? -EINVAL
                        : take(env, r4, addresses, &skip);
    memset(MEMORY(r2), 0, bytes);
    if (count < 0)
        return ANSWER(count);
    uint32_t used = (uint64_t)count * 8 < bytes ? (uint32_t)count * 8 : bytes;
    memcpy(MEMORY(r2), addresses + skip, used);
    return used;
}

wbpf_helper wbpf_user_stack_helper(int32_t number)
{
    return number == 27 ? get_stackid : number == 67 ? get_stack : NULL;
}
