#include "both.skel.h"

#include <inttypes.h>

static struct both self;

static int fill(uint64_t number, uint32_t records, uint32_t ring)
{
    struct {
        uint64_t number;
        uint32_t records, ring;
    } request = {number, records, ring};
    struct wbpf_run run = {0};
    int error = wbpf_program_run(self.programs.fill, &request, sizeof request, &run);
    return error ? error : (int)run.result;
}

static void entries(void)
{
    uint32_t key = 7, next = 0, count = 0;
    uint64_t value = 5, sum = 0;
    wbpf_map map = self.maps.hash;
    printf("none: %d, ", wbpf_map_lookup(map, &key, sizeof key, &value, sizeof value));
    printf("short: %d, ", wbpf_map_lookup(map, &key, 3, &value, sizeof value));
    printf("run: %d, ", fill(7, 0, 0));
    printf("one: %d, ", wbpf_map_lookup(map, &key, sizeof key, &value, sizeof value));
    printf("%" PRIu64 ", ", value);
    printf("again: %d, ", wbpf_abi_map_update(map, &key, sizeof key, &value, sizeof value, 1));
    for (uint64_t i = 0; i < 300; i++) {
        key = (uint32_t)i;
        value = i * i;
        wbpf_map_update(map, &key, sizeof key, &value, sizeof value);
    }
    for (int error = wbpf_map_next_key(map, NULL, &next, sizeof next); !error;
         error = wbpf_map_next_key(map, &next, &next, sizeof next)) {
        wbpf_map_lookup(map, &next, sizeof next, &value, sizeof value);
        sum += value;
        count++;
    }
    printf("walk: %u %" PRIu64 ", delete: %d", count, sum, wbpf_map_delete(map, &key, sizeof key));
    printf(" %d\n", wbpf_map_delete(map, &key, sizeof key));
}

static void batches(wbpf_map map, uint32_t operation)
{
    static uint32_t keys[512];
    static uint64_t values[512];
    uint64_t cursor = 0, sum = 0;
    int total = 0, found;
    while ((found = wbpf_abi_map_batch(map, operation, &cursor, sizeof cursor, keys, sizeof keys, values,
                                       sizeof values, 100, 0)) > 0) {
        for (int i = 0; i < found; i++)
            sum += keys[i] + values[i];
        total += found;
    }
    printf("batch %u: %d %" PRIu64 " end %d, ", operation, total, sum, found);
}

static void write_batch(wbpf_map map)
{
    static uint32_t keys[512];
    static uint64_t values[512];
    for (uint32_t i = 0; i < 400; i++) {
        keys[i] = i;
        values[i] = 3 * i;
    }
    printf("written: %d, ", wbpf_abi_map_batch(map, WBPF_BATCH_UPDATE, NULL, 0, keys, sizeof keys, values,
                                               sizeof values, 400, 0));
    printf("removed: %d, ",
           wbpf_abi_map_batch(map, WBPF_BATCH_DELETE, NULL, 0, keys, sizeof keys, NULL, 0, 200, 0));
}

static void others(void)
{
    uint32_t key = 1;
    uint64_t value = 9, all[512] = {0};
    struct wbpf_map_info info;
    wbpf_abi_map_info(self.maps.percpu, &info);
    for (uint32_t cpu = 0; cpu < info.cpus; cpu++)
        all[cpu] = cpu + 1;
    printf("per CPU: %u %d ", info.value_bytes / info.cpus,
           wbpf_map_update(self.maps.percpu, &key, sizeof key, all, info.value_bytes));
    memset(all, 0, sizeof all);
    printf("%d %d, ", wbpf_map_lookup(self.maps.percpu, &key, sizeof key, all, info.value_bytes),
           all[info.cpus - 1] == info.cpus);
    for (int i = 0; i < 4; i++, value++)
        printf("push: %d, ", wbpf_map_update(self.maps.queue, NULL, 0, &value, sizeof value));
    printf("pop: %d ", wbpf_abi_map_lookup_and_delete(self.maps.queue, NULL, 0, &value, sizeof value, 0));
    printf("%" PRIu64 ", ", value);
    int32_t at = wbpf_abi_map_window(self.maps.shared, WBPF_WINDOW_WRITE);
    uint64_t *window = (uint64_t *)(uintptr_t)at;
    printf("window: %d %" PRIu64 " %d, ", at > 0, window[7], fill(1023, 0, 0));
    window[1] = 77;
    wbpf_map_lookup(self.maps.shared, &key, sizeof key, &value, sizeof value);
    printf("%" PRIu64 " %" PRIu64 ", not: %d\n", window[1023], value, wbpf_abi_map_window(self.maps.hash, 0));
}

static void rings(void)
{
    static struct wbpf_reader reader;
    struct wbpf_window window;
    const uint64_t *record;
    uint32_t bytes;
    uint64_t sum = 0, count = 0;
    printf("open: %d %d %d, ", wbpf_reader_open(&reader, self.maps.first),
           wbpf_window_open(&window, self.maps.second), wbpf_abi_ring_open(self.maps.hash, 0));
    printf("nothing: %d, ", wbpf_wait(10));
    for (uint64_t round = 0; round < 500; round++) {
        fill(round % 1024, 1 + round % 16, 0);
        fill(round % 1024, 1 + round % 7, 1);
        wbpf_ring ready[4];
        int found = wbpf_abi_wait(1000, ready, sizeof ready);
        if (found != 2)
            printf("found %d in %" PRIu64 ", ", found, round);
        while ((record = wbpf_reader_next(&reader, &bytes)) != NULL) {
            sum += record[0] * 31 + record[1] + bytes;
            count++;
        }
        while ((record = wbpf_window_next(&window, &bytes)) != NULL) {
            sum += record[0] * 17 + record[1] + bytes;
            count++;
        }
        wbpf_window_release(&window);
    }
    int written = 0;
    while (fill(1, 16, 0) == 16)
        written++;
    printf("records: %" PRIu64 " %" PRIu64 ", full after %d, lost %d\n", count, sum, written,
           (int)wbpf_abi_ring_lost(reader.ring));
}

int main(int argc, char **argv)
{
    (void)argv;
    uint64_t runs = 0;
    if (both_open(&self))
        return wbpf_failed("both");
    if (argc < 2) /* else it is as it was built */
        both_set_factor(&self, 3);
    if (both_load(&self))
        return wbpf_failed("both");
    printf("late: %d\n", both_set_factor(&self, 4));
    entries();
    batches(self.maps.hash, WBPF_BATCH_LOOKUP);
    batches(self.maps.hash, WBPF_BATCH_LOOKUP_AND_DELETE);
    batches(self.maps.hash, WBPF_BATCH_LOOKUP);
    write_batch(self.maps.lru);
    batches(self.maps.lru, WBPF_BATCH_LOOKUP_AND_DELETE);
    batches(self.maps.shared, WBPF_BATCH_LOOKUP);
    puts("");
    others();
    rings();
    both_get_runs(&self, &runs);
    printf("runs: %" PRIu64 "\n", runs);
}
