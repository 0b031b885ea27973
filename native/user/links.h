/*
 * Programs attached to places in this process.
 *
 * Each place has a list of what is attached to it, which threads walk without locks. Each thread has a word
 * that is odd while it walks. Detaching takes the entry out of the list, sees to it that all threads see that
 * (membarrier), and waits until each word was even or has changed. Errors are negative errnos.
 */
#ifndef WBPF_USER_LINKS_H
#define WBPF_USER_LINKS_H

#include "user/program.h"

/* A program that is attached, at as many places as there are nodes with it. */
struct wbpf_link {
    const wbpf_user_program *program;
    uint64_t cookie, stopped; /* stopped: runs that a check ended */
    uint32_t *live;           /* a page that is all zero in children */
};

struct wbpf_link_node {
    struct wbpf_link_node *next;
    struct wbpf_link *link;
};

/* The program must stay until the link ended. */
int wbpf_link_init(struct wbpf_link *link, const wbpf_user_program *program, uint64_t cookie);
void wbpf_link_deinit(struct wbpf_link *link);

/* Whoever changes a list holds the lock of its place. */
void wbpf_links_add(struct wbpf_link_node **list, struct wbpf_link_node *node, struct wbpf_link *link);
void wbpf_links_remove(struct wbpf_link_node **list, const struct wbpf_link *link);

/* Run what is attached. `start`: of the stack; NULL: the context is the registers. False: a program runs in
 * this thread already, so this place is not passed on, but counted. */
bool wbpf_links_run(struct wbpf_link_node *const *list, void *context, size_t bytes,
                    const struct wbpf_stack_start *start);
/* Whether running programs that call no helpers calls nothing of the C library that may use wide vector
 * registers. */
bool wbpf_links_are_plain(void);
/* Whether a program runs in this thread. */
bool wbpf_links_running(void);
/* When it returns, no thread is in what was taken out of a list before. */
void wbpf_links_wait(void);
/* Places that were not passed on, so far. */
uint64_t wbpf_links_missed(void);
/* Count one that was not for another reason. */
void wbpf_links_miss(void);
/* In a child after fork: only this thread is there. */
void wbpf_links_forget(void);

#endif
