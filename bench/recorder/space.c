/*
 * Write traces of one begin, two events of 64 bytes and one end, one after another or two at a time with
 * every record of the other one's in between.
 *
 *     space DIRECTORY MIB TRACES SEED one|two
 */
#include "payload.h"
#include "wbpf/trace.h"
#include <stdio.h>
#include <stdlib.h>

#define PAYLOAD 64

static uint8_t payload[PAYLOAD];
static uint64_t sequence;
static wbpf_schema event_name, trace_name;

static void event(void)
{
    payload_number(payload, 0, sequence++);
    wbpf_event(event_name, WBPF_LEVEL_INFO, payload, PAYLOAD);
}

static void one_trace(void)
{
    wbpf_scope scope;
    wbpf_begin(&scope, trace_name, NULL);
    event();
    event();
    wbpf_end(&scope);
}

static void two_traces(void)
{
    wbpf_scope scopes[2];
    wbpf_context contexts[2];
    for (int i = 0; i < 2; i++) {
        wbpf_begin(&scopes[i], trace_name, NULL);
        wbpf_detach(&contexts[i]);
    }
    for (int record = 0; record < 3; record++)
        for (int i = 0; i < 2; i++) {
            wbpf_attach(&contexts[i]);
            if (record < 2)
                event();
            else
                wbpf_end(&scopes[i]);
        }
}

int main(int count, char **arguments)
{
    if (count != 6) {
        fprintf(stderr, "space DIRECTORY MIB TRACES SEED one|two\n");
        return 1;
    }
    wbpf_options options = {.directory = arguments[1],
                            .host = "bench",
                            .service = "space",
                            .size_mib = (uint32_t)strtoul(arguments[2], NULL, 10)};
    uint64_t traces = strtoull(arguments[3], NULL, 10);
    bool two = strcmp(arguments[5], "two") == 0;
    if (wbpf_open(&options) != 0) {
        fprintf(stderr, "%s\n", wbpf_error());
        return 1;
    }
    event_name = wbpf_schema_register("bench.event", NULL);
    trace_name = wbpf_schema_register("bench.trace", NULL);
    payload_fill(payload, PAYLOAD, strtoull(arguments[4], NULL, 10));
    for (uint64_t i = 0; i < traces; i += two ? 2 : 1)
        two ? two_traces() : one_trace();
    printf("{\"segment\": \"%s\"}\n", wbpf_segment_path());
    wbpf_close();
    return 0;
}
