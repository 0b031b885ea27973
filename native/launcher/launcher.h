/*
 * The command `wbpf`: what starts `wbpf run` without Python when the module was run before, and Python for
 * all else. Functions that return int return 0, or -1 where Python is to do it, which has the words.
 */
#ifndef WBPF_LAUNCHER_H
#define WBPF_LAUNCHER_H

#include "hostcalls/hostcalls.h"
#include <sys/types.h>

/* ---- blake2b.c ---- */

struct blake2b {
    uint64_t state[8], length;
    uint8_t block[128];
    uint32_t used, digest_bytes;
};

void blake2b_init(struct blake2b *hash, uint32_t digest_bytes);
void blake2b_update(struct blake2b *hash, const void *data, size_t bytes);
void blake2b_final(struct blake2b *hash, uint8_t *digest);

/* ---- plan.c: what Python found out about a module when it ran it first (src/wbpf/wasm/plan.py) ---- */

enum wish { WISH_PROGRAMS = 1, WISH_ATTACH = 2, WISH_FS = 4, WISH_NETWORK = 8, WISH_ENV = 16, WISH_ALL = 31 };

struct names {
    const char **at;
    uint32_t count;
};

struct plan_choice {
    const char *name;
    struct names programs;
};

struct plan_param {
    const char *name, *text, *variable;
    char room[24]; /* of a text that is a number */
    char type;
    bool is_given; /* it has a value: its default, until the command line gives another */
    uint64_t bits;
    struct names programs; /* that are loaded only with a value that is not empty */
    struct plan_choice *choices;
    uint32_t choice_count;
};

struct plan {
    void *content; /* that all texts are in */
    const char *library;
    bool may_all;
    uint32_t wishes, memory_mib;
    uint64_t deadline_ms;
    uint32_t *types, type_count;
    struct names places, network, environment, fields; /* network: with names of parameters in it */
    struct names addresses;                            /* the same with their values */
    struct plan_param *params;
    struct {
        const char *name;
        uint32_t offset, bytes;
    } *objects;
    wbpf_host_event *events;
    uint32_t param_count, object_count, event_count;
};

/* `content` is the plan's from now on, also after a failure. */
int plan_read(struct plan *plan, void *content, size_t bytes, size_t module_bytes);
void plan_deinit(struct plan *plan);

/* ---- cache.c ---- */

struct cached {
    char plan[4096], code[4096]; /* paths */
};

/* -1 too if somebody else could have written there. */
int cache_find(struct cached *cached, const void *wasm, size_t bytes);
/* A file's whole content, with a NUL behind it; NULL if it can't be read, or is not to be trusted. */
void *read_file(int fd, size_t *bytes, bool is_ours);

/* ---- arguments.c ---- */

struct arguments {
    char **words; /* behind `run` */
    int count;
    int module; /* where its path stands */
    const char *output, *fields, *comm;
    bool verbose;
    uint32_t granted, memory_mib, pid; /* pid 0: any */
    bool has_grants, has_deadline;
    uint64_t deadline_ns, duration_ns; /* duration 0: none */
    const char **guest;                /* the guest's own, behind its name */
    uint32_t guest_count;
};

/* Find the module's path among them. */
int arguments_find(struct arguments *arguments, char **words, int count);
/* Read them; values of parameters go to the plan. */
int arguments_read(struct arguments *arguments, struct plan *plan);
bool read_duration(const char *text, uint64_t *ns);

/* ---- network.c ---- */

/* Put values into the patterns of addresses; those of empty values are left out, as a wish too if no other is
 * left. */
int network_fill(struct plan *plan);

/* ---- python.c ---- */

/* In place of this process; comes back, with a message on standard error, only if there is none. */
int python_exec(char **arguments);
/* `python -m wbpf.cli.launched VERB FD MODULE_FD WORDS…`; for exec, or for another process. */
int python_exec_launched(const char *verb, int fd, int module_fd, char **words);
pid_t python_spawn_launched(const char *verb, int fd, int module_fd, char **words);
/* Its exit status; 128 + its signal. */
int python_wait(pid_t process);

/* ---- printer.c: events, printed by Python ---- */

struct printer {
    pid_t process; /* 0: none yet */
    int fd, module_fd;
    char **words;
    bool is_broken;
};

bool printer_send(struct printer *printer, char kind, uint32_t number, const void *data, uint32_t bytes);

/* ---- log.c ---- */

/* What a guest logs, on standard error: what would control a terminal is written out. */
void log_print(uint32_t level, const char *text, uint32_t bytes);
/* Of a character that is shown as it is. */
bool log_is_printable(uint32_t character);

/* ---- run.c ---- */

/* -1: nothing has been started; else the exit status. */
int run(char **words, int count);

#endif
