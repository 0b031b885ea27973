/* The folder of compiled modules: src/wbpf/wasm/cache.py. What is in it is run as it is, so nobody else may
 * be able to write to it. */
#include "launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DIGEST_BYTES 24
#define MOST_BYTES   (256u << 20)

static bool is_ours(const struct stat *status)
{
    return status->st_uid == geteuid() && !(status->st_mode & (S_IWGRP | S_IWOTH));
}

static int find_folder(char *out, size_t room)
{
    const char *own = getenv("WBPF_CACHE_DIR"), *all = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int bytes;
    if (own && *own)
        bytes = snprintf(out, room, "%s/wasm", own);
    else if (all && *all)
        bytes = snprintf(out, room, "%s/wbpf/wasm", all);
    else if (home && *home)
        bytes = snprintf(out, room, "%s/.cache/wbpf/wasm", home);
    else
        return -1;
    return bytes < (int)room ? 0 : -1;
}

static int path_of(struct blake2b hash, const char *folder, const char *key, const char *ending,
                   char out[4096])
{
    uint8_t digest[DIGEST_BYTES];
    char hex[2 * DIGEST_BYTES + 1];
    blake2b_update(&hash, key, strlen(key));
    blake2b_final(&hash, digest);
    for (int i = 0; i < DIGEST_BYTES; i++)
        snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
    return snprintf(out, 4096, "%s/%s.%s", folder, hex, ending) < 4096 ? 0 : -1;
}

int cache_find(struct cached *cached, const void *wasm, size_t bytes)
{
    char folder[4096], key[256];
    struct stat status;
    struct utsname machine;
    struct blake2b hash;
    if (find_folder(folder, sizeof folder) != 0 || uname(&machine) != 0)
        return -1;
    if (lstat(folder, &status) != 0 || !S_ISDIR(status.st_mode) || !is_ours(&status))
        return -1;
    blake2b_init(&hash, DIGEST_BYTES);
    blake2b_update(&hash, wasm, bytes);
    snprintf(key, sizeof key, "%s %s %s False", WBPF_VERSION, WBPF_WASMTIME_VERSION, machine.machine);
    if (path_of(hash, folder, key, "cwasm", cached->code) != 0)
        return -1;
    snprintf(key, sizeof key, "plan %s %s %s", WBPF_VERSION, WBPF_WASMTIME_VERSION, machine.machine);
    if (path_of(hash, folder, key, "plan", cached->plan) != 0)
        return -1;
    return lstat(cached->code, &status) == 0 && S_ISREG(status.st_mode) && is_ours(&status) ? 0 : -1;
}

void *read_file(int fd, size_t *bytes, bool has_to_be_ours)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > MOST_BYTES ||
        (has_to_be_ours && !is_ours(&status)))
        return NULL;
    size_t size = (size_t)status.st_size, done = 0;
    char *content = malloc(size + 1);
    while (content && done < size) {
        ssize_t now = pread(fd, content + done, size - done, (off_t)done);
        if (now <= 0) {
            free(content);
            return NULL;
        }
        done += (size_t)now;
    }
    if (content)
        content[size] = 0;
    *bytes = size;
    return content;
}
