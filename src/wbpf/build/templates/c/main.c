#include "$name.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct $identifier self;
    if (${identifier}_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("$name");
    int event = wbpf_event_find("exec");
    uint64_t lost = 0, told = 0;
    while (wbpf_wait(1000) >= 0) {
        if (wbpf_reader_emit(&reader, event, sizeof(struct exec_event)) < 0)
            return wbpf_failed("$name");
        if (!${identifier}_get_lost(&self, &lost) && lost > told) {
            fprintf(stderr, "$name: %llu events lost\n", (unsigned long long)(lost - told));
            told = lost;
        }
    }
}
