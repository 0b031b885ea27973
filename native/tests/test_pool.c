/* The pool's objects, line caches, integrity and virtual time, as a C application uses them. */
#include "pool/internal.h"
#include "pool_fixture.h"

static void test_checksum_is_crc32c(void)
{
    CHECK(wbpf_crc32c(0, "123456789", 9) == 0xE3069283u); /* the check value of the CRC catalogue */
    uint8_t bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    for (size_t length = 0; length < sizeof bytes; length += 1 + length / 7)
        for (size_t offset = 0; offset < 3 && offset <= length; offset++)
            CHECK(wbpf_crc32c(7, bytes + offset, length - offset) ==
                  wbpf_crc32c_by_table(7, bytes + offset, length - offset));
}

static void test_object_goes_from_host_to_host(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 0);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a"), *b = join(pool, "b");
    wbpf_pool_writer writer, refused;
    wbpf_pool_view view;
    CHECK(wbpf_pool_create_object(a, "x", 1000, "red,blue", &writer) == 0);
    CHECK(wbpf_pool_get(b, "x", 0, &view) == -EAGAIN);
    CHECK(wbpf_pool_create_object(b, "x", 1000, NULL, &refused) == -EEXIST);
    memset(writer.data, 'x', 1000);
    CHECK(wbpf_pool_seal(&writer, false) == 0);
    CHECK(wbpf_pool_get(b, "y", 0, &view) == -ENOENT);
    CHECK(wbpf_pool_get(b, "x", 0, &view) == 0);
    CHECK(view.bytes == 1000 && memcmp(view.data, "xxxx", 4) == 0 && ((const char *)view.data)[999] == 'x');
    CHECK(wbpf_pool_verify(&view) == WBPF_VERIFY_OK);
    char id[64], tags[64];
    wbpf_pool_view_names(&view, id, tags);
    CHECK(strcmp(id, "x") == 0 && strcmp(tags, "red,blue") == 0);

    bool deferred;
    wbpf_pool_timing timing;
    CHECK(wbpf_pool_delete(a, "x", false, &deferred, &timing) == 0 && deferred);
    CHECK(wbpf_pool_view_valid(&view) && stats_of(pool).deleted_in_use == 1);
    put(a, "x", 'z', 1000); /* the name is free, the memory is not */
    CHECK(((const char *)view.data)[0] == 'x');
    wbpf_pool_release(&view);
    CHECK(stats_of(pool).deleted_in_use == 0);

    CHECK(wbpf_pool_get(b, "x", 0, &view) == 0);
    CHECK(wbpf_pool_delete(a, "x", true, &deferred, &timing) == 0 && !deferred);
    CHECK(wbpf_pool_verify(&view) == -ESTALE && wbpf_pool_refresh(&view) == -ESTALE);
    put(a, "other", 'o', 1000); /* takes the same entry and memory */
    CHECK(!wbpf_pool_view_valid(&view));
    wbpf_pool_release(&view);
    delete (a, "other");
    CHECK(stats_of(pool).used_bytes == 0);
    check_pool(pool);
    wbpf_pool_leave(a);
    wbpf_pool_leave(b);
    wbpf_pool_close(pool);
}

static void test_abort_and_leave_give_everything_back(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 0);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a");
    wbpf_pool_writer writer;
    CHECK(wbpf_pool_create_object(a, "x", 100, NULL, &writer) == 0);
    CHECK(wbpf_pool_abort(&writer, false) == 0);
    CHECK(stats_of(pool).used_bytes == 0 && !wbpf_pool_contains(a, "x"));
    CHECK(wbpf_pool_create_object(a, "x", 100, NULL, &writer) == 0);
    CHECK(wbpf_pool_seal(&writer, true) == 0); /* retained */
    bool deferred;
    wbpf_pool_timing timing;
    CHECK(wbpf_pool_delete(a, "x", false, &deferred, &timing) == 0 && deferred);
    wbpf_pool_drop(&writer);
    CHECK(stats_of(pool).used_bytes == 0);
    CHECK(wbpf_pool_create_object(a, "y", 100, NULL, &writer) == 0);
    wbpf_pool_leave(a);
    CHECK(stats_of(pool).used_bytes == 0);
    check_pool(pool);
    wbpf_pool_close(pool);
}

/* Host b reads "old", then a puts "new" at the same address. */
static uint64_t leave_old_lines(wbpf_pool_host *a, wbpf_pool_host *b)
{
    wbpf_pool_view view;
    put(a, "old", 'o', 640);
    CHECK(wbpf_pool_get(b, "old", 0, &view) == 0);
    uint64_t generation = view.generation;
    wbpf_pool_release(&view);
    delete (a, "old");
    put(a, "new", 'n', 640);
    return generation;
}

static void test_skipped_invalidate_shows_old_bytes(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 0);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a"), *b = join(pool, "b");
    uint64_t old_generation = leave_old_lines(a, b), ticket, other;
    wbpf_fault_spec fault = {.kind = WBPF_FAULT_SKIP_INVALIDATE, .operations = 1, .id = "new"};
    CHECK(wbpf_fault_arm(b, &fault, &ticket) == 0);
    fault.id = "other";
    CHECK(wbpf_fault_arm(b, &fault, &other) == 0);
    wbpf_pool_view view;
    wbpf_pool_envelope seen;
    CHECK(wbpf_pool_get(b, "new", 0, &view) == 0);
    CHECK(memcmp(view.data, "oooo", 4) == 0);
    CHECK(wbpf_pool_verify(&view) == WBPF_VERIFY_GENERATION_MISMATCH);
    CHECK(wbpf_pool_seen_envelope(&view, &seen) && seen.generation == old_generation);
    CHECK(wbpf_pool_refresh(&view) == 0);
    CHECK(memcmp(view.data, "nnnn", 4) == 0 && wbpf_pool_verify(&view) == WBPF_VERIFY_OK);
    wbpf_fault_result result;
    CHECK(wbpf_fault_get_result(b, ticket, &result) == 0);
    CHECK(result.finished && result.took_effect && result.operations == 1);
    CHECK(result.lines_stale == 11 && result.lines_differing == 11 && result.generation == view.generation);
    CHECK(wbpf_fault_disarm(b, other, &result) == 0 && !result.finished && !result.took_effect);
    wbpf_pool_release(&view);
    wbpf_pool_leave(a);
    wbpf_pool_leave(b);
    wbpf_pool_close(pool);
}

static void test_partly_old_lines_fail_the_checksum(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 0);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a"), *b = join(pool, "b");
    leave_old_lines(a, b);
    wbpf_pool_timing timing;
    CHECK(wbpf_pool_invalidate_range(b, 0, 128, &timing) == 2); /* the envelope and the first line */
    wbpf_fault_spec fault = {.kind = WBPF_FAULT_SKIP_INVALIDATE, .operations = 1};
    uint64_t ticket;
    CHECK(wbpf_fault_arm(b, &fault, &ticket) == 0);
    wbpf_pool_view view;
    CHECK(wbpf_pool_get(b, "new", 0, &view) == 0);
    CHECK(((const char *)view.data)[63] == 'n' && ((const char *)view.data)[64] == 'o');
    CHECK(wbpf_pool_verify(&view) == WBPF_VERIFY_CHECKSUM_MISMATCH);
    wbpf_pool_release(&view);
    wbpf_pool_leave(a);
    wbpf_pool_leave(b);
    wbpf_pool_close(pool);
}

static void test_coherent_pool_has_no_stale_lines(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 0);
    spec.coherent = true;
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a"), *b = join(pool, "b");
    leave_old_lines(a, b);
    wbpf_fault_spec fault = {.kind = WBPF_FAULT_SKIP_INVALIDATE, .operations = 1};
    uint64_t ticket;
    CHECK(wbpf_fault_arm(b, &fault, &ticket) == 0);
    wbpf_pool_view view;
    wbpf_fault_result result;
    wbpf_pool_timing timing;
    CHECK(wbpf_pool_get(b, "new", 0, &view) == 0);
    CHECK(memcmp(view.data, "nnnn", 4) == 0 && wbpf_pool_verify(&view) == WBPF_VERIFY_OK);
    CHECK(wbpf_fault_get_result(b, ticket, &result) == 0 && result.finished && !result.took_effect);
    CHECK(wbpf_pool_flush(b, "new", &timing) == 0 && wbpf_pool_invalidate(b, "new", &timing) == 0);
    wbpf_pool_release(&view);
    wbpf_pool_leave(a);
    wbpf_pool_leave(b);
    wbpf_pool_close(pool);
}

static void test_virtual_time_follows_the_table(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 0);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a"), *b = join(pool, "b");
    wbpf_pool_view view;
    put(a, "x", 'x', 4096);
    CHECK(wbpf_pool_get(a, "x", 0, &view) == 0);
    CHECK(view.timing.base_ns == 2 * 250 + 250 + 4160 / 25); /* directory, then 65 lines at 25 GB/s */
    CHECK(view.timing.queue_ns == 0 && view.timing.virtual_ns == wbpf_pool_virtual_ns(a));
    double ratio = (double)view.timing.service_ns / (double)view.timing.base_ns;
    CHECK(ratio > 0.92 && ratio < 1.08);
    wbpf_pool_release(&view);
    uint64_t sealed_before = wbpf_pool_virtual_ns(a);
    CHECK(wbpf_pool_get(b, "x", 0, &view) == 0);
    CHECK(view.timing.base_ns == 3 * 750 + 4160 / 25);
    CHECK(wbpf_pool_virtual_ns(b) > 1000 && wbpf_pool_virtual_ns(b) < sealed_before + 3 * 750);
    CHECK(wbpf_pool_advance_to(b, 1) == wbpf_pool_virtual_ns(b));
    CHECK(wbpf_pool_advance_to(b, 1000000) == 1000000 && wbpf_pool_advance_by(b, 5) == 1000005);

    wbpf_fault_spec fault = {.kind = WBPF_FAULT_CONGESTION, .operations = 2, .factor = 10};
    uint64_t ticket;
    wbpf_fault_result result;
    CHECK(wbpf_fault_arm(b, &fault, &ticket) == 0);
    CHECK(wbpf_pool_refresh(&view) == 0);
    int64_t rounding = (int64_t)(view.timing.queue_ns - 9 * view.timing.base_ns);
    CHECK(rounding >= -9 && rounding <= 9 && view.timing.service_ns > view.timing.queue_ns);
    CHECK(wbpf_fault_get_result(b, ticket, &result) == 0);
    CHECK(!result.finished && result.took_effect && view.timing.queue_ns - result.lengthened_ns <= 1);
    wbpf_pool_release(&view);
    CHECK(wbpf_fault_get_result(b, ticket, &result) == 0 && result.finished && result.operations == 2);
    wbpf_pool_leave(a);
    wbpf_pool_leave(b);
    wbpf_pool_close(pool);
}

static void test_full_pool_and_bad_ids(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(256 << 10, 64);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a");
    wbpf_pool_writer writer;
    char id[72];
    CHECK(wbpf_pool_create_object(a, "x", 1 << 20, NULL, &writer) == -ENOSPC);
    CHECK(wbpf_pool_create_object(a, "", 1, NULL, &writer) == -EINVAL);
    memset(id, 'i', sizeof id);
    id[64] = 0;
    CHECK(wbpf_pool_create_object(a, id, 1, NULL, &writer) == -EINVAL);
    id[63] = 0;
    put(a, id, 1, 1);
    for (int i = 1; i < 64; i++) {
        snprintf(id, sizeof id, "object/%d", i);
        put(a, id, (uint8_t)i, 0);
    }
    CHECK(wbpf_pool_create_object(a, "one more", 1, NULL, &writer) == -ENFILE);
    check_pool(pool);
    wbpf_pool_leave(a);
    wbpf_pool_close(pool);
    spec.size_bytes = 4096;
    CHECK(wbpf_pool_create("/dev/shm/wbpf-too-small", &spec) == -EINVAL);
}

int main(void)
{
    test_checksum_is_crc32c();
    test_object_goes_from_host_to_host();
    test_abort_and_leave_give_everything_back();
    test_skipped_invalidate_shows_old_bytes();
    test_partly_old_lines_fail_the_checksum();
    test_coherent_pool_has_no_stale_lines();
    test_virtual_time_follows_the_table();
    test_full_pool_and_bad_ids();
    return 0;
}
