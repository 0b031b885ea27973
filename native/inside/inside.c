/* libwbpf-inside.so: what is loaded into a process to trace it, by LD_PRELOAD or later. */
#include "user/syscalls.h"
#include "user/tracer.h"

#define WBPF_PROBES_INTERNAL
#include "wbpf/probe.h"

__attribute__((constructor)) static void begin(void)
{
    if (wbpf_probes_listen() == 0) {
        wbpf_tracer_wait(false);
        wbpf_syscalls_begin();
    }
}
