#include "opensnoop.skel.h"

/* arm64 has no open(). */
static void trace_open(struct opensnoop *self)
{
    if (wbpf_program_attach(self->programs.on_open, NULL) > 0)
        wbpf_program_attach(self->programs.after_open, NULL);
}

int main(void)
{
    static struct wbpf_reader reader;
    struct opensnoop self;
    if (opensnoop_open(&self))
        return wbpf_failed("opensnoop");
    wbpf_program_autoload(self.programs.on_open, true);
    wbpf_program_autoload(self.programs.after_open, true);
    if (opensnoop_load(&self) || opensnoop_attach(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("opensnoop");
    trace_open(&self);
    int event = wbpf_event_find("open");
    uint64_t lost = 0, told = 0;
    while (wbpf_wait(1000) >= 0) {
        if (wbpf_reader_emit(&reader, event, sizeof(struct open)) < 0)
            return wbpf_failed("opensnoop");
        if (!opensnoop_get_lost(&self, &lost) && lost > told) {
            fprintf(stderr, "opensnoop: %llu events lost\n", (unsigned long long)(lost - told));
            told = lost;
        }
    }
}
