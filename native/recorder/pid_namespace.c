/* Pids of processes in other pid namespaces: a slot holds the pid that its process knows of itself. */
#include "internal.h"
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

uint32_t pid_namespace_of(const char *link)
{
    char text[64];
    ssize_t n = readlink(link, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    char *digits = strchr(text, '[');
    return digits ? (uint32_t)strtoul(digits + 1, NULL, 10) : 0;
}

/* What a process calls itself: the last of its pids, which go from our namespace inwards. */
static uint32_t innermost_pid(int pid)
{
    char path[64], line[256];
    uint32_t last = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "NSpid:", 6) == 0) {
            char *at = line + 6, *end;
            for (unsigned long one = strtoul(at, &end, 10); end != at; one = strtoul(at = end, &end, 10))
                last = (uint32_t)one;
            break;
        }
    if (file)
        fclose(file);
    return last;
}

int process_pid_here(const struct wbpf_process_slot *slot)
{
    uint32_t pid = load_relaxed(&slot->pid), wanted = slot->pid_namespace;
    if (!pid || !wanted || wanted == pid_namespace_of("/proc/self/ns/pid"))
        return (int)pid;
    DIR *processes = opendir("/proc");
    int found = 0;
    for (struct dirent *entry; processes && !found && (entry = readdir(processes));) {
        char link[32];
        int candidate = atoi(entry->d_name);
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(link, sizeof link, "/proc/%d/ns/pid", candidate);
        if (pid_namespace_of(link) == wanted && innermost_pid(candidate) == pid)
            found = candidate;
    }
    if (processes)
        closedir(processes);
    return found;
}
