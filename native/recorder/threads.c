/* A writer for each thread, in memory that a forked child finds zeroed. */
#include "opening.h"
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLAB_BYTES 65536

__thread struct writer *tls_writer __attribute__((tls_model("initial-exec")));
static __thread uint8_t
    tls_entering; /* while the thread gets or leaves its writer: signal handlers may trace */
static pthread_key_t exit_key;
static pthread_once_t exit_key_once = PTHREAD_ONCE_INIT;

void *wiped_memory_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (madvise(memory, bytes, MADV_WIPEONFORK) != 0) {
        munmap(memory, bytes);
        return NULL;
    }
    return memory;
}

static void give_back(struct writer *w)
{
    store_release(&w->alive, 0);
    state_lock();
    w->next_free = wbpf_state->free_writers;
    wbpf_state->free_writers = w;
    state_unlock();
}

/* A writer that is in use is not given back, and then perhaps another thread's, while this is asked. */
static bool thread_is_gone(const struct writer *w, int pid)
{
    state_lock();
    bool gone = load_acquire(&w->alive) && syscall(SYS_tgkill, pid, w->tid, 0) != 0 && errno == ESRCH;
    state_unlock();
    return gone;
}

bool writer_reclaim(void)
{
    bool found = false;
    int pid = getpid();
    while (__atomic_exchange_n(&wbpf_state->reclaiming, 1, __ATOMIC_ACQUIRE))
        sched_yield();
    for (struct writer *w = load_acquire(&wbpf_state->writers); w; w = w->next)
        if (thread_is_gone(w, pid)) {
            HAPPENS_AFTER(w);
            writer_retire(w);
            give_back(w);
            found = true;
        }
    store_release(&wbpf_state->reclaiming, 0);
    return found;
}

static struct writer *pop_writer(void)
{
    state_lock();
    struct writer *w = wbpf_state->free_writers;
    if (w) {
        wbpf_state->free_writers = w->next_free;
        struct writer *next = w->next;
        memset(w, 0, sizeof *w);
        w->next = next;
    }
    state_unlock();
    return w;
}

static struct writer *new_writer(void)
{
    struct writer *w = pop_writer();
    if (w || (writer_reclaim() && (w = pop_writer())))
        return w;
    state_lock();
    uint8_t *slab = wiped_memory_map(SLAB_BYTES);
    size_t size = (sizeof *w + 127) / 128 * 128;
    for (size_t at = 0; slab && at + size <= SLAB_BYTES; at += size) {
        struct writer *one = (struct writer *)(slab + at);
        one->next = wbpf_state->writers;
        store_release(&wbpf_state->writers, one);
        if (w)
            one->next_free = wbpf_state->free_writers, wbpf_state->free_writers = one;
        else
            w = one;
    }
    state_unlock();
    return w;
}

/* ---- threads ---- */

static struct wbpf_thread_slot *claim_thread_slot(uint64_t owner, uint32_t tid)
{
    uint32_t count = wbpf_map.fixed.thread_count;
    struct process *self = &wbpf_state->process;
    struct census census = census_of(self->segment_path);
    struct wbpf_thread_slot *claimed = NULL;
    for (int dead_too = 0; dead_too < 2 && !claimed; dead_too++) {
        for (uint32_t i = 0; i < count; i++) {
            struct wbpf_thread_slot *slot = &wbpf_map.threads[(i + tid) % count];
            uint64_t seen = load_relaxed(&slot->owner);
            if (seen && (!dead_too || process_alive(&wbpf_map, &census, self, seen)))
                continue;
            if (__atomic_compare_exchange_n(&slot->owner, &seen, owner, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_RELAXED)) {
                store_relaxed(&slot->sequence, (load_relaxed(&slot->sequence) + 1) & ~1u);
                slot->tid = tid;
                claimed = slot;
                break;
            }
        }
    }
    census_end(&census);
    return claimed;
}

static void thread_exits(void *argument)
{
    struct writer *w = argument;
    if (tls_writer != w || !w->alive || !wbpf_state)
        return;
    tls_entering = 1; /* a signal handler must not wait for the lock that we hold */
    atomic_signal_fence(memory_order_seq_cst);
    tls_writer = NULL;
    writer_retire(w);
    give_back(w);
    atomic_signal_fence(memory_order_seq_cst);
    tls_entering = 0;
}

static void make_exit_key(void)
{
    pthread_key_create(&exit_key, thread_exits);
}

void writer_watch_exits(void)
{
    pthread_once(&exit_key_once, make_exit_key);
}

void process_tell_slots(const struct mapping *map, const struct process *self)
{
#if (defined(__x86_64__) || defined(__aarch64__)) && defined(__has_builtin)
#if __has_builtin(__builtin_thread_pointer)
    struct wbpf_process_slot *slot = &map->processes[self->slot];
    slot->writer_offset = (uint64_t)((uintptr_t)&tls_writer - (uintptr_t)__builtin_thread_pointer());
    store_release(&slot->slot_offset, (uint32_t)offsetof(struct writer, slot));
#endif
#endif
    (void)map, (void)self;
}

static int join_after_fork(void)
{
    state_lock();
    int error = 0;
    if (!wbpf_state->alive && wbpf_state->join_failures && ++wbpf_state->join_failures % 4096)
        error = -EUSERS; /* not at every call */
    else if (!wbpf_state->alive) {
        error = process_join(&wbpf_map, wbpf_path, &wbpf_state->process);
        wbpf_state->join_failures = error != 0;
        if (!error)
            process_tell_slots(&wbpf_map, &wbpf_state->process);
        store_release(&wbpf_state->alive, error == 0);
        if (!error)
            add_relaxed(&wbpf_map.processes[wbpf_state->process.slot].refused,
                        __atomic_exchange_n(&wbpf_state->early_refused, 0, __ATOMIC_RELAXED));
    }
    state_unlock();
    return error;
}

static struct writer *start_writer(void)
{
    if (!load_acquire(&wbpf_state->alive) && join_after_fork() != 0)
        return NULL;
    struct writer *w = new_writer();
    if (!w)
        return NULL;
    w->tid = (uint32_t)syscall(SYS_gettid);
    w->random = random_u64();
    w->slot = claim_thread_slot(wbpf_state->process.owner, w->tid);
    if (!w->slot)
        w->slot = &w->own_slot;
    writer_publish(w);
    pthread_setspecific(exit_key, w);
    store_release(&w->alive, 1);
    tls_writer = w;
    return w;
}

struct writer *writer_slow(void)
{
    if (LIKELY(!load_acquire(&wbpf_path)))
        return NULL;
    if (tls_entering) {
        writer_count_refused();
        return NULL;
    }
    int error = errno; /* the application's */
    tls_entering = 1;
    atomic_signal_fence(memory_order_seq_cst);
    struct writer *w = tls_writer; /* a signal handler may have got one just before */
    if (!w || !w->alive)
        w = start_writer();
    atomic_signal_fence(memory_order_seq_cst);
    tls_entering = 0;
    errno = error;
    return w;
}

void writer_count_refused(void)
{
    if (wbpf_state && wbpf_state->alive)
        add_relaxed(&wbpf_map.processes[wbpf_state->process.slot].refused, 1);
    else if (wbpf_state)
        add_relaxed(&wbpf_state->early_refused, 1); /* in a forked child that has no slot yet */
}

void writer_count_truncated(void)
{
    if (wbpf_state && wbpf_state->alive)
        add_relaxed(&wbpf_map.processes[wbpf_state->process.slot].truncated, 1);
}

void writer_calibrate(struct writer *w)
{
    w->calibrated_unix_ns = clock_unix_ns();
    w->calibrated_ticks = clock_ticks();
    w->ns_per_tick = (1000000000ull << 32) / wbpf_map.fixed.ticks_hz;
}
