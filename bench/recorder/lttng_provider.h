/* Tracepoints of LTTng-UST with the payloads that our own events have. */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER wbpf_bench
#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "lttng_provider.h"

#if !defined(BENCH_LTTNG_PROVIDER_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define BENCH_LTTNG_PROVIDER_H

#include <lttng/tracepoint.h>
#include <stdint.h>

LTTNG_UST_TRACEPOINT_EVENT(wbpf_bench, event8, LTTNG_UST_TP_ARGS(const uint8_t *, payload),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_array(uint8_t, payload, payload, 8)))
LTTNG_UST_TRACEPOINT_EVENT(wbpf_bench, event64, LTTNG_UST_TP_ARGS(const uint8_t *, payload),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_array(uint8_t, payload, payload, 64)))
LTTNG_UST_TRACEPOINT_EVENT(wbpf_bench, event256, LTTNG_UST_TP_ARGS(const uint8_t *, payload),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_array(uint8_t, payload, payload, 256)))
LTTNG_UST_TRACEPOINT_EVENT(wbpf_bench, event1024, LTTNG_UST_TP_ARGS(const uint8_t *, payload),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_array(uint8_t, payload, payload, 1024)))

#endif

#include <lttng/tracepoint-event.h>
