#include "cases.skel.h"

static int event;

static void tell(const char *name, uint64_t value)
{
    struct result result = {.value = value};
    strncpy(result.name, name, sizeof result.name - 1);
    wbpf_emit(event, &result, sizeof result);
}

static uint32_t run(struct cases *cases)
{
    struct wbpf_run done = {0};
    if (wbpf_program_run(cases->programs.on_run, NULL, 0, &done) < 0)
        exit(wbpf_failed("run"));
    return done.result;
}

/* What the test's servers get and send. */
static void talk(void)
{
    char buffer[64];
    wbpf_socket datagrams = wbpf_socket_connect(wbpf_param("datagrams"), 1000);
    tell("datagram_sent", wbpf_socket_send(datagrams, "datagram", 8, 1000));
    tell("nothing_came", wbpf_socket_receive(datagrams, buffer, sizeof buffer, 0) == -WBPF_EAGAIN);
    wbpf_socket path = wbpf_socket_connect(wbpf_param("path"), 1000);
    tell("path_sent", wbpf_socket_send(path, "path", 4, 1000));
    wbpf_socket_close(path);
    wbpf_socket stream = wbpf_socket_connect(wbpf_param("stream"), 1000);
    wbpf_socket_send(stream, "ping", 4, 1000);
    wbpf_socket_watch(stream, true);
    tell("stream_is_told", wbpf_wait(5000));
    tell("stream_received", wbpf_socket_receive(stream, buffer, sizeof buffer, 1000));
    tell("stream_ended", wbpf_socket_receive(stream, buffer, sizeof buffer, 1000) == 0);
    tell("not_granted", wbpf_socket_connect("tcp:localhost:1", 1000) == -WBPF_EPERM);
}

int main(void)
{
    struct cases cases;
    static struct wbpf_reader reader;
    struct wbpf_window window;
    event = wbpf_event_find("case");
    if (cases_open(&cases) || wbpf_program_autoload(cases.programs.on_run, true))
        return wbpf_failed("open");
    if (cases_set_step(&cases, 7) || cases_load(&cases) || cases_attach(&cases))
        return wbpf_failed("load");
    uint64_t value = 0, sum = 0;
    cases_get_start(&cases, &value);
    tell("constant", value);
    tell("unload_is_refused", cases_set_start(&cases, 1) < 0);
    if (wbpf_reader_open(&reader, cases.maps.events) || wbpf_window_open(&window, cases.maps.placed_events))
        return wbpf_failed("ring");

    tell("set_before_load", run(&cases));
    cases_set_step(&cases, 1ull << 40);
    cases_get_step(&cases, &value);
    tell("set_after_load", value);
    run(&cases);
    run(&cases);
    cases_get_counted(&cases, &value);
    tell("counted", value);

    uint32_t key = 3, last;
    cases_numbers_lookup(&cases, &key, &value);
    tell("lookup", value);
    key = 99;
    tell("missing", cases_numbers_lookup(&cases, &key, &value) == -WBPF_ENOENT);
    key = 2;
    value = 12345;
    cases_numbers_update(&cases, &key, &value);
    value = 0;
    cases_numbers_lookup(&cases, &key, &value);
    tell("updated", value);
    for (int more = cases_numbers_next(&cases, NULL, &last); !more; more = cases_numbers_next(&cases, &key, &last)) {
        sum += last;
        key = last;
    }
    tell("keys", sum);
    key = 2;
    cases_numbers_delete(&cases, &key);
    tell("deleted", cases_numbers_lookup(&cases, &key, &value) == -WBPF_ENOENT);

    struct cases_per_cpu_slot slots[256] = {0};
    sum = key = 0;
    cases_per_cpu_lookup(&cases, &key, slots);
    for (int cpu = 0; cpu < wbpf_map_cpus(cases.maps.per_cpu); cpu++)
        sum += slots[cpu].value;
    tell("per_cpu", sum);

    struct record record = {0};
    cases_records_lookup(&cases, &key, &record);
    tell("record_bytes", sizeof record);
    tell("record_pointer", record.pointer);
    tell("record_after_padding", record.number);
    tell("record_text", record.last == 41 ? strlen(record.text) : 0);
    uint32_t bytes;
    for (sum = 0; wbpf_reader_next(&reader, &bytes);)
        sum += bytes == sizeof value;
    tell("records", sum);
    tell("parameter", wbpf_param_uint("delay"));

    uint64_t placed_records = sum = 0;
    const struct placed *placed;
    for (int i = 0; i <= 20; i++) {
        while ((placed = wbpf_window_next(&window, &bytes)) != NULL) {
            placed_records += bytes == sizeof *placed;
            sum += placed->number + placed->again;
        }
        wbpf_window_release(&window);
        if (i < 20)
            run(&cases);
    }
    tell("in_place", placed_records);
    tell("in_place_numbers", sum);
    tell("in_place_left", wbpf_window_next(&window, NULL) != NULL);
    while (wbpf_reader_next(&reader, &bytes))
        ;
    talk();
}
