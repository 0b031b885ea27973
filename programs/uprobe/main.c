#include "uprobe.skel.h"

int main(void)
{
    static struct wbpf_reader reader;
    struct uprobe self;
    if (uprobe_open(&self) || uprobe_load(&self) || wbpf_reader_open(&reader, self.maps.events) ||
        wbpf_program_attach(self.programs.on_return, wbpf_param("function")) < 0 ||
        wbpf_program_attach(self.programs.on_call, wbpf_param("function")) < 0)
        return wbpf_failed("uprobe");
    int event = wbpf_event_find("call");
    wbpf_log(WBPF_LOG_INFO, "attached");
    while (wbpf_wait(-1) >= 0)
        if (wbpf_reader_emit(&reader, event, sizeof(struct call)) < 0)
            return wbpf_failed("uprobe");
    uint64_t lost = 0;
    uprobe_get_lost(&self, &lost);
    if (lost)
        fprintf(stderr, "uprobe: %llu events lost\n", (unsigned long long)lost);
}
