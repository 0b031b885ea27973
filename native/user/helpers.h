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

#ifdef __cplusplus
}
#endif
#endif
