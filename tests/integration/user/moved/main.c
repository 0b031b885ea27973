#include "moved.skel.h"

int main(void)
{
    static struct wbpf_reader events;
    struct moved self;
    if (moved_open(&self) || moved_load(&self) || moved_attach(&self) ||
        wbpf_reader_open(&events, self.maps.events))
        return wbpf_failed("moved");
    wbpf_log(WBPF_LOG_INFO, "attached");
    int event = wbpf_event_find("seen");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&events, event, sizeof(struct seen)) < 0)
            return wbpf_failed("moved");
    return 0;
}
