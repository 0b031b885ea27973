/* Objects being read: get and release; and delete. */
#include "pool/probes.h"
#include <time.h>

/* ---- get and release ---- */

static int find_sealed(wbpf_pool_host *host, const char *id, size_t id_bytes, wbpf_pool_view *view,
                       struct pool_entry **found)
{
    struct pool_entry *entry = directory_find(host->pool, id, id_bytes, view->object_hash);
    if (!entry)
        return -ENOENT;
    if (entry->state != ENTRY_SEALED)
        return -EAGAIN;
    *found = entry;
    int held = references_take(host, entry);
    if (held < 0)
        return held;
    view->held = (uint32_t)held;
    return 0;
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One look at the directory; what to wait for if that was in vain. */
static int look(wbpf_pool_host *host, const char *id, size_t id_bytes, wbpf_pool_view *view, uint32_t *rings)
{
    wbpf_pool *pool = host->pool;
    struct pool_bell *bell = &pool->header->bells[view->object_hash % POOL_BELLS];
    struct pool_entry *entry = NULL;
    int error = pool_lock(pool);
    if (error)
        return error;
    error = find_sealed(host, id, id_bytes, view, &entry);
    if (error == 0) {
        view->entry = entry_index(pool, entry);
        view->generation = entry->generation;
        view->bytes = entry->bytes;
        view->data = host_line(host, entry->first_line + ENVELOPE_LINES);
        wbpf_pool_advance_to(host, entry->sealed_ns); /* what is read now was written before */
    } else if (rings) {
        *rings = load_relaxed(&bell->rings);
        __atomic_store_n(&bell->waiting, 1, __ATOMIC_SEQ_CST);
    }
    pool_unlock(pool);
    return error;
}

int wbpf_pool_acquire(wbpf_pool_host *host, const char *id, uint64_t timeout_ns, wbpf_pool_view *view)
{
    size_t id_bytes = object_id_bytes(id);
    int error = id_bytes ? membership_check(host) : -EINVAL;
    if (error)
        return error;
    *view = (wbpf_pool_view){
        .host = host, .object_hash = object_hash(id, id_bytes), .fork_epoch = host->fork_epoch};
    uint32_t rings;
    error = look(host, id, id_bytes, view, timeout_ns ? &rings : NULL);
    if (timeout_ns && (error == -ENOENT || error == -EAGAIN)) {
        struct pool_bell *bell = &host->pool->header->bells[view->object_hash % POOL_BELLS];
        uint64_t start = monotonic_ns(), waited = 0;
        while ((error == -ENOENT || error == -EAGAIN) && waited < timeout_ns) {
            uint64_t left = timeout_ns == UINT64_MAX ? UINT64_MAX : timeout_ns - waited;
            if (pool_bell_wait(bell, rings, left) == -EINTR) {
                error = -EINTR;
                break;
            }
            error = look(host, id, id_bytes, view, &rings);
            waited = monotonic_ns() - start;
        }
    }
    if (error)
        view->host = NULL;
    return error;
}

static void read_lines(wbpf_pool_view *view, bool refresh)
{
    wbpf_pool_host *host = view->host;
    const struct pool_entry *entry = entry_of(host, view->entry);
    struct line_counts lines;
    struct pool_fault *fault = !refresh && faults_armed(host)
                                   ? faults_take(host, WBPF_FAULT_SKIP_INVALIDATE, view->object_hash)
                                   : NULL;
    if (fault)
        line_cache_fill(host, entry->first_line, entry->line_count, &lines);
    else
        line_cache_reread(host, entry->first_line, entry->line_count, &lines);
    struct pool_cost cost = {
        .accesses = refresh ? 0 : GET_ACCESSES, .lines_read = lines.filled, .lines_hit = lines.hit};
    virtual_time_charge(host, &cost, &view->timing);
    if (fault)
        faults_report(fault, view->generation, &lines, 0);
    probe_get(view, entry, &lines, refresh);
}

void wbpf_pool_fill(wbpf_pool_view *view)
{
    read_lines(view, false);
}

int wbpf_pool_get(wbpf_pool_host *host, const char *id, uint64_t timeout_ns, wbpf_pool_view *view)
{
    int error = wbpf_pool_acquire(host, id, timeout_ns, view);
    if (error == 0)
        wbpf_pool_fill(view);
    return error;
}

bool wbpf_pool_view_valid(const wbpf_pool_view *view)
{
    return view->host && entry_is_current(view->host->pool, view->entry, view->generation);
}

int wbpf_pool_refresh(wbpf_pool_view *view)
{
    if (!wbpf_pool_view_valid(view))
        return -ESTALE;
    read_lines(view, true);
    return 0;
}

void wbpf_pool_release(wbpf_pool_view *view)
{
    if (!view->host)
        return;
    if (view->fork_epoch != pool_fork_epoch()) { /* a copy in a child: the reference is its parent's */
        view->host = NULL;
        return;
    }
    references_release(view->host, view->entry, view->held, view->generation, view->fork_epoch);
    virtual_time_charge(view->host, &(struct pool_cost){.accesses = RELEASE_ACCESSES}, &view->timing);
    probe_release(view);
    view->host = NULL;
}

void wbpf_pool_view_names(const wbpf_pool_view *view, char id[WBPF_POOL_MAX_ID_BYTES + 1],
                          char tags[WBPF_POOL_MAX_ID_BYTES + 1])
{
    memcpy(id, entry_of(view->host, view->entry)->id, WBPF_POOL_MAX_ID_BYTES + 1);
    memcpy(tags, entry_of(view->host, view->entry)->tags, WBPF_POOL_MAX_ID_BYTES + 1);
}

/* ---- delete ---- */

static int delete_entry(wbpf_pool *pool, const char *id, size_t id_bytes, uint64_t hash, bool force,
                        bool *deferred, uint64_t *generation)
{
    struct pool_entry *entry = directory_find(pool, id, id_bytes, hash);
    if (!entry)
        return -ENOENT;
    if (entry->state != ENTRY_SEALED)
        return -EAGAIN;
    *generation = entry->generation;
    if (force)
        references_forget(pool, entry);
    directory_unlink(pool, entry);
    *deferred = entry->references > 0;
    if (*deferred) {
        store_release(&entry->state, ENTRY_DELETED);
        pool->header->objects--;
        pool->header->deleted_in_use++;
    } else {
        directory_free(pool, entry);
    }
    return 0;
}

int wbpf_pool_delete(wbpf_pool_host *host, const char *id, bool force, bool *deferred,
                     wbpf_pool_timing *timing)
{
    size_t id_bytes = object_id_bytes(id);
    int error = id_bytes ? membership_check(host) : -EINVAL;
    if (!error)
        error = pool_lock(host->pool);
    if (error)
        return error;
    uint64_t hash = object_hash(id, id_bytes), generation = 0;
    error = delete_entry(host->pool, id, id_bytes, hash, force, deferred, &generation);
    pool_unlock(host->pool);
    if (error)
        return error;
    virtual_time_charge(host, &(struct pool_cost){.accesses = DELETE_ACCESSES}, timing);
    probe_delete(host, hash, generation, id, *deferred, timing);
    return 0;
}

bool wbpf_pool_contains(wbpf_pool_host *host, const char *id)
{
    size_t id_bytes = object_id_bytes(id);
    if (id_bytes == 0 || pool_lock(host->pool))
        return false;
    const struct pool_entry *entry = directory_find(host->pool, id, id_bytes, object_hash(id, id_bytes));
    bool sealed = entry && entry->state == ENTRY_SEALED;
    pool_unlock(host->pool);
    return sealed;
}
