#include "runqlat.skel.h"

/* What came since the last time. */
static void subtract(struct waits *to, const struct waits *now, const struct waits *before)
{
    to->count = now->count - before->count;
    to->total = now->total - before->total;
    for (size_t slot = 0; slot < sizeof to->us / sizeof *to->us; slot++)
        to->us[slot] = now->us[slot] - before->us[slot];
}

/* Below which so many of a hundred waits were, as far as slots tell. */
static unsigned percentile_us(const struct waits *waits, uint64_t percent)
{
    uint64_t seen = 0;
    unsigned below_us = 0;
    for (size_t slot = 0; slot < sizeof waits->us / sizeof *waits->us; slot++) {
        seen += waits->us[slot];
        if (waits->us[slot])
            below_us = (2u << slot) - 1;
        if (seen * 100 >= waits->count * percent)
            break;
    }
    return below_us;
}

/* As StatsD reads it. What gets lost is lost: the next interval comes soon. */
static void report(wbpf_socket statsd, const struct waits *waits)
{
    char text[256];
    int bytes = snprintf(text, sizeof text,
                         "runqlat.waits:%llu|c\nrunqlat.total_us:%llu|c\nrunqlat.p50_us:%u|g\nrunqlat.p99_us:%u|g",
                         (unsigned long long)waits->count, (unsigned long long)waits->total / 1000,
                         percentile_us(waits, 50), percentile_us(waits, 99));
    wbpf_socket_send(statsd, text, bytes, 0);
}

/* 0: to nobody. */
static wbpf_socket connect_statsd(void)
{
    char address[512];
    const char *to = wbpf_param("statsd");
    if (!*to)
        return 0;
    snprintf(address, sizeof address, "udp:%s", to);
    return wbpf_socket_connect(address, 5000);
}

int main(void)
{
    struct runqlat self;
    wbpf_socket statsd = connect_statsd();
    if (statsd < 0)
        return wbpf_failed("statsd");
    if (runqlat_start(&self))
        return wbpf_failed("runqlat");
    int event = wbpf_event_find("waits");
    int interval_ms = (int)(wbpf_param_uint("interval") / 1000000);
    struct waits before = {0}, now, fresh;
    while (wbpf_wait(interval_ms > 0 ? interval_ms : 1) >= 0) {
        if (runqlat_get_waits(&self, &now))
            return wbpf_failed("runqlat");
        subtract(&fresh, &now, &before);
        fresh.time = wbpf_now_ns();
        before = now;
        if (wbpf_emit(event, &fresh, sizeof fresh) < 0)
            return wbpf_failed("runqlat");
        if (statsd)
            report(statsd, &fresh);
    }
}
