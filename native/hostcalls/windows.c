/*
 * Memory of the kernel's in the linear memory of guests. A store of the guest's to a window that it may only
 * read is a trap of its own. But Wasmtime itself stores there too, for memory.fill or a call of WASI's; and
 * any window faults when the file behind it was cut. Such a fault is met by putting private zero pages in the
 * window's place, and ends the guest.
 */
#include "windows.h"
#include "maps/maps.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WASM_PAGE   65536u
#define MAX_WINDOWS 1024

/* Read by the signal handler, so it has no lock: a window is there while `bytes` is not 0. */
static struct window {
    _Atomic(wbpf_guest *) owner; /* NULL: free */
    uint8_t *start;
    uint32_t region;
    _Atomic uint64_t bytes;
} windows[MAX_WINDOWS];

static struct sigaction before[2];

static bool replace(uint8_t *start, uint64_t bytes)
{
    return mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED;
}

static bool meet_fault(const uint8_t *address)
{
    for (struct window *window = windows; window < windows + MAX_WINDOWS; window++) {
        uint64_t bytes = atomic_load_explicit(&window->bytes, memory_order_acquire);
        if (!bytes || address < window->start || address >= window->start + bytes)
            continue;
        wbpf_guest *guest = atomic_load(&window->owner);
        if (!replace(window->start, bytes))
            return false;
        atomic_store(&guest->has_violated, true);
        wasmtime.wasmtime_engine_increment_epoch(guest->module->engine);
        return true;
    }
    return false;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    int error = errno;
    const struct sigaction *old = &before[number == SIGBUS];
    if (meet_fault(info->si_addr))
        errno = error;
    else if (old->sa_flags & SA_SIGINFO)
        old->sa_sigaction(number, info, context);
    else if (old->sa_handler == SIG_DFL || old->sa_handler == SIG_IGN)
        sigaction(number, old, NULL); /* the instruction faults again, and ends the process */
    else
        old->sa_handler(number);
}

void wbpf_windows_guard(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before[0]);
    sigaction(SIGBUS, &action, &before[1]);
}

/* ---- a guest's windows ---- */

int64_t window_reserve(wbpf_guest *guest, uint64_t bytes)
{
    uint64_t pages = (bytes + WASM_PAGE - 1) / WASM_PAGE, old;
    if (!guest->has_memory || pages > WASM_PAGE)
        return -ENOMEM;
    wasmtime_error_t *error = wasmtime.wasmtime_memory_grow(guest->context, &guest->memory, pages, &old);
    if (error) {
        wasmtime.wasmtime_error_delete(error);
        wbpf_guest_refuse(guest, false, "the module's memory can't grow by %llu KiB",
                          (unsigned long long)pages * 64);
        return -ENOMEM;
    }
    return (int64_t)(old * WASM_PAGE);
}

static struct window *take(wbpf_guest *guest)
{
    for (struct window *window = windows; window < windows + MAX_WINDOWS; window++) {
        wbpf_guest *nobody = NULL;
        if (atomic_compare_exchange_strong(&window->owner, &nobody, guest))
            return window;
    }
    return NULL;
}

static void give_back(struct window *window)
{
    atomic_store(&window->bytes, 0);
    atomic_store(&window->owner, NULL);
}

int window_map(wbpf_guest *guest, uint32_t region, uint32_t address, uint64_t bytes, int fd, uint64_t offset,
               bool writable)
{
    uint8_t *start = guest_range(guest, address, 0);
    if (!start || guest->memory_bytes < address + bytes)
        guest_look_again(guest, address, 0);
    struct window *window = guest->memory_bytes >= address + bytes ? take(guest) : NULL;
    if (!window)
        return -ENOMEM;
    start = guest->memory_base + address;
    window->start = start;
    window->region = region;
    atomic_store(&window->bytes, bytes);
    if (mmap(start, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_FIXED | MAP_SHARED, fd,
             (off_t)offset) != MAP_FAILED)
        return 0;
    int error = -errno;
    replace(start, bytes); /* a failed one may have unmapped */
    give_back(window);
    return error;
}

void window_unmap(wbpf_guest *guest, uint32_t region)
{
    for (struct window *window = windows; window < windows + MAX_WINDOWS; window++) {
        if (atomic_load(&window->owner) != guest || window->region != region)
            continue;
        replace(window->start, atomic_load(&window->bytes));
        give_back(window);
    }
}

void windows_forget(wbpf_guest *guest)
{
    for (struct window *window = windows; window < windows + MAX_WINDOWS; window++)
        if (atomic_load(&window->owner) == guest)
            give_back(window);
}

int64_t wbpf_guest_map_window(wbpf_guest *guest, int32_t of_map, bool writable)
{
    struct handle *entry = guest_find(guest, of_map, 'm');
    if (!entry || entry->map->fd < 0)
        return -EBADF;
    const struct abi_map_info *info = &entry->map->info;
    enum { ARRAY = 2, MMAPABLE = 1 << 10, USER_VALUES_AT = 4096 };
    if (info->type != ARRAY || !(info->flags & MMAPABLE)) {
        wbpf_guest_refuse(guest, false, "only an array with BPF_F_MMAPABLE can be mapped");
        return -EINVAL;
    }
    if (entry->window)
        return entry->window;
    if (writable && entry->map->user && !wbpf_user_map_is_open(entry->map->user)) {
        wbpf_guest_refuse(guest, false, "constants and locks can't be mapped to be written");
        return -EPERM;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t bytes = (info->value_bytes + 7ull) / 8 * 8 * info->max_entries;
    bytes = (bytes + page - 1) / page * page;
    int64_t at = window_reserve(guest, bytes);
    if (at < 0)
        return at;
    int error = window_map(guest, (uint32_t)at, (uint32_t)at, bytes, entry->map->fd,
                           entry->map->user ? USER_VALUES_AT : 0, writable);
    if (error)
        return error;
    entry->window = (uint32_t)at;
    return at;
}
