#include "runqlat.skel.h"

/* What came since the last time. */
static void subtract(struct waits *to, const struct waits *now, const struct waits *before)
{
    to->count = now->count - before->count;
    to->total = now->total - before->total;
    for (size_t slot = 0; slot < sizeof to->us / sizeof *to->us; slot++)
        to->us[slot] = now->us[slot] - before->us[slot];
}

int main(void)
{
    struct runqlat self;
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
    }
}
