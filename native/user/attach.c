/* The thread that attaches programs in this process when another process asks for it. */
#include "user/attach.h"
#include "maps/maps.h"
#include "user/functions.h"
#include "user/helpers.h"
#include "user/links.h"
#include "user/sites.h"
#include "user/syscalls.h"
#include "user/tracer.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS_MOST 64
#define FDS_LOW          200 /* lower ones are the application's: shells use them by number */

/* One connection, and what it attached. */
struct client {
    int fd;
    uint32_t kind; /* 0: nothing is attached */
    union {
        wbpf_site_link *site;
        wbpf_function_link *function;
        wbpf_syscall_link *syscall;
    } link;
    wbpf_user_program *program;
    uint32_t map_count;
    wbpf_user_map *maps[WBPF_ATTACH_MAPS_MOST];
};

static struct client *clients[CONNECTIONS_MOST];
static int listening = -1;
static char path[4096];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static int out_of_the_way(int fd)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FDS_LOW);
    if (high < 0)
        return fd;
    close(fd);
    return high;
}

/* ---- a program ---- */

static int refuse(struct wbpf_attach_reply *reply, int error, const char *why)
{
    snprintf(reply->why, sizeof reply->why, "%s", why);
    return reply->error = error;
}

/* What can neither be shrunk nor be something that reading waits for. */
static int validate_memory(int fd, int seals, uint64_t least, struct wbpf_attach_reply *reply)
{
    struct stat st;
    int found = fcntl(fd, F_GET_SEALS);
    if (found < 0 || (found & seals) != seals)
        return refuse(reply, -EPERM, "a descriptor is no memfd, or not sealed");
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < least)
        return refuse(reply, -EINVAL, "a memfd is shorter than it should be");
    return 0;
}

static int open_map(struct client *client, int given, struct wbpf_attach_reply *reply)
{
    int error = validate_memory(given, F_SEAL_SHRINK, 0, reply);
    if (error)
        return error;
    int fd = fcntl(given, F_DUPFD_CLOEXEC, FDS_LOW);
    error = fd < 0 ? -errno : wbpf_user_map_open(fd, &client->maps[client->map_count]);
    if (error && fd >= 0)
        close(fd);
    client->map_count += error == 0;
    return error ? refuse(reply, error, "a map can't be opened") : 0;
}

static int load_program(struct client *client, const unsigned char *memory, uint64_t bytes, const int *fds,
                        uint32_t fd_count, struct wbpf_attach_reply *reply)
{
    struct wbpf_attach_program head;
    wbpf_helper helpers[WBPF_ATTACH_HELPERS];
    uint64_t maps[WBPF_ATTACH_MAPS_MOST], values[WBPF_ATTACH_MAPS_MOST], entries[WBPF_ATTACH_MAPS_MOST];

    memcpy(&head, memory, sizeof head);
    if (head.magic != WBPF_ATTACH_MAGIC || head.helper_count > WBPF_ATTACH_HELPERS ||
        head.map_count > WBPF_ATTACH_MAPS_MOST || head.map_count != fd_count - 1 || head.checked > 1 ||
        head.code_bytes > WBPF_ATTACH_CODE_MOST || head.entry >= head.code_bytes)
        return refuse(reply, -EINVAL, "it is no program for this version of libwbpf");
    const unsigned char *numbers = memory + sizeof head;
    const unsigned char *code = numbers + head.helper_count * sizeof(int32_t);
    if ((uint64_t)(code - memory) > bytes || head.code_bytes > bytes - (uint64_t)(code - memory))
        return refuse(reply, -EINVAL, "the program is cut off");
    for (uint32_t i = 0; i < head.helper_count; i++) {
        int32_t number;
        memcpy(&number, numbers + i * sizeof number, sizeof number);
        if (!(helpers[i] = wbpf_user_helper(number)))
            return refuse(reply, -EINVAL, "it calls a helper that there is not in user space");
    }
    for (uint32_t i = 0; i < head.map_count; i++) {
        wbpf_user_map_spec facts;
        uint32_t stride;
        int error = open_map(client, fds[1 + i], reply);
        if (error)
            return error;
        wbpf_user_map_facts(client->maps[i], &facts);
        maps[i] = (uint64_t)(uintptr_t)client->maps[i];
        values[i] = (uint64_t)(uintptr_t)wbpf_user_map_row(client->maps[i], &stride);
        entries[i] = wbpf_user_map_entries(client->maps[i]);
    }
    wbpf_user_spec spec = {.code = code,
                           .bytes = head.code_bytes,
                           .entry = head.entry,
                           .helpers = helpers,
                           .helper_count = head.helper_count,
                           .maps = maps,
                           .values = values,
                           .entries = entries,
                           .map_count = head.map_count,
                           .checked = head.checked,
                           .kind = head.kind};
    int error = wbpf_user_program_create(&spec, &client->program);
    return error ? refuse(reply, error, "its code can't be mapped") : 0;
}

static int link_program(struct client *client, const struct wbpf_attach_request *request,
                        struct wbpf_attach_reply *reply)
{
    int error;
    switch (request->kind) {
    case WBPF_ATTACH_SITE:
        error = wbpf_site_link_create(request->site, client->program, request->cookie, &client->link.site,
                                      &reply->sites);
        return error ? refuse(reply, error, error == -ENOENT ? "it has no such site" : strerror(-error)) : 0;
    case WBPF_ATTACH_FUNCTION_ENTRY:
    case WBPF_ATTACH_FUNCTION_RETURN:
        error = wbpf_function_link_create(request, client->program, &client->link.function, reply);
        if (error && !reply->why[0])
            refuse(reply, error, strerror(-error));
        return reply->error = error;
    case WBPF_ATTACH_SYSCALL_ENTRY:
    case WBPF_ATTACH_SYSCALL_EXIT:
        error = wbpf_syscall_link_create(request->kind, request->where, client->program, request->cookie,
                                         &client->link.syscall);
        reply->sites = error == 0;
        if (error == -EOPNOTSUPP)
            return refuse(reply, error, "the kernel has no Syscall User Dispatch for its processor");
        return error ? refuse(reply, error, strerror(-error)) : 0;
    default:
        return refuse(reply, -EOPNOTSUPP, "this version of libwbpf has no such places");
    }
}

static void unlink_program(struct client *client, struct wbpf_attach_reply *reply)
{
    switch (client->kind) {
    case WBPF_ATTACH_SITE:
        wbpf_site_link_destroy(client->link.site, &reply->stopped);
        break;
    case WBPF_ATTACH_FUNCTION_ENTRY:
    case WBPF_ATTACH_FUNCTION_RETURN:
        wbpf_function_link_destroy(client->link.function, &reply->stopped);
        break;
    case WBPF_ATTACH_SYSCALL_ENTRY:
    case WBPF_ATTACH_SYSCALL_EXIT:
        wbpf_syscall_link_destroy(client->link.syscall, &reply->stopped);
        break;
    }
}

static void attach(struct client *client, const struct wbpf_attach_request *request, const int *fds,
                   uint32_t fd_count, struct wbpf_attach_reply *reply)
{
    struct stat st = {0};
    if (validate_memory(fds[0], F_SEAL_SHRINK | F_SEAL_WRITE, sizeof(struct wbpf_attach_program), reply) ||
        fstat(fds[0], &st) < 0)
        return;
    void *memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fds[0], 0);
    if (memory == MAP_FAILED) {
        refuse(reply, -errno, "the program can't be mapped");
        return;
    }
    if (load_program(client, memory, (uint64_t)st.st_size, fds, fd_count, reply) == 0 &&
        link_program(client, request, reply) == 0)
        client->kind = request->kind;
    munmap(memory, (size_t)st.st_size);
}

/* ---- listing ---- */

struct listing {
    int fd;
    uint32_t sites;
};

static void list_site(const struct wbpf_site *site, void *context)
{
    struct listing *listing = context;
    listing->sites += dprintf(listing->fd, "%s\n", site->name) > 0;
}

/* Into a memfd, at which nobody can make this thread wait. */
static void list_sites(int fd, struct wbpf_attach_reply *reply)
{
    struct listing listing = {.fd = fd};
    if (validate_memory(fd, 0, 0, reply))
        return;
    wbpf_for_each_site(list_site, &listing);
    reply->sites = listing.sites;
}

/* ---- connections ---- */

static void finish(struct client *client, bool answer)
{
    struct wbpf_attach_reply reply = {0};
    unlink_program(client, &reply);
    wbpf_user_program_destroy(client->program);
    for (uint32_t i = 0; i < client->map_count; i++)
        wbpf_user_map_close(client->maps[i]);
    reply.missed = wbpf_links_missed() + wbpf_syscalls_missed();
    if (answer)
        send(client->fd, &reply, sizeof reply, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(client->fd);
    free(client);
}

/* False: the connection is done with. */
static bool serve(struct client *client)
{
    struct wbpf_attach_request request;
    struct wbpf_attach_reply reply = {0};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE((1 + WBPF_ATTACH_MAPS_MOST) * sizeof(int))];
    } control;
    struct iovec part = {&request, sizeof request};
    int fds[1 + WBPF_ATTACH_MAPS_MOST];
    /* Without the padding of `control`: one more would fit there. */
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_LEN(sizeof fds)};
    uint32_t fd_count = 0;

    ssize_t bytes = recvmsg(client->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (bytes < 0)
        return errno == EAGAIN || errno == EINTR;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        fd_count = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(c), fd_count * sizeof(int));
    }
    bool attached = client->kind != 0;
    if (bytes != sizeof request || request.magic != WBPF_ATTACH_MAGIC || !fd_count || attached ||
        message.msg_flags & MSG_CTRUNC || !memchr(request.site, 0, sizeof request.site))
        refuse(&reply, -EINVAL, "it is no request of this version of wBPF");
    else if (request.kind == WBPF_ATTACH_LIST)
        list_sites(fds[0], &reply);
    else
        attach(client, &request, fds, fd_count, &reply);
    for (uint32_t i = 0; i < fd_count; i++)
        close(fds[i]);
    if (bytes && !attached)
        send(client->fd, &reply, sizeof reply, MSG_NOSIGNAL | MSG_DONTWAIT);
    return reply.error == 0;
}

/* This user and root could change the process's memory anyway. */
static void welcome(int fd)
{
    struct ucred peer;
    socklen_t bytes = sizeof peer;
    uint32_t i = 0;
    while (i < CONNECTIONS_MOST && clients[i])
        i++;
    struct client *client = NULL;
    if (i < CONNECTIONS_MOST && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
        (peer.uid == geteuid() || peer.uid == 0))
        client = calloc(1, sizeof *client);
    if (!client) {
        struct wbpf_attach_reply reply = {0};
        if (i == CONNECTIONS_MOST)
            refuse(&reply, -EBUSY, "too many programs are attached to this process");
        else
            refuse(&reply, -EACCES, "only the process's user and root may attach");
        send(fd, &reply, sizeof reply, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
        return;
    }
    client->fd = fd;
    clients[i] = client;
}

static void *listen_for_ever(void *unused)
{
    (void)unused;
    for (;;) {
        struct pollfd waited[CONNECTIONS_MOST + 1] = {{.fd = listening, .events = POLLIN}};
        for (uint32_t i = 0; i < CONNECTIONS_MOST; i++)
            waited[i + 1] = (struct pollfd){.fd = clients[i] ? clients[i]->fd : -1, .events = POLLIN};
        if (poll(waited, CONNECTIONS_MOST + 1, -1) < 0)
            continue;
        for (uint32_t i = 0; i < CONNECTIONS_MOST; i++) {
            if (!clients[i] || !waited[i + 1].revents || serve(clients[i]))
                continue;
            finish(clients[i], true);
            clients[i] = NULL;
        }
        int fd = waited[0].revents ? accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
        if (fd >= 0)
            welcome(out_of_the_way(fd));
    }
    return NULL;
}

/* ---- opening ---- */

/* Through /proc, for a socket's address has room for 107 bytes only. */
static struct sockaddr_un address_in(int folder, const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%.32s", folder, name);
    return address;
}

/* Under its name only when somebody listens: where nobody does, it is of a process that is no more. */
static int bind_in(int folder, int fd)
{
    char name[32], begun[32];
    snprintf(name, sizeof name, "probes.%d", getpid());
    snprintf(begun, sizeof begun, "begun.%d", getpid());
    struct sockaddr_un address = address_in(folder, begun);
    unlinkat(folder, begun, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0 ||
        renameat(folder, begun, folder, name) < 0)
        return -errno;
    size_t length = strlen(path);
    snprintf(path + length, sizeof path - length, "/probes.%d", getpid());
    return 0;
}

static bool is_abandoned(int folder, const char *name)
{
    int pid, end = 0;
    if (sscanf(name, "probes.%d%n", &pid, &end) != 1 || name[end] || kill(pid, 0) == 0 || errno != ESRCH)
        return false;
    struct sockaddr_un address = address_in(folder, name); /* of another pid namespace, perhaps */
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool is =
        fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return is;
}

/* Processes that were killed have left their sockets. */
static void sweep(int folder)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (is_abandoned(folder, entry->d_name))
            unlinkat(folder, entry->d_name, 0);
    closedir(entries);
}

static int start_thread(void)
{
    sigset_t all, before;
    pthread_t thread;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = -pthread_create(&thread, &attributes, listen_for_ever, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static int open_socket(bool in_child)
{
    int folder = wbpf_probes_folder(path, sizeof path);
    if (folder < 0)
        return folder;
    int fd = out_of_the_way(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    int error = fd < 0 ? -errno : bind_in(folder, fd);
    if (!in_child)
        sweep(folder);
    close(folder);
    if (!error) {
        listening = fd;
        error = start_thread();
    }
    if (error && fd >= 0) {
        close(fd);
        listening = -1;
    }
    return error;
}

/* A child has none of the parent's threads: what was attached there is not here, and it listens itself. */
static void begin_in_child(void)
{
    if (listening < 0)
        return;
    close(listening);
    listening = -1;
    for (uint32_t i = 0; i < CONNECTIONS_MOST; i++) {
        if (clients[i])
            close(clients[i]->fd);
        clients[i] = NULL;
    }
    pthread_mutex_init(&mutex, NULL);
    wbpf_links_forget();
    wbpf_sites_forget();
    wbpf_functions_forget();
    wbpf_syscalls_forget();
    if (open_socket(true) == 0) {
        wbpf_tracer_wait(true);
        wbpf_syscalls_begin();
    }
}

int wbpf_probes_listen(void)
{
    static bool prepared;
    pthread_mutex_lock(&mutex);
    int error = listening < 0 ? open_socket(false) : 0;
    if (!error && !prepared)
        prepared = pthread_atfork(NULL, NULL, begin_in_child) == 0;
    pthread_mutex_unlock(&mutex);
    return error;
}

__attribute__((destructor)) static void remove_socket(void)
{
    if (listening >= 0)
        unlink(path);
}
