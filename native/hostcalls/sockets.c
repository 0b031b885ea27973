/* Sockets of guests: where they may connect to, sending and receiving. The descriptors never leave this file.
 */
#include "guest.h"
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HINT "add \"%s\" to capabilities.network in wbpf.toml and build again"

/* ---- time ---- */

/* No call takes longer than the guest may compute. */
static uint64_t end_of(const wbpf_guest *guest, int64_t timeout_ms)
{
    uint64_t most_ns = guest->deadline_ns ? guest->deadline_ns : UINT64_MAX;
    uint64_t wanted_ns = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000;
    uint64_t now_ns = monotonic_ns(), span_ns = wanted_ns < most_ns ? wanted_ns : most_ns;
    return span_ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + span_ns;
}

static int left_ms(uint64_t end_ns)
{
    uint64_t now_ns = monotonic_ns(), left = end_ns > now_ns ? (end_ns - now_ns + 999999) / 1000000 : 0;
    return end_ns == UINT64_MAX ? -1 : left < INT_MAX ? (int)left : INT_MAX;
}

int guest_wait_for_fd(wbpf_guest *guest, int fd, uint32_t events, uint64_t end_ns)
{
    struct pollfd now = {.fd = fd, .events = (short)events};
    wbpf_wait_set *set;
    uint32_t ready;
    if (poll(&now, 1, 0) > 0)
        return 0;
    if (monotonic_ns() >= end_ns)
        return -EAGAIN;
    int found = 0, error = wbpf_wait_set_create(&set);
    if (error)
        return error;
    bool tells = guest->tells_waiting; /* of waiting for records */
    guest->tells_waiting = false;
    error = wbpf_wait_set_add_fd(set, fd, events, 0);
    while (!error && !found && monotonic_ns() < end_ns && !atomic_load(&guest->is_stopped))
        found = guest_wait_on(guest, set, left_ms(end_ns), &ready, 1);
    guest->tells_waiting = tells;
    wbpf_wait_set_destroy(set);
    return error ? error : found > 0 ? 0 : found == 0 ? -EAGAIN : found;
}

/* ---- what it may connect to ---- */

int guest_grant_addresses(wbpf_guest *guest, const char *const *patterns, uint32_t count)
{
    guest->addresses = calloc(count + 1, sizeof *guest->addresses);
    if (!guest->addresses)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        struct address *next = &guest->addresses[guest->address_count];
        if (address_parse(patterns[i], strlen(patterns[i]), true, next) == 0)
            guest->address_count++;
    }
    return 0;
}

static bool is_granted(const wbpf_guest *guest, const struct address *address)
{
    for (uint32_t i = 0; i < guest->address_count; i++)
        if (address_matches(address, &guest->addresses[i]))
            return true;
    return false;
}

static int refuse(wbpf_guest *guest, const struct address *address)
{
    char text[ADDRESS_BYTES];
    address_write(address, text);
    wbpf_guest_refuse(guest, false, "%s is not granted: " HINT, text, text);
    return -EPERM;
}

/* A number that means this host or its links to everybody. */
static bool is_near(const struct sockaddr *place, bool *is_loopback)
{
    if (place->sa_family == AF_INET) {
        uint32_t number = ntohl(((const struct sockaddr_in *)(const void *)place)->sin_addr.s_addr);
        *is_loopback = number >> 24 == 127;
        return *is_loopback || number >> 24 == 0 || number >> 16 == 0xa9fe;
    }
    const struct in6_addr *number = &((const struct sockaddr_in6 *)(const void *)place)->sin6_addr;
    *is_loopback = IN6_IS_ADDR_LOOPBACK(number);
    return *is_loopback || IN6_IS_ADDR_UNSPECIFIED(number) || IN6_IS_ADDR_LINKLOCAL(number);
}

static bool is_localhost(const char *name)
{
    size_t bytes = strlen(name), tail = strlen(".localhost");
    return strcmp(name, "localhost") == 0 || (bytes > tail && strcmp(name + bytes - tail, ".localhost") == 0);
}

/* Who has a granted name may point it at this host, whose services trust it, or at a cloud's metadata
 * (DNS rebinding): such numbers have to be granted as numbers; but `localhost` is this host (RFC 6761). */
static int check_place(wbpf_guest *guest, const struct address *address, const struct addrinfo *place)
{
    char number[INET6_ADDRSTRLEN + 2], text[ADDRESS_BYTES], asked[ADDRESS_BYTES];
    struct address resolved;
    bool is_loopback, is_ip6 = place->ai_family == AF_INET6;
    const struct in6_addr *ip6 = &((const struct sockaddr_in6 *)(const void *)place->ai_addr)->sin6_addr;
    bool is_mapped = is_ip6 && IN6_IS_ADDR_V4MAPPED(ip6);
    if (address->is_number || (!is_mapped && (!is_near(place->ai_addr, &is_loopback) ||
                                              (is_loopback && is_localhost(address->where)))))
        return 0;
    if (getnameinfo(place->ai_addr, place->ai_addrlen, number, sizeof number, NULL, 0, NI_NUMERICHOST) != 0)
        return -EPERM;
    number[strcspn(number, "%")] = 0;
    snprintf(text, sizeof text, is_ip6 ? "%s:[%s]:%u" : "%s:%s:%u", address->kind == 't' ? "tcp" : "udp",
             number, address->port);
    if (address_parse(text, strlen(text), false, &resolved) == 0 && is_granted(guest, &resolved))
        return 0;
    address_write(&resolved, text);
    address_write(address, asked);
    wbpf_guest_refuse(guest, false, "%s is %s now, which is not granted: " HINT, asked, text, text);
    return -EPERM;
}

/* ---- connecting ---- */

/* The descriptor, or what went wrong. */
static int connect_one(wbpf_guest *guest, const struct sockaddr *to, socklen_t bytes, int type,
                       uint64_t end_ns)
{
    int fd = socket(to->sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error = 0;
    if (fd < 0)
        return -errno;
    if (connect(fd, to, bytes) != 0)
        error = -errno;
    if (error == -EINPROGRESS) {
        socklen_t size = sizeof error;
        error = guest_wait_for_fd(guest, fd, EPOLLOUT, end_ns);
        if (error == -EAGAIN)
            error = -ETIMEDOUT;
        else if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0)
            error = -error;
    }
    if (!error)
        return fd;
    close(fd);
    return error;
}

/* Each of its addresses in turn gets its share of the time. */
static int connect_host(wbpf_guest *guest, const struct address *address, uint64_t end_ns)
{
    struct lookup *lookup;
    int fd = lookup_run(guest, address, end_ns, &lookup);
    if (fd < 0)
        return fd;
    uint32_t left = 0;
    for (const struct addrinfo *one = lookup_found(lookup); one; one = one->ai_next)
        left++;
    for (const struct addrinfo *one = lookup_found(lookup); one; one = one->ai_next, left--) {
        uint64_t now_ns = monotonic_ns();
        uint64_t share_ns = end_ns > now_ns ? (end_ns - now_ns) / left : 0;
        fd = check_place(guest, address, one);
        if (fd == 0)
            fd = connect_one(guest, one->ai_addr, one->ai_addrlen, one->ai_socktype,
                             end_ns == UINT64_MAX ? end_ns : now_ns + share_ns);
        if (fd >= 0 || fd == -EINTR)
            break;
    }
    lookup_drop(lookup);
    return fd;
}

static int connect_path(wbpf_guest *guest, const char *path, bool *is_datagram)
{
    struct sockaddr_un place = {.sun_family = AF_UNIX};
    memcpy(place.sun_path, path, strlen(path) + 1);
    int fd = connect_one(guest, (const struct sockaddr *)&place, sizeof place, SOCK_STREAM, 0);
    *is_datagram = fd == -EPROTOTYPE;
    if (*is_datagram)
        fd = connect_one(guest, (const struct sockaddr *)&place, sizeof place, SOCK_DGRAM, 0);
    return fd;
}

int64_t native_socket_connect(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    struct address address;
    char text[ADDRESS_BYTES];
    uint64_t end_ns = end_of(guest, arguments[1].number);
    if (address_parse((const char *)arguments[0].data, arguments[0].bytes, false, &address) != 0) {
        wbpf_guest_refuse(guest, false, "an address is tcp:HOST:PORT, udp:HOST:PORT or unix:/PATH");
        return -EINVAL;
    }
    if (!is_granted(guest, &address))
        return refuse(guest, &address);
    if (guest->socket_count == ABI_MAX_SOCKETS) {
        wbpf_guest_refuse(guest, false, "%d sockets are open", ABI_MAX_SOCKETS);
        return -EMFILE;
    }
    bool is_datagram = address.kind == 'u';
    int fd = address.kind == 'x' ? connect_path(guest, address.where, &is_datagram)
                                 : connect_host(guest, &address, end_ns);
    if (fd < 0 && !guest->has_spoken) {
        address_write(&address, text);
        wbpf_guest_refuse(guest, false, "%s: %s", text, strerror(-fd));
    }
    if (fd < 0)
        return fd;
    int32_t handle = wbpf_guest_add(guest, 'k', 0);
    if (handle < 0) {
        close(fd);
        return handle;
    }
    struct handle *entry = guest_find(guest, handle, 'k');
    entry->fd = fd;
    entry->is_datagram = is_datagram;
    guest->socket_count++;
    return handle;
}

void guest_close_socket(wbpf_guest *guest, struct handle *entry)
{
    if (entry->is_watched)
        wbpf_wait_set_remove_fd(guest->waiting, entry->fd);
    close(entry->fd);
    guest->socket_count--;
}

int64_t native_socket_close(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    wbpf_guest_release(guest, (int32_t)arguments[0].number);
    return 0;
}

/* ---- sending and receiving ---- */

static struct handle *socket_of(wbpf_guest *guest, const wbpf_guest_argument *argument)
{
    return guest_find(guest, (int32_t)argument->number, 'k');
}

int64_t native_socket_send(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    const struct handle *entry = socket_of(guest, &arguments[0]);
    uint64_t end_ns = end_of(guest, arguments[2].number);
    uint32_t bytes = arguments[1].bytes < ABI_SOCKET_BYTES ? arguments[1].bytes : ABI_SOCKET_BYTES;
    int64_t done = 0;
    if (entry->is_datagram && bytes < arguments[1].bytes)
        return -EMSGSIZE;
    for (;;) {
        ssize_t now = send(entry->fd, arguments[1].data + done, bytes - (size_t)done, MSG_NOSIGNAL);
        int error = now < 0 ? -errno : 0;
        done += now > 0 ? now : 0;
        if (!error && (done == bytes || entry->is_datagram))
            return done;
        if (error == -EAGAIN)
            error = guest_wait_for_fd(guest, entry->fd, EPOLLOUT, end_ns);
        if (error)
            return done ? done : error;
    }
}

/* The next datagram stays until there is room for it. */
static int check_room(wbpf_guest *guest, int fd, uint32_t room)
{
    ssize_t bytes = recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC);
    if (bytes < 0 || bytes <= room)
        return bytes < 0 ? -errno : 0;
    wbpf_guest_refuse(guest, false, "the next datagram has %zd bytes, the buffer %u", bytes, room);
    return -EMSGSIZE;
}

int64_t native_socket_receive(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    const struct handle *entry = socket_of(guest, &arguments[0]);
    uint64_t end_ns = end_of(guest, arguments[2].number);
    uint32_t room = arguments[1].bytes < ABI_SOCKET_BYTES ? arguments[1].bytes : ABI_SOCKET_BYTES;
    if (room == 0)
        return -EINVAL;
    for (;;) {
        ssize_t bytes = entry->is_datagram ? check_room(guest, entry->fd, room) : 0;
        if (bytes == 0 && (bytes = recv(entry->fd, arguments[1].data, room, 0)) < 0)
            bytes = -errno;
        if (bytes > 0)
            guest_resume(guest); /* it is served */
        if (bytes != -EAGAIN)
            return bytes;
        int error = guest_wait_for_fd(guest, entry->fd, EPOLLIN, end_ns);
        if (error)
            return error;
    }
}

int64_t native_socket_watch(wbpf_guest *guest, const wbpf_guest_argument *arguments)
{
    struct handle *entry = socket_of(guest, &arguments[0]);
    bool on = arguments[1].number != 0;
    if (entry->is_watched == on)
        return 0;
    int error = guest->waiting ? 0 : wbpf_wait_set_create(&guest->waiting);
    if (!error && on)
        error = wbpf_wait_set_add_fd(guest->waiting, entry->fd, EPOLLIN, (uint32_t)arguments[0].number);
    else if (!error)
        wbpf_wait_set_remove_fd(guest->waiting, entry->fd);
    if (!error)
        entry->is_watched = on;
    return error;
}
