/* Pools for the C tests: made in /dev/shm under a name of this process, removed at exit. */
#ifndef WBPF_POOL_FIXTURE_H
#define WBPF_POOL_FIXTURE_H

#include "check.h"
#include "wbpf/pool.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char pool_path[64];

static void remove_pool(void)
{
    wbpf_pool_unlink(pool_path);
}

static const wbpf_latency_model test_latency = {
    .classes = {{100, 0}, {250, 25e9}, {270, 25e9}, {500, 25e9}, {750, 25e9}},
    .shared_link_bytes_per_s = 25e9,
    .knee = 0.8,
    .jitter = 0.02,
};

static wbpf_pool_spec pool_spec_for_test(uint64_t size_bytes, uint32_t max_objects)
{
    static const char *const hosts[] = {"a", "b"};
    static const uint8_t classes[] = {WBPF_ACCESS_DIRECT_CXL, WBPF_ACCESS_TWO_SWITCHES};
    return (wbpf_pool_spec){.size_bytes = size_bytes,
                            .max_objects = max_objects,
                            .host_count = 2,
                            .hosts = hosts,
                            .access_classes = classes,
                            .latency = test_latency};
}

static wbpf_pool *pool_for_test(const wbpf_pool_spec *spec)
{
    static bool registered;
    if (!registered)
        atexit(remove_pool);
    else
        wbpf_pool_unlink(pool_path);
    registered = true;
    snprintf(pool_path, sizeof pool_path, "/dev/shm/wbpf-test-pool-%d", (int)getpid());
    int error = wbpf_pool_create(pool_path, spec);
    if (error)
        fprintf(stderr, "%s\n", wbpf_pool_error());
    CHECK(error == 0);
    wbpf_pool *pool;
    CHECK(wbpf_pool_open(pool_path, &pool) == 0);
    return pool;
}

static wbpf_pool_host *join(wbpf_pool *pool, const char *name)
{
    wbpf_pool_host *host;
    CHECK(wbpf_pool_join(pool, name, &host) == 0);
    return host;
}

static void check_pool(wbpf_pool *pool)
{
    char why[160] = "";
    int error = wbpf_pool_check(pool, why);
    if (error)
        fprintf(stderr, "%s\n", why);
    CHECK(error == 0);
}

static inline wbpf_pool_stats stats_of(wbpf_pool *pool)
{
    wbpf_pool_stats stats;
    CHECK(wbpf_pool_get_stats(pool, &stats) == 0);
    return stats;
}

static inline void put(wbpf_pool_host *host, const char *id, uint8_t byte, uint64_t bytes)
{
    wbpf_pool_writer writer;
    CHECK(wbpf_pool_create_object(host, id, bytes, NULL, &writer) == 0);
    memset(writer.data, byte, bytes);
    CHECK(wbpf_pool_seal(&writer, false) == 0);
}

static inline void delete (wbpf_pool_host *host, const char *id)
{
    bool deferred;
    wbpf_pool_timing timing;
    CHECK(wbpf_pool_delete(host, id, false, &deferred, &timing) == 0);
}

#endif
