/* Faults on purpose, armed in a host's file so that whichever of its processes comes first runs into them.
 * What took effect is counted where it happens and told to the injector alone: operations show symptoms,
 * never causes. */
#include "pool/internal.h"

static struct pool_fault *find(const wbpf_pool_host *host, uint64_t ticket)
{
    for (int i = 0; i < POOL_FAULTS; i++)
        if (host->file->faults[i].state != FAULT_FREE && host->file->faults[i].ticket == ticket)
            return &host->file->faults[i];
    return NULL;
}

/* A free place, else that of the fault that has been done with for the longest time. */
static struct pool_fault *find_place(wbpf_pool_host *host)
{
    struct pool_fault *place = NULL;
    for (int i = 0; i < POOL_FAULTS; i++) {
        struct pool_fault *fault = &host->file->faults[i];
        if (load_acquire(&fault->state) == FAULT_FREE)
            return fault;
        if (load_acquire(&fault->state) == FAULT_DONE && (!place || fault->ticket < place->ticket))
            place = fault;
    }
    return place;
}

int wbpf_fault_arm(wbpf_pool_host *host, const wbpf_fault_spec *spec, uint64_t *ticket)
{
    if ((spec->kind != WBPF_FAULT_SKIP_INVALIDATE && spec->kind != WBPF_FAULT_CONGESTION) ||
        spec->operations == 0 ||
        (spec->kind == WBPF_FAULT_CONGESTION && !(spec->factor > 1 && spec->factor <= 1e6)))
        return -EINVAL;
    int error = pool_lock(host->pool);
    if (error)
        return error;
    struct pool_fault *fault = find_place(host);
    if (fault) {
        store_release(&fault->state, FAULT_FREE);
        *fault = (struct pool_fault){.kind = spec->kind,
                                     .ticket = add_relaxed(&host->file->tickets, 1) + 1,
                                     .factor = spec->factor,
                                     .limit = spec->operations};
        if (spec->id)
            fault->object_hash = object_hash(spec->id, strlen(spec->id));
        if (spec->trace_id)
            memcpy(fault->trace_id, spec->trace_id, sizeof fault->trace_id);
        *ticket = fault->ticket;
        store_release(&fault->state, FAULT_ARMED);
        __atomic_add_fetch(&host->file->armed, 1, __ATOMIC_RELEASE);
    }
    pool_unlock(host->pool);
    return fault ? 0 : -EAGAIN;
}

static void describe(const struct pool_fault *fault, wbpf_fault_result *result)
{
    uint32_t hit = load_acquire(&fault->finished), traces = load_relaxed(&fault->trace_count);
    *result = (wbpf_fault_result){.kind = fault->kind,
                                  .operations = hit,
                                  .finished = hit >= fault->limit,
                                  .lines_stale = load_relaxed(&fault->lines_stale),
                                  .lines_differing = load_relaxed(&fault->lines_differing),
                                  .lengthened_ns = load_relaxed(&fault->lengthened_ns),
                                  .generation = load_relaxed(&fault->generation),
                                  .trace_count = traces < WBPF_FAULT_TRACES ? traces : WBPF_FAULT_TRACES};
    result->took_effect = result->lines_stale > 0 || result->lengthened_ns > 0;
    memcpy(result->traces, fault->traces, sizeof result->traces);
}

int wbpf_fault_get_result(wbpf_pool_host *host, uint64_t ticket, wbpf_fault_result *result)
{
    int error = pool_lock(host->pool);
    if (error)
        return error;
    const struct pool_fault *fault = find(host, ticket);
    if (fault)
        describe(fault, result);
    pool_unlock(host->pool);
    return fault ? 0 : -ENOENT;
}

static bool retire(wbpf_pool_host *host, struct pool_fault *fault, uint32_t state)
{
    uint32_t armed = FAULT_ARMED;
    bool changed =
        __atomic_compare_exchange_n(&fault->state, &armed, state, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    if (changed)
        __atomic_sub_fetch(&host->file->armed, 1, __ATOMIC_RELAXED);
    return changed;
}

int wbpf_fault_disarm(wbpf_pool_host *host, uint64_t ticket, wbpf_fault_result *result)
{
    int error = pool_lock(host->pool);
    if (error)
        return error;
    struct pool_fault *fault = find(host, ticket);
    if (fault) {
        retire(host, fault, FAULT_DONE);
        describe(fault, result);
    }
    pool_unlock(host->pool);
    return fault ? 0 : -ENOENT;
}

/* ---- in operations ---- */

static bool matches(const struct pool_fault *fault, uint32_t kind, uint64_t object,
                    const uint8_t trace_id[16])
{
    static const uint8_t any[16];
    return load_acquire(&fault->state) == FAULT_ARMED && fault->kind == kind &&
           (fault->object_hash == 0 || fault->object_hash == object) &&
           (memcmp(fault->trace_id, any, sizeof any) == 0 ||
            memcmp(fault->trace_id, trace_id, sizeof any) == 0);
}

struct pool_fault *faults_take(wbpf_pool_host *host, uint32_t kind, uint64_t object)
{
    wbpf_context context;
    wbpf_current(&context);
    for (int i = 0; i < POOL_FAULTS; i++) {
        struct pool_fault *fault = &host->file->faults[i];
        if (!matches(fault, kind, object, context.trace_id))
            continue;
        uint32_t nth = add_relaxed(&fault->operations, 1) + 1;
        if (nth >= fault->limit)
            retire(host, fault, FAULT_DONE);
        if (nth <= fault->limit)
            return fault;
    }
    return NULL;
}

static void note_trace(struct pool_fault *fault)
{
    static const uint8_t none[16];
    wbpf_context context;
    wbpf_current(&context);
    uint32_t known = load_acquire(&fault->trace_count);
    for (uint32_t i = 0; i < known && i < WBPF_FAULT_TRACES; i++)
        if (memcmp(fault->traces[i], context.trace_id, 16) == 0)
            return;
    if (memcmp(context.trace_id, none, 16) == 0)
        return;
    uint32_t place = add_relaxed(&fault->trace_count, 1);
    if (place < WBPF_FAULT_TRACES)
        memcpy(fault->traces[place], context.trace_id, 16);
}

void faults_report(struct pool_fault *fault, uint64_t generation, const struct line_counts *lines,
                   uint64_t lengthened_ns)
{
    if (lines) {
        add_relaxed(&fault->lines_stale, lines->stale);
        add_relaxed(&fault->lines_differing, lines->differing);
    }
    add_relaxed(&fault->lengthened_ns, lengthened_ns);
    store_relaxed(&fault->generation, generation);
    note_trace(fault);
    __atomic_add_fetch(&fault->finished, 1, __ATOMIC_RELEASE);
}
