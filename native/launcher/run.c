/* One run of a module: prepared without Python, which explains what goes wrong. */
#include "hostcalls/hostcalls.h"
#include "kernel/kernel.h"
#include "launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS    1000
#define TOGETHER_MS 200 /* signals in so short a time are one: timeout(1) sends its own twice */
#define KERNEL_BTF  "/sys/kernel/btf/vmlinux"

/* struct wbpf_filter of wbpf/filter.bpf.h. */
struct filter {
    uint32_t flags, pid;
    uint64_t cgroup;
    uint32_t cgroup_level, reserved;
    char comm[16];
};

struct launch {
    struct arguments arguments;
    struct plan plan;
    void *wasm;
    const char *name; /* of the module's file */
    wbpf_wasm_module *module;
    wbpf_host_spec spec;
    wbpf_host *host;
    wbpf_guest *guest;
    wbpf_guest_end end;
    struct printer printer;
    int64_t signalled_ms;   /* when the last signal came that counts */
    int over_fd, signal_fd; /* readable when the guest has ended; signals that came */
    struct filter filter;
    bool keeps_stdout; /* for events alone: the guest's own text goes to standard error */
};

/* ---- what the guest asks for ---- */

static int64_t call(void *user, const char *function, wbpf_guest_argument *arguments, uint32_t count)
{
    return wbpf_host_call(((struct launch *)user)->host, function, arguments, count);
}

static void explain_last(void *user)
{
    wbpf_host_explain(((struct launch *)user)->host);
}

static ssize_t write_text(void *user, int fd, const void *bytes, size_t size)
{
    struct launch *launch = user;
    if (fd == 1 && launch->keeps_stdout)
        fd = 2;
    if (fd == 1 && launch->printer.process) {
        bool is_sent = printer_send(&launch->printer, 'T', 0, bytes, (uint32_t)size);
        return is_sent ? (ssize_t)size : -EPIPE;
    }
    for (size_t done = 0; done < size;) {
        ssize_t now = write(fd, (const char *)bytes + done, size - done);
        if (now < 0 && errno != EINTR)
            return -errno;
        done += now > 0 ? (size_t)now : 0;
    }
    return (ssize_t)size;
}

static int64_t emit(void *user, uint32_t kind, const void *records, uint32_t bytes)
{
    struct launch *launch = user;
    if (!printer_send(&launch->printer, 'E', kind, records, bytes))
        return WBPF_GUEST_END;
    return bytes / launch->plan.events[kind].bytes;
}

static void log_text(void *user, uint32_t level, const char *text, uint32_t bytes)
{
    if (level < 2 || ((struct launch *)user)->arguments.verbose)
        log_print(level, text, bytes);
}

/* A file in memory with texts, each behind its size. */
static int write_texts(const char *const *texts, uint32_t count, const wbpf_host_failure *failure)
{
    int fd = memfd_create("wbpf", MFD_CLOEXEC);
    FILE *file = fd < 0 ? NULL : fdopen(dup(fd), "w");
    if (!file)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = (uint32_t)strlen(texts[i]);
        fwrite(&bytes, sizeof bytes, 1, file);
        fwrite(texts[i], 1, bytes, file);
    }
    if (failure)
        fwrite(failure->texts, 1, failure->bytes, file);
    fclose(file);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* Python puts the number, and behind a space the words, in the place of the failure. */
static int explain(void *user, const wbpf_host_failure *failure, char *text)
{
    struct launch *launch = user;
    char answer[WBPF_WASM_WHY_BYTES + 16] = "";
    int fd = write_texts(NULL, 0, failure), number = -1;
    if (fd < 0)
        return -1;
    pid_t process = python_spawn_launched("explain", fd, launch->printer.module_fd, launch->printer.words);
    ssize_t bytes = -1;
    if (process > 0 && python_wait(process) == 0)
        bytes = pread(fd, answer, sizeof answer - 1, 0);
    close(fd);
    if (bytes > 0) {
        char *words;
        number = (int)strtol(answer, &words, 10);
        snprintf(text, WBPF_WASM_WHY_BYTES, "%s", *words ? words + 1 : "");
    }
    return number;
}

/* ---- preparing ---- */

/* As wbpf.wasm.backend asks before it decides for the kernel; with less, Python decides. */
static bool may_use_kernel(void)
{
    enum { NET_ADMIN = 12, SYS_ADMIN = 21, PERFMON = 38, BPF = 39, ARRAY = 2 };
    const uint64_t several = 1ull << NET_ADMIN | 1ull << PERFMON | 1ull << BPF, all = 1ull << SYS_ADMIN;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct held[2] = {0};
    char why[WBPF_WHY_BYTES];
    if (syscall(SYS_capget, &header, held) != 0)
        return false;
    uint64_t mask = (uint64_t)held[1].effective << 32 | held[0].effective;
    return ((mask & all) || (mask & several) == several) && access(KERNEL_BTF, R_OK) == 0 &&
           wbpf_libbpf_find(why) == 0 && wbpf_probe_map(ARRAY, 8, 0) > 0;
}

static int read_module(struct launch *launch, char **words, int count)
{
    size_t bytes, plan_bytes;
    struct cached cached;
    char why[WBPF_WASM_WHY_BYTES];
    if (arguments_find(&launch->arguments, words, count) != 0)
        return -1;
    const char *path = words[launch->arguments.module], *slash = strrchr(path, '/');
    launch->name = slash ? slash + 1 : path;
    launch->printer.module_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    launch->wasm = read_file(launch->printer.module_fd, &bytes, false);
    if (!launch->wasm || cache_find(&cached, launch->wasm, bytes) != 0)
        return -1;
    int fd = open(cached.plan, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    void *plan = read_file(fd, &plan_bytes, true);
    if (fd >= 0)
        close(fd);
    if (!plan || plan_read(&launch->plan, plan, plan_bytes, bytes) != 0 ||
        arguments_read(&launch->arguments, &launch->plan) != 0)
        return -1;
    if (!may_use_kernel() || wbpf_wasmtime_open(launch->plan.library, why) != 0)
        return -1;
    return wbpf_wasm_module_load(cached.code, false, &launch->module, why) ? -1 : 0;
}

static bool is_named(const struct names *names, const char *name)
{
    for (uint32_t i = 0; i < names->count; i++)
        if (strcmp(names->at[i], name) == 0)
            return true;
    return false;
}

static bool is_empty(const struct plan_param *param)
{
    return param->type == 's' ? !*param->text : param->type != 'e' && param->bits == 0;
}

/* The programs that are not loaded with this value of a parameter; how many. */
static uint32_t add_unwanted(const struct plan_param *param, const char **out)
{
    const struct names *chosen = NULL;
    uint32_t count = 0;
    for (uint32_t i = 0; i < param->choice_count; i++)
        if (strcmp(param->choices[i].name, param->text) == 0)
            chosen = &param->choices[i].programs;
    for (uint32_t i = 0; i <= param->choice_count; i++) {
        const struct names *group = i ? &param->choices[i - 1].programs : &param->programs;
        if (group == chosen || (i == 0 && !is_empty(param)))
            continue;
        for (uint32_t k = 0; k < group->count; k++)
            if (!chosen || !is_named(chosen, group->at[k]))
                out[count++] = group->at[k];
    }
    return count;
}

static uint32_t count_programs(const struct plan *plan)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->param_count; i++) {
        count += plan->params[i].programs.count;
        for (uint32_t k = 0; k < plan->params[i].choice_count; k++)
            count += plan->params[i].choices[k].programs.count;
    }
    return count;
}

/* Whether it is a process, not one of its threads. */
static bool is_process(uint32_t pid)
{
    char path[64], line[128];
    unsigned found = 0;
    snprintf(path, sizeof path, "/proc/%u/status", pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file) && sscanf(line, "Tgid: %u", &found) != 1)
        ;
    if (file)
        fclose(file);
    return found == pid;
}

/* As src/wbpf/wasm/filters.py packs it. */
static int make_filter(struct launch *launch)
{
    enum { BY_PID = 1, BY_COMM = 2 };
    const struct arguments *arguments = &launch->arguments;
    struct filter *filter = &launch->filter;
    if (arguments->pid && !is_process(arguments->pid))
        return -1;
    filter->flags = (arguments->pid ? BY_PID : 0) | (arguments->comm ? BY_COMM : 0);
    filter->pid = arguments->pid;
    if (arguments->comm)
        memcpy(filter->comm, arguments->comm, strlen(arguments->comm));
    if (filter->flags) {
        launch->spec.filter = filter;
        launch->spec.filter_bytes = sizeof *filter;
    }
    return 0;
}

static int make_host(struct launch *launch)
{
    const struct plan *plan = &launch->plan;
    wbpf_host_object *objects = calloc(plan->object_count + 1, sizeof *objects);
    wbpf_host_param *params = calloc(plan->param_count + 1, sizeof *params);
    const char **unwanted = calloc(count_programs(plan) + 1, sizeof *unwanted);
    if (!objects || !params || !unwanted)
        return -1;
    launch->spec = (wbpf_host_spec){
        .objects = objects,
        .object_count = plan->object_count,
        .params = params,
        .param_count = plan->param_count,
        .events = plan->events,
        .event_count = plan->event_count,
        .unwanted = unwanted,
        .places = plan->places.at,
        .place_count = plan->places.count,
        .types = plan->types,
        .type_count = plan->type_count,
        .may_all = plan->may_all,
        .emit = emit,
        .log = log_text,
        .explain = explain,
        .user = launch,
    };
    for (uint32_t i = 0; i < plan->object_count; i++)
        objects[i] =
            (wbpf_host_object){plan->objects[i].name, (const char *)launch->wasm + plan->objects[i].offset,
                               plan->objects[i].bytes};
    for (uint32_t i = 0; i < plan->param_count; i++) {
        const struct plan_param *one = &plan->params[i];
        params[i] = (wbpf_host_param){one->name, one->text, one->variable, one->type, one->bits};
        launch->spec.unwanted_count += add_unwanted(one, unwanted + launch->spec.unwanted_count);
    }
    launch->host = wbpf_host_create(&launch->spec);
    return launch->host ? make_filter(launch) : -1;
}

static int make_guest(struct launch *launch)
{
    const struct plan *plan = &launch->plan;
    const struct arguments *arguments = &launch->arguments;
    const char **words = calloc(arguments->guest_count + 2, sizeof *words);
    const char **values = calloc(2 * (size_t)plan->environment.count + 1, sizeof *values);
    char why[WBPF_WASM_WHY_BYTES];
    if (!words || !values)
        return -1;
    words[0] = launch->name;
    memcpy(words + 1, arguments->guest, arguments->guest_count * sizeof *words);
    const char **names = values + plan->environment.count;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->environment.count; i++) {
        const char *value = getenv(plan->environment.at[i]);
        if (value) {
            names[count] = plan->environment.at[i];
            values[count++] = value;
        }
    }
    wbpf_guest_spec spec = {
        .arguments = words,
        .argument_count = arguments->guest_count + 1,
        .names = names,
        .values = values,
        .variable_count = count,
        .addresses = plan->addresses.at,
        .address_count = plan->addresses.count,
        .with_stdin = true,
        .stdout_fd = 1,
        .stderr_fd = 2,
        .memory_bytes = (uint64_t)(arguments->memory_mib ? arguments->memory_mib : plan->memory_mib) << 20,
        .deadline_ns = arguments->has_deadline ? arguments->deadline_ns : plan->deadline_ms * 1000000,
        .call = call,
        .write = write_text,
        .explain = explain_last,
        .user = launch,
    };
    int error = wbpf_guest_create(launch->module, &spec, &launch->guest, why);
    free(words);
    free(values);
    if (error)
        return -1;
    wbpf_host_serve(launch->host, launch->guest);
    launch->keeps_stdout = strcmp(arguments->output, "columns") != 0;
    return 0;
}

/* ---- waiting ---- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Those of SIGINT and SIGTERM that are not ignored, from now on told by a descriptor. */
static int take_signals(sigset_t *before)
{
    static const int wanted[] = {SIGINT, SIGTERM};
    struct sigaction action;
    sigset_t taken;
    sigemptyset(&taken);
    for (int i = 0; i < 2; i++)
        if (sigaction(wanted[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&taken, wanted[i]);
    pthread_sigmask(SIG_BLOCK, &taken, before);
    return signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Until the descriptor is readable (true), a signal came (its number), or the time is over; -1: no limit. */
static bool wait_for(struct launch *launch, int fd, int64_t until_ms, int *signal)
{
    for (;;) {
        struct pollfd both[2] = {{.fd = fd, .events = POLLIN}, {.fd = launch->signal_fd, .events = POLLIN}};
        struct signalfd_siginfo info;
        int64_t left = until_ms < 0 ? -1 : until_ms - now_ms();
        int found = poll(both, 2, until_ms < 0 ? -1 : left < 0 ? 0 : left > 1 << 30 ? 1 << 30 : (int)left);
        if (found > 0 && both[0].revents)
            return true;
        if (found > 0 && read(launch->signal_fd, &info, sizeof info) == sizeof info &&
            now_ms() - launch->signalled_ms >= TOGETHER_MS) {
            launch->signalled_ms = now_ms();
            *signal = (int)info.ssi_signo;
            return false;
        }
        if (found == 0 && until_ms >= 0 && now_ms() >= until_ms)
            return false;
    }
}

/* As Guest.wait() of src/wbpf/wasm/guest.py: the guest's end, or a signal or the end of its time and what it
 * does within a second's grace. */
static bool wait_for_end(struct launch *launch, int *signal)
{
    uint64_t duration_ns = launch->arguments.duration_ns;
    int64_t until_ms = duration_ns ? now_ms() + (int64_t)((duration_ns + 999999) / 1000000) : -1;
    int again = 0;
    if (wait_for(launch, launch->over_fd, until_ms, signal))
        return true;
    wbpf_guest_interrupt(launch->guest);
    if (wait_for(launch, launch->over_fd, now_ms() + GRACE_MS, &again))
        return true;
    if (again)
        *signal = again;
    wbpf_guest_stop(launch->guest);
    return wait_for(launch, launch->over_fd, now_ms() + GRACE_MS, &again);
}

static void *run_guest(void *data)
{
    struct launch *launch = data;
    const uint64_t one = 1;
    const struct sigaction ignore = {.sa_handler = SIG_IGN}; /* a write fails then */
    sigaction(SIGPIPE, &ignore, NULL);
    wbpf_guest_run(launch->guest, &launch->end);
    return write(launch->over_fd, &one, sizeof one) == sizeof one ? NULL : data;
}

/* Everything that was emitted is printed before the end; another signal cuts it short. */
static int end_printer(struct launch *launch)
{
    int signal = 0;
    pid_t process = launch->printer.process;
    if (!process)
        return 0;
    close(launch->printer.fd);
    int fd = (int)syscall(SYS_pidfd_open, process, 0);
    if (fd >= 0 && !wait_for(launch, fd, -1, &signal))
        kill(process, SIGKILL);
    int status = python_wait(process);
    return signal ? 128 + signal : status;
}

/* ---- the end ---- */

/* Python tells why, and gives the status; in place of this process. */
static int tell(struct launch *launch, const wbpf_host_failure *failure, const char *function,
                const char *function_why)
{
    char cause[12], status[12];
    snprintf(cause, sizeof cause, "%d", (int)launch->end.cause);
    snprintf(status, sizeof status, "%d", launch->end.exit_status);
    const char *told = wbpf_guest_has_told(launch->guest) ? "told" : "";
    const char *texts[] = {cause,        status, launch->end.why, launch->end.trace, function ? function : "",
                           function_why, told};
    int fd = write_texts(texts, sizeof texts / sizeof texts[0], failure);
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
    if (fd >= 0)
        python_exec_launched("end", fd, launch->printer.module_fd, launch->printer.words);
    return 127;
}

static int conclude(struct launch *launch, bool is_over, int signal)
{
    bool is_broken = launch->printer.is_broken;
    if (!is_over) { /* it is in a call that can't be ended: leave without it */
        if (launch->printer.process)
            kill(launch->printer.process, SIGKILL);
        _exit(signal ? 128 + signal : 1);
    }
    const wbpf_guest_end *end = &launch->end;
    const char *function_why = "", *function = wbpf_guest_failed(launch->guest, &function_why);
    const wbpf_host_failure *failure = wbpf_host_failed(launch->host);
    bool has_failed = end->cause != WBPF_GUEST_EXITED && end->cause != WBPF_GUEST_STOPPED;
    bool has_told = wbpf_guest_has_told(launch->guest) && !launch->arguments.verbose;
    bool gave_up = end->exit_status && (failure || function) && !has_told;
    if (!is_broken && !signal && (has_failed || gave_up)) {
        /* Its programs go with this process's descriptors. */
        int status = end_printer(launch);
        return status ? status : tell(launch, failure, function, function_why);
    }
    int status = end->cause == WBPF_GUEST_EXITED ? end->exit_status : 0;
    wbpf_host_destroy(launch->host);
    wbpf_guest_destroy(launch->guest);
    int printed = end_printer(launch);
    if (signal)
        return 128 + signal;
    if (is_broken || printed) /* who read the events has gone: a quiet end */
        return printed;
    if (status)
        fprintf(stderr, "%s ended with status %d\n", launch->name, status);
    return status;
}

int run(char **words, int count)
{
    struct launch *launch = calloc(1, sizeof *launch); /* the process's, to its end */
    pthread_t thread;
    int signal = 0;
    if (!launch)
        return -1;
    launch->printer.words = words;
    if (read_module(launch, words, count) != 0 || make_host(launch) != 0 || make_guest(launch) != 0)
        return -1;
    launch->over_fd = eventfd(0, EFD_CLOEXEC);
    if (launch->over_fd < 0)
        return -1;
    sigset_t before;
    launch->signal_fd = take_signals(&before);
    if (pthread_create(&thread, NULL, run_guest, launch) != 0) {
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return -1;
    }
    bool is_over = wait_for_end(launch, &signal);
    if (is_over)
        pthread_join(thread, NULL);
    return conclude(launch, is_over, signal);
}
