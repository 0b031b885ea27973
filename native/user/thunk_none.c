/* Machines on which functions are not hooked; the tracer refuses before it asks. */
#if !defined(__x86_64__)
#include "user/thunk.h"
#include <errno.h>

int wbpf_thunk_write(uint8_t *to, struct wbpf_thunk_place *place, const struct wbpf_attach_code *code)
{
    (void)to, (void)place, (void)code;
    return -EOPNOTSUPP;
}

uint32_t wbpf_thunk_jump(uint64_t where, const uint8_t *thunk, uint8_t jump[16])
{
    (void)where, (void)thunk, (void)jump;
    return 0;
}

uint64_t *wbpf_registers_return_slot(struct wbpf_registers *registers)
{
    (void)registers;
    return NULL;
}

uint64_t wbpf_thunk_return_address(void)
{
    return 0;
}

void wbpf_registers_set_address(struct wbpf_registers *registers, uint64_t address)
{
    (void)registers, (void)address;
}

void wbpf_thunk_restore(uint8_t *at, const uint8_t *original, uint32_t bytes)
{
    (void)at, (void)original, (void)bytes;
}
#endif
