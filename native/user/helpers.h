/* The functions that programs call by number: those of the kernel's `enum bpf_func_id` that make sense here.
 */
#ifndef WBPF_USER_HELPERS_H
#define WBPF_USER_HELPERS_H

#include "user/env.h"

#ifdef __cplusplus
extern "C" {
#endif

/* NULL: there is none of this number. */
wbpf_helper wbpf_user_helper(int32_t number);
/* The part of them that works on maps and memory: map_helpers.c. */
wbpf_helper wbpf_user_map_helper(int32_t number);
/* Of stacks: stack_helpers.c. */
wbpf_helper wbpf_user_stack_helper(int32_t number);
/* Of texts with values in them: text_helpers.c. */
wbpf_helper wbpf_user_text_helper(int32_t number);
/* bpf_tail_call: the entry of the program to go on with, or a negative errno. */
uint64_t wbpf_user_tail_call(struct wbpf_env *env, uint64_t context, uint64_t map, uint64_t index,
                             uint64_t r4, uint64_t r5);
/* The same out of a local function: what the other program returned, not negative. */
uint64_t wbpf_user_nested_tail_call(struct wbpf_env *env, uint64_t context, uint64_t map, uint64_t index,
                                    uint64_t r4, uint64_t r5);

#ifdef __cplusplus
}
#endif
#endif
