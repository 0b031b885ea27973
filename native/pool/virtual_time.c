/* Modelled time: what an operation would have cost on the pool's kind of memory, charged to its host's
 * virtual clock.
 *
 *     base    = accesses · latency + (latency + bytes / bandwidth) for what is read, and for what is written
 *     service = base + jitter + queue
 *
 * Queueing: the transfer time, times (U - knee) / (1 - U) where the other hosts use U > knee of the link that
 * all share. Each host publishes what it transferred a second, over windows of its own clock; it counts for
 * those whose clocks are near. Hosts' clocks are merged by messages (wbpf_pool_advance_to) and by reading
 * what another sealed. */
#include "pool/internal.h"

#define WINDOW_NS 20000 /* of counting transfers */
#define SMOOTHING_NS                                                                                         \
    500000 /* of the rate over windows: hosts that wait for each other slow down smoothly                    \
            */
#define NEAR_NS         10000000 /* clocks further apart don't queue for each other */
#define MAX_UTILISATION 0.95

uint64_t wbpf_pool_virtual_ns(const wbpf_pool_host *host)
{
    return load_relaxed(&host->record->clock_ns);
}

uint64_t wbpf_pool_advance_to(wbpf_pool_host *host, uint64_t ns)
{
    uint64_t now = load_relaxed(&host->record->clock_ns);
    while (now < ns && !__atomic_compare_exchange_n(&host->record->clock_ns, &now, ns, true, __ATOMIC_RELAXED,
                                                    __ATOMIC_RELAXED))
        ;
    return now < ns ? ns : now;
}

uint64_t wbpf_pool_advance_by(wbpf_pool_host *host, uint64_t ns)
{
    return add_relaxed(&host->record->clock_ns, ns) + ns;
}

/* SplitMix64: the nth value of a stream is a function of the seed and n, so the host's processes share one
 * stream. */
static uint64_t draw(wbpf_pool_host *host)
{
    uint64_t n = add_relaxed(&host->file->draws, 1) + 1;
    uint64_t z = (host->pool->header->seed ^ host->record->host_id) + n * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* Four uniform values added up: near normal, standard deviation 1, never beyond 3.47. */
static double draw_normal(wbpf_pool_host *host)
{
    uint64_t bits = draw(host);
    double sum = (double)((bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48));
    return (sum / 65535.0 - 2.0) * 1.7320508;
}

static double utilisation_by_others(const wbpf_pool_host *host, uint64_t now)
{
    const struct pool_header *header = host->pool->header;
    double rate = 0;
    for (uint32_t i = 0; i < header->host_count; i++) {
        const struct pool_host_record *other = &header->hosts[i];
        uint64_t at = load_relaxed(&other->rate_at_ns);
        uint64_t apart = at > now ? at - now : now - at;
        if (i != host->index && apart < NEAR_NS)
            rate += (double)load_relaxed(&other->rate_bytes_per_s);
    }
    double used = rate / header->latency.shared_link_bytes_per_s;
    return used < MAX_UTILISATION ? used : MAX_UTILISATION;
}

static double queueing_ns(const wbpf_pool_host *host, double bytes, uint64_t now)
{
    const wbpf_latency_model *latency = &host->pool->header->latency;
    if (latency->shared_link_bytes_per_s <= 0)
        return 0;
    double used = utilisation_by_others(host, now);
    if (used <= latency->knee)
        return 0;
    return bytes / latency->shared_link_bytes_per_s * 1e9 * (used - latency->knee) / (1 - used);
}

static void count_transfer(wbpf_pool_host *host, uint64_t bytes, uint64_t now)
{
    struct pool_host_record *record = host->record;
    uint64_t start = load_relaxed(&record->window_start_ns);
    uint64_t counted = add_relaxed(&record->window_bytes, bytes) + bytes;
    if (now < start + WINDOW_NS || !__atomic_compare_exchange_n(&record->window_start_ns, &start, now, false,
                                                                __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    store_relaxed(&record->window_bytes, 0);
    double elapsed = (double)(now - start), rate = (double)load_relaxed(&record->rate_bytes_per_s);
    rate += ((double)counted * 1e9 / elapsed - rate) * elapsed / (elapsed + SMOOTHING_NS);
    store_relaxed(&record->rate_bytes_per_s, (uint64_t)rate);
    store_relaxed(&record->rate_at_ns, now);
}

static double transfer_ns(const wbpf_access_cost *cost, double bytes)
{
    return bytes == 0 ? 0 : cost->latency_ns + (cost->bytes_per_s > 0 ? bytes / cost->bytes_per_s * 1e9 : 0);
}

void virtual_time_charge(wbpf_pool_host *host, const struct pool_cost *cost, wbpf_pool_timing *timing)
{
    const wbpf_latency_model *latency = &host->pool->header->latency;
    const wbpf_access_cost *far = &latency->classes[host->record->access_class];
    double read = (double)cost->lines_read * LINE_BYTES, written = (double)cost->lines_written * LINE_BYTES;
    double base =
        cost->accesses * far->latency_ns + transfer_ns(far, read) + transfer_ns(far, written) +
        transfer_ns(&latency->classes[WBPF_ACCESS_LOCAL_DRAM], (double)cost->lines_hit * LINE_BYTES);
    uint64_t now = wbpf_pool_virtual_ns(host);
    double queue = queueing_ns(host, read + written, now);
    if (faults_armed(host)) {
        struct pool_fault *fault = faults_take(host, WBPF_FAULT_CONGESTION, 0);
        if (fault) {
            double longer = base * (fault->factor - 1);
            queue += longer;
            faults_report(fault, 0, NULL, (uint64_t)longer);
        }
    }
    double jitter = base * latency->jitter * draw_normal(host);
    timing->base_ns = (uint64_t)(base + 0.5);
    timing->queue_ns = (uint64_t)(queue + 0.5);
    timing->service_ns = timing->queue_ns + (uint64_t)(base + jitter + 0.5);
    timing->virtual_ns = wbpf_pool_advance_by(host, timing->service_ns);
    count_transfer(host, (uint64_t)(read + written), timing->virtual_ns);
}
