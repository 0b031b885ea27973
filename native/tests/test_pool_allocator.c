/* Random creation and deletion against a model: contents stay, space adds up, freed space comes back whole.
 */
#include "pool_fixture.h"

#define OBJECTS 200
#define STEPS   20000

static uint64_t state = 88172645463325252ull;

static uint64_t next_random(void) /* xorshift64 */
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static uint64_t lines_for(uint64_t bytes)
{
    return (bytes + 63) / 64 + 1;
}

static void check_content(wbpf_pool_host *host, int object, uint64_t bytes)
{
    char id[16];
    wbpf_pool_view view;
    snprintf(id, sizeof id, "%d", object);
    CHECK(wbpf_pool_get(host, id, 0, &view) == 0);
    CHECK(view.bytes == bytes && wbpf_pool_verify(&view) == WBPF_VERIFY_OK);
    for (uint64_t i = 0; i < bytes; i++)
        CHECK(((const uint8_t *)view.data)[i] == (uint8_t)object);
    wbpf_pool_release(&view);
}

static void test_random_against_model(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 256);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *hosts[] = {join(pool, "a"), join(pool, "b")};
    uint64_t sizes[OBJECTS] = {0}, used = 0; /* size + 1, 0: not there */
    uint64_t capacity = stats_of(pool).capacity_bytes;
    uint32_t refused = 0;
    for (int step = 0; step < STEPS; step++) {
        int object = (int)(next_random() % OBJECTS);
        wbpf_pool_host *host = hosts[next_random() % 2];
        char id[16];
        snprintf(id, sizeof id, "%d", object);
        if (sizes[object]) {
            check_content(host, object, sizes[object] - 1);
            delete (host, id);
            used -= 64 * lines_for(sizes[object] - 1);
            sizes[object] = 0;
        } else {
            uint64_t bytes = next_random() % 8 ? next_random() % 3000 : next_random() % 60000;
            wbpf_pool_writer writer;
            int error = wbpf_pool_create_object(host, id, bytes, NULL, &writer);
            if (error) {
                CHECK(error == -ENOSPC && stats_of(pool).largest_free_bytes < 64 * lines_for(bytes));
                refused++;
                continue;
            }
            memset(writer.data, object, bytes);
            CHECK(wbpf_pool_seal(&writer, false) == 0);
            sizes[object] = bytes + 1;
            used += 64 * lines_for(bytes);
        }
        CHECK(stats_of(pool).used_bytes == used);
        if (step % 64 == 0)
            check_pool(pool);
    }
    CHECK(refused > 0); /* the pool was full at times, or this proves little */
    for (int object = 0; object < OBJECTS; object++)
        if (sizes[object]) {
            char id[16];
            snprintf(id, sizeof id, "%d", object);
            delete (hosts[0], id);
        }
    check_pool(pool);
    wbpf_pool_stats stats = stats_of(pool);
    CHECK(stats.used_bytes == 0 && stats.largest_free_bytes == capacity);
    wbpf_pool_leave(hosts[0]);
    wbpf_pool_leave(hosts[1]);
    wbpf_pool_close(pool);
}

static void test_freed_space_is_used_again_first(void)
{
    wbpf_pool_spec spec = pool_spec_for_test(1 << 20, 256);
    wbpf_pool *pool = pool_for_test(&spec);
    wbpf_pool_host *a = join(pool, "a");
    wbpf_pool_writer writer;
    char id[16];
    for (int i = 0; i < 50; i++) {
        snprintf(id, sizeof id, "%d", i);
        put(a, id, 1, 1000);
    }
    wbpf_pool_view view;
    CHECK(wbpf_pool_get(a, "20", 0, &view) == 0);
    const void *freed = view.data;
    wbpf_pool_release(&view);
    delete (a, "20");
    CHECK(wbpf_pool_create_object(a, "again", 990, NULL, &writer) == 0 && writer.data == freed);
    CHECK(wbpf_pool_abort(&writer, false) == 0);
    wbpf_pool_leave(a);
    wbpf_pool_close(pool);
}

int main(void)
{
    test_random_against_model();
    test_freed_space_is_used_again_first();
    return 0;
}
