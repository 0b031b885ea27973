#include "$name.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct $identifier self;
    if (${identifier}_start(&self) || wbpf_reader_open(&reader, self.maps.events))
        return wbpf_failed("$name");
    int event = wbpf_event_find("exec");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct exec_event)) < 0)
            return wbpf_failed("$name");
    uint64_t lost = 0;
    ${identifier}_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "$name: %llu events lost\n", (unsigned long long)lost);
}
