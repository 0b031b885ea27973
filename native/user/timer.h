/* Programs that run at their time. */
#ifndef WBPF_USER_TIMER_H
#define WBPF_USER_TIMER_H

#include "user/program.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Written while it runs; `missed`: times that came while it ran or was not scheduled. */
typedef struct wbpf_user_timer_counts {
    uint64_t runs, missed, stopped;
} wbpf_user_timer_counts;

/* Runs a program each `period_ns` until `stop_fd` can be read. 0, or a negative errno. */
int wbpf_user_timer_run(const wbpf_user_program *program, wbpf_user_run *run, uint64_t period_ns, int stop_fd,
                        wbpf_user_timer_counts *counts);

#ifdef __cplusplus
}
#endif
#endif
