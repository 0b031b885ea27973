/* Mapping and running translated programs. */
#include "user/program.h"
#include "maps/maps.h"
#include "user/helpers.h"
#include <errno.h>
#include <linux/bpf.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>

#define PROGRAMS_MOST 4096
/* Of the thread's stack, for tail calls that are inside each other: enough for all that may be made of usual
 * programs, and syscall_threads.c has room for it. */
#define NESTED_MOST ((size_t)176 << 10)

_Static_assert(offsetof(struct wbpf_env, frame) == 8, "slots.py");
_Static_assert(offsetof(struct wbpf_env, stack_low) == 16, "slots.py");
_Static_assert(offsetof(struct wbpf_env, context) == 32, "slots.py");
_Static_assert(offsetof(struct wbpf_env, check) == 48, "slots.py");
_Static_assert(offsetof(struct wbpf_env, stop) == 56, "slots.py");
_Static_assert(offsetof(struct wbpf_env, helpers) == 64, "slots.py");
_Static_assert(offsetof(struct wbpf_env, entries) == 88, "slots.py");
_Static_assert(offsetof(struct wbpf_env, cpu) == 96, "slots.py");

struct wbpf_user_program {
    void *code;
    size_t bytes;
    wbpf_entry entry;
    wbpf_helper *helpers;
    uint64_t *maps, *values, *entries;
    uint32_t map_count;
    bool checked;
    bool plain;
    bool leaves; /* it calls others by bpf_tail_call, which may be checked */
    uint32_t id, kind;
};

/* By the low bits of their ids, for tail calls. */
static struct wbpf_user_program *programs[PROGRAMS_MOST];
static pthread_mutex_t programs_mutex = PTHREAD_MUTEX_INITIALIZER;

static int give_id(struct wbpf_user_program *program)
{
    uint32_t random;
    int error = -ENOSPC;
    if (getrandom(&random, sizeof random, 0) < 0)
        return -errno;
    pthread_mutex_lock(&programs_mutex);
    for (uint32_t i = 0; error && i < PROGRAMS_MOST; i++, random++) {
        if (!random || programs[random % PROGRAMS_MOST])
            continue;
        program->id = random;
        __atomic_store_n(&programs[random % PROGRAMS_MOST], program, __ATOMIC_RELEASE);
        error = 0;
    }
    pthread_mutex_unlock(&programs_mutex);
    return error;
}

static void *copy(const void *from, size_t count, size_t each)
{
    void *to = malloc(count ? count * each : 1);
    if (to && count)
        memcpy(to, from, count * each);
    return to;
}

int wbpf_user_program_create(const wbpf_user_spec *spec, wbpf_user_program **out)
{
    if (!spec->bytes || spec->entry >= spec->bytes)
        return -EINVAL;
    wbpf_user_program *program = calloc(1, sizeof *program);
    if (!program)
        return -ENOMEM;
    program->bytes = spec->bytes;
    program->checked = spec->checked;
    program->map_count = spec->map_count;
    program->plain = !spec->checked && !spec->helper_count;
    program->kind = spec->kind;
    program->helpers = copy(spec->helpers, spec->helper_count, sizeof *spec->helpers);
    program->maps = copy(spec->maps, spec->map_count, sizeof *spec->maps);
    program->values = copy(spec->values, spec->map_count, sizeof *spec->values);
    program->entries = copy(spec->entries, spec->map_count, sizeof *spec->entries);
    program->code = mmap(NULL, spec->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error = 0;
    if (program->code == MAP_FAILED) {
        error = -errno;
        program->code = NULL;
    } else {
        memcpy(program->code, spec->code, spec->bytes);
        __builtin___clear_cache(program->code, (char *)program->code + spec->bytes);
        if (mprotect(program->code, spec->bytes, PROT_READ | PROT_EXEC) < 0)
            error = -errno;
    }
    if (!program->helpers || !program->maps || !program->values || !program->entries)
        error = -ENOMEM;
    if (error) {
        wbpf_user_program_destroy(program);
        return error;
    }
    for (uint32_t i = 0; i < spec->helper_count; i++)
        program->leaves |=
            spec->helpers[i] == wbpf_user_tail_call || spec->helpers[i] == wbpf_user_nested_tail_call;
    void *start = (char *)program->code + spec->entry;
    memcpy(&program->entry, &start, sizeof start);
    error = give_id(program);
    if (error) {
        wbpf_user_program_destroy(program);
        return error;
    }
    *out = program;
    return 0;
}

bool wbpf_user_program_is_plain(const wbpf_user_program *program)
{
    return program->plain;
}

uint32_t wbpf_user_program_id(const wbpf_user_program *program)
{
    return program->id;
}

void wbpf_user_program_destroy(wbpf_user_program *program)
{
    if (!program)
        return;
    if (program->id)
        __atomic_store_n(&programs[program->id % PROGRAMS_MOST], NULL, __ATOMIC_RELEASE);
    if (program->code)
        munmap(program->code, program->bytes);
    free(program->helpers);
    free(program->maps);
    free(program->values);
    free(program->entries);
    free(program);
}

static void stop(struct wbpf_env *env, uint64_t why, uint64_t at)
{
    env->stopped = (enum wbpf_stop)why;
    env->stopped_at = at;
    longjmp(env->out, 1);
}

static bool lies_in(uint64_t address, uint64_t width, uint64_t low, uint64_t bytes)
{
    return bytes >= width && address - low <= bytes - width;
}

static void check(struct wbpf_env *env, uint64_t address, uint64_t what, uint64_t at)
{
    uint64_t width = what & 0xff;
    bool ok = !(what & WBPF_CHECK_ALIGNED) || address % width == 0;
    /* Others' contexts are read: what is in them may be registers that a thread goes on with. */
    bool context =
        !(what & WBPF_CHECK_WRITE) || env->kind == BPF_PROG_TYPE_SYSCALL || env->kind == BPF_PROG_TYPE_UNSPEC;
    if (ok && (lies_in(address, width, env->stack_low, env->stack_bytes) ||
               (context && lies_in(address, width, env->context, env->context_bytes))))
        return;
    for (uint32_t i = 0; ok && i < env->map_count; i++) {
        const wbpf_user_map *map = (const wbpf_user_map *)(uintptr_t)env->maps[i];
        if (map && wbpf_user_map_holds(map, address, width, what & WBPF_CHECK_WRITE))
            return;
    }
    env->stopped_address = address;
    stop(env, WBPF_STOP_MEMORY, at);
}

/* Of glibc 2.35 and newer, which registers it with the kernel for each thread. */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

static const uint32_t *cpu_of_thread(struct wbpf_env *env)
{
    if (&__rseq_size && __rseq_size)
        return &((const struct rseq *)((const char *)__builtin_thread_pointer() + __rseq_offset))->cpu_id;
    int cpu = sched_getcpu();
    env->cpu_at_start = cpu < 0 ? 0 : (uint32_t)cpu;
    return &env->cpu_at_start;
}

static void enter(const wbpf_user_program *program, struct wbpf_env *env)
{
    env->helpers = program->helpers;
    env->maps = program->maps;
    env->map_count = program->map_count;
    env->values = program->values;
    env->entries = program->entries;
    if (program->checked) {
        env->fuel = env->fuel < env->fuel_checked ? env->fuel : env->fuel_checked;
        memset((void *)(uintptr_t)env->stack_low, 0, WBPF_STACK_BYTES);
    }
}

/* The one at an index of a program array, if one more tail call may be made. */
static const wbpf_user_program *tail_target(struct wbpf_env *env, uint64_t map, uint64_t index, int *error)
{
    uint32_t key = (uint32_t)index, id;
    *error = -E2BIG;
    if (env->tail_calls >= WBPF_TAIL_CALLS_MOST)
        return NULL;
    *error = wbpf_user_map_lookup((wbpf_user_map *)(uintptr_t)map, &key, &id, 0);
    if (*error)
        return NULL;
    *error = -ENOENT;
    const wbpf_user_program *program = __atomic_load_n(&programs[id % PROGRAMS_MOST], __ATOMIC_ACQUIRE);
    if (!program || program->id != id || program->kind != env->kind || (program->checked && env->holds))
        return NULL;
    env->tail_calls++;
    return program;
}

uint64_t wbpf_user_tail_call(struct wbpf_env *env, uint64_t context, uint64_t map, uint64_t index,
                             uint64_t r4, uint64_t r5)
{
    (void)context, (void)r4, (void)r5;
    int error;
    const wbpf_user_program *program = tail_target(env, map, index, &error);
    if (!program)
        return (uint64_t)error;
    enter(program, env);
    return (uint64_t)(uintptr_t)program->entry;
}

uint64_t wbpf_user_nested_tail_call(struct wbpf_env *env, uint64_t context, uint64_t map, uint64_t index,
                                    uint64_t r4, uint64_t r5)
{
    (void)r4, (void)r5;
    int error;
    if ((uintptr_t)env - (uintptr_t)__builtin_frame_address(0) > NESTED_MOST)
        return (uint64_t)-E2BIG;
    const wbpf_user_program *program = tail_target(env, map, index, &error);
    if (!program)
        return (uint64_t)error;
    struct wbpf_env caller = *env;
    _Alignas(16) char stack[WBPF_STACK_BYTES];
    env->stack_low = (uint64_t)(uintptr_t)stack;
    env->frame = env->stack_low + WBPF_STACK_BYTES;
    enter(program, env);
    uint64_t result = program->entry(env, context) & INT64_MAX;
    env->stack_low = caller.stack_low;
    env->frame = caller.frame;
    env->helpers = caller.helpers;
    env->maps = caller.maps;
    env->map_count = caller.map_count;
    env->values = caller.values;
    env->entries = caller.entries;
    return result;
}

static void prepare(const wbpf_user_program *program, const wbpf_user_run *run, struct wbpf_env *env,
                    char *stack)
{
    env->fuel = run->fuel ? run->fuel : WBPF_FUEL_PROVED;
    env->fuel_checked = run->fuel ? run->fuel : WBPF_FUEL_CHECKED;
    env->stack_low = (uint64_t)(uintptr_t)stack;
    env->stack_bytes = WBPF_STACK_BYTES;
    env->frame = env->stack_low + WBPF_STACK_BYTES;
    env->context = (uint64_t)(uintptr_t)run->context;
    env->context_bytes = run->context_bytes;
    env->cpu = cpu_of_thread(env);
    env->check = check;
    env->stop = stop;
    env->cookie = run->cookie;
    env->registers = program->kind == BPF_PROG_TYPE_KPROBE ? run->context : NULL;
    env->start = run->start;
    env->tail_calls = 0;
    env->holds = false;
    env->kind = program->kind;
    env->stopped = WBPF_STOP_NONE;
    enter(program, env);
}

int wbpf_user_program_run(const wbpf_user_program *program, wbpf_user_run *run)
{
    struct wbpf_env env;
    _Alignas(16) char stack[WBPF_STACK_BYTES];

    prepare(program, run, &env, stack);
    /* What is wholly proved is never stopped. */
    if ((program->checked || program->leaves) && setjmp(env.out)) {
        run->stopped = env.stopped;
        run->stopped_at = env.stopped_at;
        run->stopped_address = env.stopped_address;
        return -EFAULT;
    }
    run->result = program->entry(&env, env.context);
    run->stopped = WBPF_STOP_NONE;
    return 0;
}

int wbpf_user_program_repeat(const wbpf_user_program *program, wbpf_user_run *run, uint64_t count,
                             uint64_t *total_ns)
{
    struct wbpf_env env;
    _Alignas(16) char stack[WBPF_STACK_BYTES];
    struct timespec from, to;
    int error = 0;

    prepare(program, run, &env, stack);
    int64_t fuel = env.fuel;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t i = 0; i < count && !error; i++) {
        if (program->checked || program->leaves) {
            error = wbpf_user_program_run(program, run);
        } else { /* what is proved leaves its environment as it was */
            env.fuel = fuel;
            run->result = program->entry(&env, env.context);
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    *total_ns = (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)(to.tv_nsec - from.tv_nsec);
    return error;
}
