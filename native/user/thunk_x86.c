/* Hooked functions on x86-64. */
#if defined(__x86_64__)
#include "user/thunk.h"
#include <cpuid.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE     4096
#define RED_ZONE 128
#define DATA     512 /* in a thunk: its place, and the address of the common part */
#define JUMP     5

/* struct pt_regs of the kernel. */
struct wbpf_registers {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs,
        eflags, rsp, ss;
};

/* Which vector registers there are, and how they are kept: see begin(). Read by the code below. */
__attribute__((visibility("hidden"), used)) uint8_t wbpf_thunk_vectors;
__attribute__((visibility("hidden"), used)) uint64_t wbpf_thunk_area;
void wbpf_function_thunk(void);
void wbpf_function_return(void);

#define NARROW   0 /* xmm only */
#define ASK      1 /* what is in use of the wider ones, XGETBV says */
#define WIDE     2 /* the wider ones too, always */
#define FEATURES WBPF_THUNK_ALL

/*
 * Both save all registers as struct pt_regs, with the vector registers behind (below) it, call C, and restore
 * them. The wider vector registers are kept where they are in use: what is called may clear their upper
 * parts.
 *
 * wbpf_function_thunk is called by the thunk of a function, which has pushed its place, on the function's
 * stack below the red zone. wbpf_function_return is what functions return to; the slot of its return address
 * is below the stack pointer, and C puts the original one there.
 */
__asm__(".pushsection .text\n"
        ".macro wbpf_save\n"
        "    movq %r15, 0(%rsp)\n    movq %r14, 8(%rsp)\n    movq %r13, 16(%rsp)\n    movq %r12, 24(%rsp)\n"
        "    movq %rbp, 32(%rsp)\n   movq %rbx, 40(%rsp)\n   movq %r11, 48(%rsp)\n   movq %r10, 56(%rsp)\n"
        "    movq %r9, 64(%rsp)\n    movq %r8, 72(%rsp)\n    movq %rax, 80(%rsp)\n   movq %rcx, 88(%rsp)\n"
        "    movq %rdx, 96(%rsp)\n   movq %rsi, 104(%rsp)\n  movq %rdi, 112(%rsp)\n  movq $-1, 120(%rsp)\n"
        "    movq $0x33, 136(%rsp)\n movq $0x2b, 160(%rsp)\n"
        ".endm\n"
        ".macro wbpf_restore\n"
        "    movq 0(%rsp), %r15\n    movq 8(%rsp), %r14\n    movq 16(%rsp), %r13\n   movq 24(%rsp), %r12\n"
        "    movq 32(%rsp), %rbp\n   movq 40(%rsp), %rbx\n   movq 48(%rsp), %r11\n   movq 56(%rsp), %r10\n"
        "    movq 64(%rsp), %r9\n    movq 72(%rsp), %r8\n    movq 80(%rsp), %rax\n   movq 88(%rsp), %rcx\n"
        "    movq 96(%rsp), %rdx\n   movq 104(%rsp), %rsi\n  movq 112(%rsp), %rdi\n"
        ".endm\n"
        /* Call C with rdi, rsi and r12; rbx is used. r12 says which vector registers are kept. */
        ".macro wbpf_around function\n"
        "    movq %rsp, %rbx\n"
        "    andq $-64, %rsp\n"
        "    cld\n"
        "    testl %r12d, %r12d\n" /* the sign is WBPF_THUNK_CALLS */
        "    jns 1f\n"
        "    movzbl wbpf_thunk_vectors(%rip), %eax\n"
        "    testl %eax, %eax\n"
        "    jz 1f\n"
        "    cmpl $2, %eax\n"
        "    je 2f\n"
        "    movl $1, %ecx\n"
        "    xgetbv\n"
        "    andl %r12d, %eax\n"
        "    testb $0xe4, %al\n"
        "    jnz 2f\n"
        "1:  subq $256, %rsp\n"
        "    movaps %xmm0, (%rsp)\n    movaps %xmm1, 16(%rsp)\n"
        "    movaps %xmm2, 32(%rsp)\n    movaps %xmm3, 48(%rsp)\n"
        "    movaps %xmm4, 64(%rsp)\n    movaps %xmm5, 80(%rsp)\n"
        "    movaps %xmm6, 96(%rsp)\n    movaps %xmm7, 112(%rsp)\n"
        "    testb $0x80, %r12b\n"
        "    jz 4f\n"
        "    movaps %xmm8, 128(%rsp)\n    movaps %xmm9, 144(%rsp)\n"
        "    movaps %xmm10, 160(%rsp)\n    movaps %xmm11, 176(%rsp)\n"
        "    movaps %xmm12, 192(%rsp)\n    movaps %xmm13, 208(%rsp)\n"
        "    movaps %xmm14, 224(%rsp)\n    movaps %xmm15, 240(%rsp)\n"
        "4:  movq %r12, %rdx\n"
        "    call \\function\n"
        "    movaps (%rsp), %xmm0\n    movaps 16(%rsp), %xmm1\n"
        "    movaps 32(%rsp), %xmm2\n    movaps 48(%rsp), %xmm3\n"
        "    movaps 64(%rsp), %xmm4\n    movaps 80(%rsp), %xmm5\n"
        "    movaps 96(%rsp), %xmm6\n    movaps 112(%rsp), %xmm7\n"
        "    testb $0x80, %r12b\n"
        "    jz 3f\n"
        "    movaps 128(%rsp), %xmm8\n    movaps 144(%rsp), %xmm9\n"
        "    movaps 160(%rsp), %xmm10\n    movaps 176(%rsp), %xmm11\n"
        "    movaps 192(%rsp), %xmm12\n    movaps 208(%rsp), %xmm13\n"
        "    movaps 224(%rsp), %xmm14\n    movaps 240(%rsp), %xmm15\n"
        "    jmp 3f\n"
        "2:  subq wbpf_thunk_area(%rip), %rsp\n"
        "    xorl %edx, %edx\n"
        "    movq %rdx, 512(%rsp)\n    movq %rdx, 520(%rsp)\n"
        "    movq %rdx, 528(%rsp)\n    movq %rdx, 536(%rsp)\n"
        "    movq %rdx, 544(%rsp)\n    movq %rdx, 552(%rsp)\n"
        "    movq %rdx, 560(%rsp)\n    movq %rdx, 568(%rsp)\n"
        "    movzbl %r12b, %eax\n"
        "    xsave64 (%rsp)\n"
        "    movq %r12, %rdx\n"
        "    call \\function\n"
        "    movzbl %r12b, %eax\n"
        "    xorl %edx, %edx\n"
        "    xrstor64 (%rsp)\n"
        "3:  movq %rbx, %rsp\n"
        ".endm\n"
        ".balign 64\n"
        ".globl wbpf_function_thunk\n"
        ".hidden wbpf_function_thunk\n"
        ".type wbpf_function_thunk, @function\n"
        "wbpf_function_thunk:\n" /* on the stack: back to the thunk, the place, the red zone */
        "    pushfq\n"
        "    subq $512, %rsp\n"
        "    wbpf_save\n"
        "    movq 528(%rsp), %rsi\n"
        "    movq (%rsi), %rax\n"
        "    movq %rax, 128(%rsp)\n"
        "    movq 512(%rsp), %rax\n"
        "    movq %rax, 144(%rsp)\n"
        "    leaq 664(%rsp), %rax\n"
        "    movq %rax, 152(%rsp)\n"
        "    movq %rsp, %rdi\n"
        "    movq 8(%rsi), %r12\n"
        "    wbpf_around wbpf_function_entered\n"
        "    wbpf_restore\n"
        "    addq $512, %rsp\n"
        "    popfq\n"
        "    ret\n"
        ".size wbpf_function_thunk, . - wbpf_function_thunk\n"
        ".balign 64\n"
        ".globl wbpf_function_return\n"
        ".hidden wbpf_function_return\n"
        ".type wbpf_function_return, @function\n"
        "wbpf_function_return:\n"
        "    subq $520, %rsp\n"
        "    wbpf_save\n"
        "    movq $0, 144(%rsp)\n"
        "    leaq 520(%rsp), %rax\n"
        "    movq %rax, 152(%rsp)\n"
        "    movq %rsp, %rdi\n"
        "    leaq 512(%rsp), %rsi\n"
        "    movl $0x80000046, %r12d\n"
        "    wbpf_around wbpf_function_returned\n"
        "    wbpf_restore\n"
        "    addq $512, %rsp\n"
        "    ret\n"
        ".size wbpf_function_return, . - wbpf_function_return\n"
        ".popsection\n");

/* How large the area of XSAVE is for FEATURES. */
__attribute__((constructor)) static void begin(void)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX))
        return;
    uint32_t end = 576;
    for (uint32_t feature = 2; feature < 8; feature++) {
        if (!(FEATURES & 1u << feature) || !__get_cpuid_count(0xd, feature, &a, &b, &c, &d))
            continue;
        end = a && a + b > end ? a + b : end;
    }
    wbpf_thunk_area = (end + 63) & ~63u;
    bool asks = __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && a & 1u << 2;
    wbpf_thunk_vectors = asks ? ASK : WIDE;
}

/* ---- writing ---- */

static bool put_distance(uint8_t *at, uint64_t from, uint64_t to)
{
    int64_t distance = (int64_t)(to - from);
    int32_t word = (int32_t)distance;
    memcpy(at, &word, sizeof word);
    return word == distance;
}

int wbpf_thunk_write(uint8_t *to, struct wbpf_thunk_place *place, const struct wbpf_attach_code *code)
{
    static const uint8_t begin_code[] = {
        0x48, 0x8d, 0x64, 0x24, 0x80,          /* lea -128(%rsp), %rsp */
        0xff, 0x35, 0,    0,    0,    0,       /* push place(%rip) */
        0xff, 0x15, 0,    0,    0,    0,       /* call *common(%rip) */
        0x48, 0x8d, 0xa4, 0x24, 0x88, 0, 0, 0, /* lea 136(%rsp), %rsp */
    };
    uint64_t data[2] = {(uint64_t)(uintptr_t)place, (uint64_t)(uintptr_t)wbpf_function_thunk};
    uint64_t base = (uint64_t)(uintptr_t)to;
    memset(to, 0xcc, WBPF_THUNK_BYTES);
    memcpy(to, begin_code, sizeof begin_code);
    memcpy(to + DATA, data, sizeof data);
    put_distance(to + 7, base + 11, base + DATA);
    put_distance(to + 13, base + 17, base + DATA + 8);
    uint8_t *moved = to + sizeof begin_code;
    memcpy(moved, code->moved, code->moved_bytes);
    for (uint32_t i = 0; i < code->fix_count; i++) {
        int32_t word;
        uint32_t at = code->fixes[i];
        if (at + sizeof word > code->moved_bytes)
            return -EINVAL;
        memcpy(&word, moved + at, sizeof word);
        if (!put_distance(moved + at, (uint64_t)(uintptr_t)moved, place->where + (uint64_t)(int64_t)word))
            return -EDOM;
    }
    uint8_t *back = moved + code->moved_bytes;
    *back = 0xe9;
    bool reaches = put_distance(back + 1, (uint64_t)(uintptr_t)back + JUMP, place->where + code->replaced);
    return reaches ? 0 : -EDOM;
}

uint32_t wbpf_thunk_jump(uint64_t where, const uint8_t *thunk, uint8_t jump[16])
{
    /* The restored begin is written by two bytes, which must not be in two lines of the cache. */
    jump[0] = 0xe9;
    return put_distance(jump + 1, where + JUMP, (uint64_t)(uintptr_t)thunk) && where % 64 != 63 ? JUMP : 0;
}

/* ---- restoring ---- */

static void synchronise(void)
{
    static bool registered;
    if (!registered)
        registered = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0;
    if (registered)
        syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
}

static void put_two(uint8_t *at, const uint8_t *two)
{
    uint16_t word;
    memcpy(&word, two, sizeof word);
    __asm__ volatile("movw %1, %0" : "=m"(*(uint16_t *)(void *)at) : "r"(word) : "memory");
}

/* Threads that come by meanwhile turn at a jump to itself. */
void wbpf_thunk_restore(uint8_t *at, const uint8_t *original, uint32_t bytes)
{
    static const uint8_t to_itself[] = {0xeb, 0xfe};
    uintptr_t from = (uintptr_t)at & ~(uintptr_t)(PAGE - 1);
    size_t whole = (((uintptr_t)at + bytes + PAGE - 1) & ~(uintptr_t)(PAGE - 1)) - from;
    if (mprotect((void *)from, whole, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
        return; /* nothing is attached there, at least */
    put_two(at, to_itself);
    synchronise();
    memcpy(at + 2, original + 2, bytes - 2);
    synchronise();
    put_two(at, original);
    synchronise();
    mprotect((void *)from, whole, PROT_READ | PROT_EXEC);
}

/* ---- registers ---- */

uint64_t *wbpf_registers_return_slot(struct wbpf_registers *registers)
{
    return (uint64_t *)(uintptr_t)registers->rsp;
}

uint64_t wbpf_thunk_return_address(void)
{
    return (uint64_t)(uintptr_t)wbpf_function_return;
}

void wbpf_registers_set_address(struct wbpf_registers *registers, uint64_t address)
{
    registers->rip = address;
}
#endif
