/* What a module for wasm-bpf is written with: its imports, and patching .rodata in the object's own bytes. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("wasm_bpf"), import_name(#name)))
typedef int (*sample_fn)(void *context, void *data, int size);

IMPORT(wasm_load_bpf_object) uint64_t wasm_load_bpf_object(const void *object, int size);
IMPORT(wasm_close_bpf_object) int wasm_close_bpf_object(uint64_t object);
IMPORT(wasm_attach_bpf_program)
int wasm_attach_bpf_program(uint64_t object, const char *name, const char *target);
IMPORT(wasm_bpf_map_fd_by_name) int wasm_bpf_map_fd_by_name(uint64_t object, const char *name);
IMPORT(wasm_bpf_map_operate)
int wasm_bpf_map_operate(int fd, int command, void *key, void *value, void *next_key, uint64_t flags);
IMPORT(wasm_bpf_buffer_poll)
int wasm_bpf_buffer_poll(uint64_t object, int fd, sample_fn sample, void *context, void *data, int max_size,
                         int timeout_ms);

enum { LOOKUP = 1, UPDATE, DELETE, NEXT_KEY };

static unsigned char object[] __attribute__((aligned(8))) = {
#embed OBJECT
};

static inline uint64_t field(const unsigned char *at, int size)
{
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

/* The bytes of a section of the object, which is an ELF64 file. */
static inline unsigned char *section(const char *name)
{
    unsigned char *headers = object + field(object + 0x28, 8);
    int count = field(object + 0x3c, 2);
    unsigned char *names = object + field(headers + 64 * field(object + 0x3e, 2) + 0x18, 8);
    for (int i = 0; i < count; i++)
        if (!strcmp((char *)names + field(headers + 64 * i, 4), name))
            return object + field(headers + 64 * i + 0x18, 8);
    fprintf(stderr, "no section %s\n", name);
    exit(90);
}

static inline uint64_t load_and_attach(const char *const *programs, const char *target)
{
    uint64_t loaded = wasm_load_bpf_object(object, sizeof object);
    if (!loaded)
        exit(91);
    for (; *programs; programs++)
        if (wasm_attach_bpf_program(loaded, *programs, target) < 0)
            exit(92);
    return loaded;
}

static inline int map_of(uint64_t loaded, const char *name)
{
    int fd = wasm_bpf_map_fd_by_name(loaded, name);
    if (fd < 0)
        exit(93);
    return fd;
}

#define ATTACH(target, ...) load_and_attach((const char *const[]){__VA_ARGS__, NULL}, target)
#define READY()             (puts("ready"), fflush(stdout))
