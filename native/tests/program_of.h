/* Programs for user space that are functions of a test. */
#ifndef WBPF_TESTS_PROGRAM_OF_H
#define WBPF_TESTS_PROGRAM_OF_H

#include "check.h"
#include "user/program.h"
#include <string.h>

/* x86-64: it jumps there. */
static wbpf_user_program *program_of(uint64_t (*function)(struct wbpf_env *, uint64_t))
{
    unsigned char code[12] = {0x48, 0xb8, [10] = 0xff, 0xe0};
    wbpf_user_program *program;
    memcpy(code + 2, &function, sizeof function);
    wbpf_user_spec spec = {.code = code, .bytes = sizeof code};
    CHECK(wbpf_user_program_create(&spec, &program) == 0);
    return program;
}

#endif
