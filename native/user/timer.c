/* Programs that run at their time, in the thread of the caller. */
#include "user/timer.h"
#include <errno.h>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

static void add(uint64_t *counter, uint64_t by)
{
    __atomic_store_n(counter, *counter + by, __ATOMIC_RELAXED);
}

int wbpf_user_timer_run(const wbpf_user_program *program, wbpf_user_run *run, uint64_t period_ns, int stop_fd,
                        wbpf_user_timer_counts *counts)
{
    struct timespec period = {(time_t)(period_ns / 1000000000), (long)(period_ns % 1000000000)};
    struct itimerspec when = {period, period};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), error = 0;
    if (timer < 0)
        return -errno;
    if (timerfd_settime(timer, 0, &when, NULL) < 0)
        error = -errno;
    struct pollfd files[] = {{.fd = stop_fd, .events = POLLIN}, {.fd = timer, .events = POLLIN}};
    while (!error) {
        uint64_t times;
        if (poll(files, 2, -1) < 0 && errno != EINTR)
            error = -errno;
        if (error || files[0].revents)
            break;
        if (read(timer, &times, sizeof times) != sizeof times)
            continue;
        if (wbpf_user_program_run(program, run))
            add(&counts->stopped, 1);
        add(&counts->runs, 1);
        add(&counts->missed, times - 1);
    }
    close(timer);
    return error;
}
