#include "user/injected.h"
#include <stddef.h>

#if defined(__x86_64__)
/* All registers are kept: general ones on the stack below the red zone, the others by XSAVE below them. */
__asm__(".pushsection .rodata\n"
        "wbpf_injected_begin:\n"
        "    leaq -256(%rsp), %rsp\n"
        "    pushfq\n"
        "    pushq %rax\n pushq %rcx\n pushq %rdx\n pushq %rbx\n pushq %rbp\n pushq %rsi\n pushq %rdi\n"
        "    pushq %r8\n  pushq %r9\n  pushq %r10\n pushq %r11\n pushq %r12\n pushq %r13\n pushq %r14\n"
        "    pushq %r15\n"
        "    cld\n"
        "    movq %rsp, %rbp\n"
        "    movl $0xd, %eax\n"
        "    xorl %ecx, %ecx\n"
        "    cpuid\n" /* ebx: how large the area is */
        "    subq %rbx, %rsp\n"
        "    andq $-64, %rsp\n"
        "    xorl %eax, %eax\n"
        "    leaq 512(%rsp), %rdi\n"
        "    movl $8, %ecx\n"
        "    rep stosq\n"
        "    movl $-1, %eax\n"
        "    movl $-1, %edx\n"
        "    xsave64 (%rsp)\n"
        "    leaq wbpf_injected_path(%rip), %rdi\n"
        "    movl $2, %esi\n" /* RTLD_NOW */
        "    call *wbpf_injected_dlopen(%rip)\n"
        "    movl $-1, %eax\n"
        "    movl $-1, %edx\n"
        "    xrstor64 (%rsp)\n"
        "    movq %rbp, %rsp\n"
        "    popq %r15\n  popq %r14\n popq %r13\n popq %r12\n popq %r11\n popq %r10\n popq %r9\n"
        "    popq %r8\n   popq %rdi\n popq %rsi\n popq %rbp\n popq %rbx\n popq %rdx\n popq %rcx\n"
        "    popq %rax\n"
        "    popfq\n"
        "    leaq 256(%rsp), %rsp\n"
        "    jmp *wbpf_injected_back(%rip)\n"
        "    .balign 8\n"
        "wbpf_injected_end:\n"
        ".set wbpf_injected_back, wbpf_injected_end\n"
        ".set wbpf_injected_dlopen, wbpf_injected_end + 8\n"
        ".set wbpf_injected_path, wbpf_injected_end + 16\n"
        ".popsection\n");
extern const uint8_t wbpf_injected_begin[] __attribute__((visibility("hidden")));
extern const uint8_t wbpf_injected_end[] __attribute__((visibility("hidden")));

const uint8_t *wbpf_injected_code(uint32_t *bytes)
{
    *bytes = (uint32_t)(wbpf_injected_end - wbpf_injected_begin);
    return wbpf_injected_begin;
}
#else
const uint8_t *wbpf_injected_code(uint32_t *bytes)
{
    *bytes = 0;
    return NULL;
}
#endif
