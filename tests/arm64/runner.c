/*
 * Runs translated programs in this process, as commands on standard input say: `commands` in running.py. All
 * numbers are 64 bits, whole structures come without padding; answers go to standard output.
 */
#include "maps/maps.h"
#include "user/helpers.h"
#include "user/packet_flow.h"
#include "user/program.h"
#include "user/sites.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8192 };

#define DEMAND(what)                                                                                         \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            fprintf(stderr, "runner.c:%d: not so: %s\n", __LINE__, #what);                                   \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

static wbpf_user_map *maps[MOST];
static wbpf_user_program *programs[MOST];
static wbpf_site_link *links[MOST];
static size_t map_count, program_count, link_count;

static void get(void *to, size_t bytes)
{
    DEMAND(fread(to, 1, bytes, stdin) == bytes);
}

static uint64_t word(void)
{
    uint64_t value;
    get(&value, sizeof value);
    return value;
}

static void *bytes_of(size_t bytes)
{
    void *to = malloc(bytes + 1);
    DEMAND(to);
    get(to, bytes);
    return to;
}

static void put(const void *from, size_t bytes)
{
    DEMAND(fwrite(from, 1, bytes, stdout) == bytes);
}

static void answer(uint64_t value)
{
    put(&value, sizeof value);
}

static void make_map(void)
{
    uint64_t said[9];
    get(said, sizeof said);
    wbpf_user_map_spec spec = {.kind = (uint32_t)said[0],
                               .key_bytes = (uint32_t)said[1],
                               .value_bytes = (uint32_t)said[2],
                               .entries = (uint32_t)said[3],
                               .flags = (uint32_t)said[4],
                               .lock_offset = (uint32_t)said[5],
                               .inner_kind = (uint32_t)said[6],
                               .inner_key_bytes = (uint32_t)said[7],
                               .inner_value_bytes = (uint32_t)said[8],
                               .cpus = 2};
    DEMAND(map_count < MOST && wbpf_user_map_create(&spec, -1, &maps[map_count]) == 0);
    map_count++;
}

static void update_map(void)
{
    wbpf_user_map *map = maps[word()];
    size_t key_bytes = word(), value_bytes = word();
    void *key = bytes_of(key_bytes), *value = bytes_of(value_bytes);
    DEMAND(value_bytes == wbpf_user_map_value_span(map) && wbpf_user_map_update(map, key, value, 0) == 0);
    free(key);
    free(value);
}

/* An element of a map of maps, or of a program array. */
static void refer(void)
{
    wbpf_user_map *map = maps[word()];
    uint32_t key = (uint32_t)word();
    bool is_program = word();
    uint64_t number = word();
    uint32_t id = is_program ? wbpf_user_program_id(programs[number]) : wbpf_user_map_id(maps[number]);
    DEMAND(wbpf_user_map_update(map, &key, &id, 0) == 0);
}

static void look_up(void)
{
    wbpf_user_map *map = maps[word()];
    size_t key_bytes = word(), value_bytes = wbpf_user_map_value_span(map);
    void *key = bytes_of(key_bytes), *value = calloc(1, value_bytes);
    answer((uint64_t)(int64_t)wbpf_user_map_lookup(map, key, value, 0));
    put(value, value_bytes);
    free(key);
    free(value);
}

/* All programs of one translation. */
static void load(void)
{
    size_t code_bytes = word();
    void *code = bytes_of(code_bytes);
    uint64_t values[MOST], addresses[MOST], entries[MOST];
    for (size_t i = 0; i < map_count; i++) {
        uint32_t stride;
        addresses[i] = (uintptr_t)maps[i];
        values[i] = (uintptr_t)wbpf_user_map_row(maps[i], &stride);
        entries[i] = wbpf_user_map_entries(maps[i]);
    }
    for (uint64_t left = word(); left; left--) {
        wbpf_helper helpers[64];
        uint64_t said[4];
        get(said, sizeof said);
        wbpf_user_spec spec = {.code = code,
                               .bytes = code_bytes,
                               .entry = said[0],
                               .checked = said[1],
                               .kind = (uint32_t)said[2],
                               .helper_count = (uint32_t)said[3],
                               .helpers = helpers,
                               .maps = addresses,
                               .values = values,
                               .entries = entries,
                               .map_count = (uint32_t)map_count};
        DEMAND(spec.helper_count <= 64);
        for (uint32_t i = 0; i < spec.helper_count; i++)
            DEMAND((helpers[i] = wbpf_user_helper((int32_t)word())) != NULL);
        DEMAND(program_count < MOST && wbpf_user_program_create(&spec, &programs[program_count]) == 0);
        program_count++;
    }
    free(code);
}

static void run(void)
{
    const wbpf_user_program *program = programs[word()];
    wbpf_user_run one = {.fuel = (int64_t)word()};
    one.context_bytes = word();
    one.context = bytes_of(one.context_bytes);
    int error = wbpf_user_program_run(program, &one);
    answer(one.stopped);
    answer(error ? one.stopped_at : one.result);
    put(one.context, one.context_bytes);
    free(one.context);
}

/* A frame through an XDP program. */
static void run_on_frame(void)
{
    const wbpf_user_program *program = programs[word()];
    size_t frame_bytes = word(), size = 0;
    void *frame = bytes_of(frame_bytes);
    const uint8_t *data;
    wbpf_packet_facts facts = {0};
    wbpf_packet_flow *flow;
    int32_t verdict = 0;
    DEMAND(wbpf_packet_flow_create(program, WBPF_PACKET_XDP, &flow) == 0);
    bool goes_on = wbpf_packet_flow_run(flow, frame, frame_bytes, &facts, &verdict, &data, &size);
    answer((uint64_t)(int64_t)verdict);
    answer(goes_on ? size : 0);
    if (goes_on)
        put(data, size);
    wbpf_packet_flow_destroy(flow);
    free(frame);
}

/* ---- probe sites ---- */

static void attach(void)
{
    uint32_t sites;
    const wbpf_user_program *program = programs[word()];
    DEMAND(link_count < MOST &&
           wbpf_site_link_create("arm64:hit", program, 0, &links[link_count++], &sites) == 0);
    answer(sites);
}

static void detach(void)
{
    uint64_t stopped;
    wbpf_site_link_destroy(links[word()], &stopped);
    answer(stopped);
}

static void hit(void)
{
    uint64_t number = word();
    uint32_t small = (uint32_t)number;
    WBPF_PROBE(arm64, hit, number, small, -1, &number, number + 1, number * 2, number ^ 5, 7);
}

/* Nothing calls it: its site goes, the one above stays. */
void never_called(void);
void never_called(void)
{
    WBPF_PROBE(arm64, never);
}

int main(void)
{
    static void (*const commands[])(void) = {make_map, update_map,   refer,  look_up, load,
                                             run,      run_on_frame, attach, detach,  hit};
    for (uint64_t command; fread(&command, sizeof command, 1, stdin) == 1;) {
        DEMAND(command < sizeof commands / sizeof *commands);
        commands[command]();
    }
    return 0;
}
