/* Addresses as guests and manifests write them. A pattern stands for a host by its name, or for numbers by a
 * number, never for one by the other: what a name resolves to is another's to decide. */
#include "guest.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

/* Up to `end`, 1 to 65535; or `*`, which is 0. */
static bool read_port(const char *at, const char *end, bool is_pattern, uint16_t *port)
{
    uint32_t number = 0;
    if (is_pattern && end - at == 1 && *at == '*') {
        *port = 0;
        return true;
    }
    if (at == end || end - at > 5)
        return false;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        number = number * 10 + (uint32_t)(*at - '0');
    }
    *port = (uint16_t)number;
    return number > 0 && number < 65536;
}

static bool read_ip6(struct address *out)
{
    struct in6_addr number;
    if (inet_pton(AF_INET6, out->where, &number) != 1)
        return false;
    out->is_number = true;
    if (IN6_IS_ADDR_V4MAPPED(&number))
        return inet_ntop(AF_INET, number.s6_addr + 12, out->where, sizeof out->where);
    return inet_ntop(AF_INET6, &number, out->where, sizeof out->where);
}

static bool read_host(const char *at, const char *end, bool is_pattern, struct address *out)
{
    struct in_addr number;
    bool in_brackets = end - at > 2 && *at == '[' && end[-1] == ']';
    size_t bytes = (size_t)(end - at) - 2 * in_brackets;
    if (bytes > 253 || bytes == 0 || memchr(at, 0, (size_t)(end - at)))
        return false;
    memcpy(out->where, at + in_brackets, bytes);
    out->where[bytes] = 0;
    if (in_brackets)
        return read_ip6(out);
    if (is_pattern && strcmp(out->where, "*") == 0)
        return true;
    const char *name = out->where + (is_pattern && strncmp(out->where, "*.", 2) == 0 ? 2 : 0);
    if (!isalnum((unsigned char)*name))
        return false;
    for (char *one = out->where + (name - out->where); *one; one++) {
        if (!isascii(*one) || (!isalnum((unsigned char)*one) && !strchr("-._", *one)))
            return false;
        *one = (char)tolower((unsigned char)*one);
    }
    out->is_number = inet_pton(AF_INET, out->where, &number) == 1;
    return true;
}

static bool read_path(const char *at, size_t bytes, bool is_pattern, struct address *out)
{
    struct sockaddr_un place;
    if (bytes < 2 || bytes >= sizeof place.sun_path || *at != '/' || memchr(at, 0, bytes))
        return false;
    memcpy(out->where, at, bytes);
    out->where[bytes] = 0;
    const char *star = strchr(out->where, '*');
    return !is_pattern || !star || (star[-1] == '/' && !star[1]);
}

int address_parse(const char *text, size_t bytes, bool is_pattern, struct address *out)
{
    static const char *const schemes[] = {"tcp:", "udp:", "unix:"};
    *out = (struct address){0};
    for (int i = 0; i < 3; i++) {
        size_t scheme = strlen(schemes[i]);
        if (bytes <= scheme || memcmp(text, schemes[i], scheme) != 0)
            continue;
        const char *at = text + scheme, *end = text + bytes;
        out->kind = "tux"[i];
        if (i == 2)
            return read_path(at, bytes - scheme, is_pattern, out) ? 0 : -EINVAL;
        const char *colon = memrchr(at, ':', bytes - scheme);
        bool good = colon && read_host(at, colon, is_pattern, out) &&
                    read_port(colon + 1, end, is_pattern, &out->port);
        return good ? 0 : -EINVAL;
    }
    return -EINVAL;
}

bool wbpf_is_address_pattern(const char *text)
{
    struct address pattern;
    return address_parse(text, strlen(text), true, &pattern) == 0;
}

void address_write(const struct address *address, char text[ADDRESS_BYTES])
{
    bool in_brackets = address->is_number && strchr(address->where, ':');
    if (address->kind == 'x')
        snprintf(text, ADDRESS_BYTES, "unix:%s", address->where);
    else
        snprintf(text, ADDRESS_BYTES,
                 in_brackets ? "%s:[%s]:" : "%s:%s:", address->kind == 't' ? "tcp" : "udp", address->where);
    size_t used = strlen(text);
    if (address->kind != 'x' && address->port)
        snprintf(text + used, ADDRESS_BYTES - used, "%u", address->port);
    else if (address->kind != 'x')
        snprintf(text + used, ADDRESS_BYTES - used, "*");
}

static bool ends_with(const char *text, const char *end)
{
    size_t bytes = strlen(text), tail = strlen(end);
    return bytes > tail && strcmp(text + bytes - tail, end) == 0;
}

bool address_matches(const struct address *address, const struct address *pattern)
{
    const char *star = strchr(pattern->where, '*');
    if (address->kind != pattern->kind || (pattern->port && pattern->port != address->port))
        return false;
    if (!star)
        return address->is_number == pattern->is_number && strcmp(address->where, pattern->where) == 0;
    if (address->kind == 'x') {
        size_t folder = (size_t)(star - pattern->where);
        return strncmp(address->where, pattern->where, folder) == 0 && address->where[folder] &&
               !strchr(address->where + folder, '/');
    }
    return !star[1] || (!address->is_number && ends_with(address->where, star + 1));
}
