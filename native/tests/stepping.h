/* Stepping a process (or a thread of it) by ptrace from where it stopped itself. */
#ifndef WBPF_STEPPING_H
#define WBPF_STEPPING_H

#include "check.h"
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

/* One instruction; false if that was the last of the path. */
static bool step(pid_t tid)
{
    for (int status, signal = 0;; signal = WSTOPSIG(status)) {
        CHECK(ptrace(PTRACE_SINGLESTEP, tid, NULL, signal) == 0);
        CHECK(waitpid(tid, &status, __WALL) == tid);
        if (!WIFSTOPPED(status)) {
            CHECK(WIFEXITED(status)); /* of a thread */
            return false;
        }
        if (WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP)
            return WSTOPSIG(status) == SIGTRAP;
    }
}

/* Where each step of a path leads, so that a victim can run to where it gets for the first time and need only
 * be stepped from there. */
static struct {
    long count;
    uint64_t *places;
    bool *first;
} route;

#if defined(__x86_64__)
#include <sys/user.h>

static uint64_t place_of(pid_t tid)
{
    return (uint64_t)ptrace(PTRACE_PEEKUSER, tid, offsetof(struct user_regs_struct, rip), NULL);
}

/* Run to a breakpoint there. How many steps that was: 0 if no breakpoint can be set, -1 if it never got
 * there. */
static long run_to(pid_t tid, long steps)
{
    int status;
    uint64_t place = route.places[steps];
    errno = 0;
    long text = ptrace(PTRACE_PEEKTEXT, tid, place, NULL);
    if (errno || ptrace(PTRACE_POKETEXT, tid, place, (text & ~0xffL) | 0xcc) != 0)
        return 0;
    CHECK(ptrace(PTRACE_CONT, tid, NULL, NULL) == 0);
    CHECK(waitpid(tid, &status, __WALL) == tid);
    if (!WIFSTOPPED(status))
        return -1;
    CHECK(ptrace(PTRACE_POKETEXT, tid, place, text) == 0);
    if (WSTOPSIG(status) != SIGTRAP)
        return -1;
    CHECK(place_of(tid) == place + 1);
    CHECK(ptrace(PTRACE_POKEUSER, tid, offsetof(struct user_regs_struct, rip), place) == 0);
    return steps;
}
#else
static uint64_t place_of(pid_t tid)
{
    (void)tid;
    return 0;
}

static long run_to(pid_t tid, long steps)
{
    (void)tid, (void)steps;
    return 0;
}
#endif

/* `most` steps of it. */
static void learn_route(pid_t tid, long most)
{
    long room = 4096;
    route.count = 0;
    route.places = realloc(route.places, (size_t)room * sizeof *route.places);
    do {
        if (route.count == room)
            route.places = realloc(route.places, (size_t)(room *= 2) * sizeof *route.places);
        route.places[route.count++] = place_of(tid);
    } while (route.count < most && step(tid));
    route.first = realloc(route.first, (size_t)route.count * sizeof *route.first);
    for (long i = 0; i < route.count; i++) {
        route.first[i] = route.places[i] != 0;
        for (long before = 0; before < i && route.first[i]; before++)
            route.first[i] = route.places[before] != route.places[i];
    }
}

enum went { THERE, ENDED, ASTRAY };

/* ENDED: the path has fewer steps. ASTRAY: it ended too, but did not come by where it was to be stepped from:
 * a path depends on what the one before it left. */
static enum went go(pid_t tid, long steps, bool all_by_steps)
{
    long at = steps < route.count ? steps : route.count - 1;
    while (at && !route.first[at])
        at--;
    at = at && !all_by_steps ? run_to(tid, at) : 0;
    if (at < 0)
        return ASTRAY;
    for (; at < steps; at++)
        if (!step(tid))
            return ENDED;
    return THERE;
}

#endif
