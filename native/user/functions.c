#include "user/functions.h"
#include "user/links.h"
#include "user/thunk.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE          4096
#define BUCKETS       4096
#define BUCKET_SIZE   8
#define RETURNS_MOST  6 /* hooked functions that return at once, having jumped to each other */
#define SEARCH_STRIDE ((uint64_t)1 << 20)

/* A function that is hooked or was. It and its thunk stay: a thread may be in the thunk at any time. */
struct hook {
    struct wbpf_thunk_place place;
    struct wbpf_link_node *entries, *calling, *returns; /* calling: entries whose programs call helpers */
    struct hook *next;
    uint8_t *thunk;
    uint8_t original[32], jump[16];
    uint32_t jump_bytes;
    uint16_t *semaphore; /* of a USDT probe: not zero while a program is attached */
    uint16_t raised;     /* by these links */
};

struct wbpf_function_link {
    struct wbpf_link link;
    struct wbpf_link_node node;
    struct hook *hook;
    bool at_return;
};

/* A call that will return to here: where its return address is kept, and what that was. The place of a return
 * address is that of one call in the whole process; a longjmp() may leave entries, which the next call there
 * takes. */
struct pending {
    uint64_t slot, to;
    uint32_t count;
    struct hook *hooks[RETURNS_MOST];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct hook *hooks;
static struct pending *pending; /* BUCKETS times BUCKET_SIZE */

/* ---- calls ---- */

static struct pending *bucket_of(uint64_t slot)
{
    return &pending[(slot >> 3) * 0x9e3779b97f4a7c15u >> 52 & (BUCKETS - 1)];
}

static struct pending *find_pending(uint64_t slot)
{
    struct pending *bucket = pending + (bucket_of(slot) - pending) * BUCKET_SIZE;
    for (uint32_t i = 0; i < BUCKET_SIZE; i++)
        if (__atomic_load_n(&bucket[i].slot, __ATOMIC_RELAXED) == slot)
            return &bucket[i];
    return NULL;
}

static struct pending *add_pending(uint64_t slot)
{
    struct pending *bucket = pending + (bucket_of(slot) - pending) * BUCKET_SIZE;
    for (uint32_t i = 0; i < BUCKET_SIZE; i++) {
        uint64_t none = 0;
        if (__atomic_compare_exchange_n(&bucket[i].slot, &none, slot, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return &bucket[i];
    }
    return NULL;
}

static void expect_return(struct wbpf_registers *registers, struct hook *hook)
{
    uint64_t *slot = wbpf_registers_return_slot(registers), address = wbpf_thunk_return_address();
    struct pending *one = find_pending((uint64_t)(uintptr_t)slot);
    if (one && *slot == address) { /* a hooked function jumped here instead of calling */
        if (one->count == RETURNS_MOST)
            wbpf_links_miss();
        else
            one->hooks[one->count++] = hook;
        return;
    }
    if (!one && !(one = add_pending((uint64_t)(uintptr_t)slot))) {
        wbpf_links_miss();
        return;
    }
    one->to = *slot;
    one->hooks[0] = hook;
    one->count = 1;
    *slot = address;
}

void wbpf_function_entered(struct wbpf_registers *registers, struct wbpf_thunk_place *place, uint64_t kept)
{
    struct hook *hook = (struct hook *)place;
    if (__atomic_load_n(&hook->entries, __ATOMIC_RELAXED))
        wbpf_links_run(&hook->entries, registers, WBPF_REGISTERS_BYTES, NULL);
    /* Else this call began before such a program was attached. */
    if (kept & WBPF_THUNK_CALLS && __atomic_load_n(&hook->calling, __ATOMIC_RELAXED))
        wbpf_links_run(&hook->calling, registers, WBPF_REGISTERS_BYTES, NULL);
    if (!__atomic_load_n(&hook->returns, __ATOMIC_RELAXED))
        return;
    if (wbpf_links_running())
        wbpf_links_miss();
    else
        expect_return(registers, hook);
}

void wbpf_function_returned(struct wbpf_registers *registers, uint64_t *slot)
{
    struct pending *one = find_pending((uint64_t)(uintptr_t)slot);
    if (!one) {
        static const char why[] =
            "wbpf: a function whose return is traced has returned on a copy of its stack\n";
        (void)!write(2, why, sizeof why - 1);
        abort();
    }
    struct pending found = *one;
    __atomic_store_n(&one->slot, 0, __ATOMIC_RELEASE);
    *slot = found.to;
    wbpf_registers_set_address(registers, found.to);
    for (uint32_t i = found.count; i-- > 0;)
        wbpf_links_run(&found.hooks[i]->returns, registers, WBPF_REGISTERS_BYTES, NULL);
}

uint64_t wbpf_function_returns_to(uint64_t slot, uint64_t address)
{
    const struct pending *one = pending && address == wbpf_thunk_return_address() ? find_pending(slot) : NULL;
    return one ? one->to : address;
}

bool wbpf_function_has_no_frame(uint64_t where)
{
    static const uint8_t push_rbp[] = {0x55}, endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
    const struct hook *hook = __atomic_load_n(&hooks, __ATOMIC_ACQUIRE);
    while (hook && hook->place.where != where)
        hook = hook->next;
    return hook && (memcmp(hook->original, push_rbp, sizeof push_rbp) == 0 ||
                    memcmp(hook->original, endbr64, sizeof endbr64) == 0);
}

/* ---- hooks ---- */

/* Memory that a jump reaches from `where`. */
static uint8_t *near_memory(uint64_t where)
{
    for (uint64_t far = SEARCH_STRIDE; far < WBPF_THUNK_FARTHEST; far += SEARCH_STRIDE) {
        for (int up = 0; up < 2; up++) {
            uint64_t hint = ((up ? where + far : where - far) & ~(uint64_t)(SEARCH_STRIDE - 1));
            if (up ? hint < where : hint > where || hint < SEARCH_STRIDE)
                continue;
            void *at = mmap((void *)(uintptr_t)hint, WBPF_THUNK_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
            if (at == (void *)(uintptr_t)hint)
                return at;
            if (at != MAP_FAILED) /* a kernel that does not know the flag */
                munmap(at, WBPF_THUNK_BYTES);
        }
    }
    return NULL;
}

static int refuse(struct wbpf_attach_reply *reply, int error, const char *why)
{
    snprintf(reply->why, sizeof reply->why, "%s", why);
    return error;
}

/* Also of what is not there: -EFAULT. */
static int read_code(uint64_t where, void *to, size_t bytes)
{
    struct iovec local = {to, bytes}, remote = {(void *)(uintptr_t)where, bytes};
    ssize_t done = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (done < 0 && (errno == EPERM || errno == ENOSYS)) { /* not asked for: the tracer has read it too */
        memcpy(to, (const void *)(uintptr_t)where, bytes);
        return 0;
    }
    return done == (ssize_t)bytes ? 0 : -EFAULT;
}

static int make_hook(const struct wbpf_attach_request *request, struct hook **out,
                     struct wbpf_attach_reply *reply)
{
    const struct wbpf_attach_code *code = &request->code;
    struct hook *hook = calloc(1, sizeof *hook);
    if (!hook)
        return -ENOMEM;
    hook->place.where = request->where;
    hook->place.kept = request->flags & WBPF_ATTACH_INSIDE ? WBPF_THUNK_ALL : WBPF_THUNK_ARGUMENTS;
    memcpy(hook->original, code->original, sizeof hook->original);
    hook->thunk = near_memory(request->where);
    int error = hook->thunk ? wbpf_thunk_write(hook->thunk, &hook->place, code) : -ENOSPC;
    if (!error && mprotect(hook->thunk, WBPF_THUNK_BYTES, PROT_READ | PROT_EXEC) < 0)
        error = -errno;
    if (!error && !(hook->jump_bytes = wbpf_thunk_jump(request->where, hook->thunk, hook->jump)))
        error = -EDOM;
    if (error) {
        if (hook->thunk)
            munmap(hook->thunk, WBPF_THUNK_BYTES);
        free(hook);
        return refuse(reply, error, "there is no memory near the function");
    }
    uint16_t now;
    if (request->semaphore && read_code(request->semaphore, &now, sizeof now) == 0)
        hook->semaphore = (uint16_t *)(uintptr_t)request->semaphore;
    hook->next = hooks;
    __atomic_store_n(&hooks, hook, __ATOMIC_RELEASE);
    *out = hook;
    return 0;
}

static int find_hook(const struct wbpf_attach_request *request, struct hook **out,
                     struct wbpf_attach_reply *reply)
{
    const struct wbpf_attach_code *code = &request->code;
    uint8_t now[sizeof code->original] = {0};
    struct hook *hook = hooks;
    /* Other code may have been loaded to the same address. */
    while (hook && (hook->place.where != request->where || memcmp(hook->original, code->original, 32) != 0))
        hook = hook->next;
    if (code->replaced > sizeof code->original || code->moved_bytes > sizeof code->moved ||
        code->fix_count > sizeof code->fixes || !code->replaced)
        return refuse(reply, -EINVAL, "it is no request of this version of wBPF");
    if (read_code(request->where, now, code->replaced) != 0)
        return refuse(reply, -EFAULT, "there is no code at this address");
    if (!(hook && memcmp(now, hook->jump, hook->jump_bytes) == 0) &&
        memcmp(now, code->original, code->replaced) != 0)
        return refuse(reply, -EBUSY, "another tool has changed the function");
    *out = hook;
    return hook ? 0 : make_hook(request, out, reply);
}

/* Its library may have been unloaded. */
static void lower(struct hook *hook, uint16_t by)
{
    uint16_t now;
    if (hook->raised && read_code((uint64_t)(uintptr_t)hook->semaphore, &now, sizeof now) == 0)
        __atomic_fetch_sub(hook->semaphore, by, __ATOMIC_RELAXED);
    hook->raised = hook->raised > by ? hook->raised - by : 0;
}

static bool is_patched(const struct hook *hook)
{
    uint8_t now[sizeof hook->jump];
    return read_code(hook->place.where, now, hook->jump_bytes) ==
               0 && /* its library may have been unloaded */
           memcmp(now, hook->jump, hook->jump_bytes) == 0;
}

static int make_pending(void)
{
    if (pending)
        return 0;
    void *memory = mmap(NULL, sizeof *pending * BUCKETS * BUCKET_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    pending = memory;
    return 0;
}

static struct wbpf_link_node **list_of(wbpf_function_link *link)
{
    struct hook *hook = link->hook;
    if (link->at_return)
        return &hook->returns;
    return wbpf_links_are_plain() && wbpf_user_program_is_plain(link->link.program) ? &hook->entries
                                                                                    : &hook->calling;
}

/* Where no thread is at the function. */
static int patch_now(const struct hook *hook)
{
    uintptr_t from = hook->place.where & ~(uintptr_t)(PAGE - 1);
    size_t bytes = ((hook->place.where + hook->jump_bytes + PAGE - 1) & ~(uintptr_t)(PAGE - 1)) - from;
    if (mprotect((void *)from, bytes, PROT_READ | PROT_WRITE | PROT_EXEC) < 0)
        return -errno;
    memcpy((void *)(uintptr_t)hook->place.where, hook->jump, hook->jump_bytes);
    __builtin___clear_cache((char *)(uintptr_t)hook->place.where,
                            (char *)(uintptr_t)hook->place.where + hook->jump_bytes);
    return mprotect((void *)from, bytes, PROT_READ | PROT_EXEC) < 0 ? -errno : 0;
}

int wbpf_function_link_create(const struct wbpf_attach_request *request, const wbpf_user_program *program,
                              wbpf_function_link **out, struct wbpf_attach_reply *reply)
{
    wbpf_function_link *link = calloc(1, sizeof *link);
    int error = link ? wbpf_link_init(&link->link, program, request->cookie) : -ENOMEM;
    if (error) {
        free(link);
        return error;
    }
    link->at_return = request->kind == WBPF_ATTACH_FUNCTION_RETURN;
    pthread_mutex_lock(&mutex);
    error = link->at_return ? make_pending() : 0;
    if (!error)
        error = find_hook(request, &link->hook, reply);
    if (!error) {
        struct hook *hook = link->hook;
        if (list_of(link) != &hook->entries)
            __atomic_fetch_or(&hook->place.kept, WBPF_THUNK_CALLS, __ATOMIC_RELEASE);
        wbpf_links_add(list_of(link), &link->node, &link->link);
        if (hook->semaphore) {
            __atomic_fetch_add(hook->semaphore, 1, __ATOMIC_RELAXED);
            hook->raised++;
        }
        if (request->flags & WBPF_ATTACH_HELD) {
            error = patch_now(hook);
        } else {
            reply->patch_bytes = hook->jump_bytes;
            memcpy(reply->patch, hook->jump, hook->jump_bytes);
        }
    }
    pthread_mutex_unlock(&mutex);
    reply->sites = 1;
    if (error && link->hook) {
        uint64_t stopped;
        wbpf_function_link_destroy(link, &stopped);
    } else if (error) {
        wbpf_link_deinit(&link->link);
        free(link);
    } else {
        *out = link;
    }
    return error;
}

void wbpf_function_link_destroy(wbpf_function_link *link, uint64_t *stopped)
{
    struct hook *hook = link->hook;
    pthread_mutex_lock(&mutex);
    wbpf_links_remove(list_of(link), &link->link);
    lower(hook, 1);
    if (!hook->calling && !hook->returns)
        __atomic_fetch_and(&hook->place.kept, ~(uint64_t)WBPF_THUNK_CALLS, __ATOMIC_RELEASE);
    if (!hook->entries && !hook->calling && !hook->returns && is_patched(hook))
        wbpf_thunk_restore((uint8_t *)(uintptr_t)hook->place.where, hook->original, hook->jump_bytes);
    pthread_mutex_unlock(&mutex);
    wbpf_links_wait();
    *stopped = link->link.stopped;
    wbpf_link_deinit(&link->link);
    free(link);
}

void wbpf_functions_forget(void)
{
    pthread_mutex_init(&mutex, NULL);
    for (struct hook *hook = hooks; hook; hook = hook->next) {
        hook->entries = hook->calling = hook->returns = NULL;
        lower(hook, hook->raised);
        if (is_patched(hook))
            wbpf_thunk_restore((uint8_t *)(uintptr_t)hook->place.where, hook->original, hook->jump_bytes);
    }
}
