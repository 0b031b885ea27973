/*
 * Programs at functions of this process that were not made for it: a jump takes the place of the first
 * instructions, to a piece of code that runs what is attached, then those instructions, and goes on behind
 * them. Errors are negative errnos.
 *
 * Which instructions these are, and how they are to be written elsewhere, the tracer has found out. It also
 * writes the jump, while all threads are stopped. The original is restored here, so that it is when the
 * tracer was killed.
 */
#ifndef WBPF_USER_FUNCTIONS_H
#define WBPF_USER_FUNCTIONS_H

#include "user/attach.h"
#include "user/program.h"

typedef struct wbpf_function_link wbpf_function_link;

/* The program must stay until the link is destroyed. What the tracer is to write in *reply, and why it can't
 * be done. */
int wbpf_function_link_create(const struct wbpf_attach_request *request, const wbpf_user_program *program,
                              wbpf_function_link **out, struct wbpf_attach_reply *reply);
/* When it returns, no thread is in the program any more; the last link of a function restores it. Runs that
 * were stopped in *stopped. */
void wbpf_function_link_destroy(wbpf_function_link *link, uint64_t *stopped);
/* What a return address on a stack is, or was before the return was traced. */
uint64_t wbpf_function_returns_to(uint64_t slot, uint64_t address);
/* Whether a hooked place is where a function has not made its frame yet, as far as its first instruction
 * says: by the kernel's rule for x86 (is_uprobe_at_func_entry() of arch/x86/events/core.c). */
bool wbpf_function_has_no_frame(uint64_t where);
/* In a child after fork: restore all functions. */
void wbpf_functions_forget(void);

#endif
