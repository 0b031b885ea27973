/* Python of the environment that this program is installed in. */
#include "launcher.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The interpreter beside this program, also if it may not be run, which is then said; that of the version it
 * was built for, by PATH, where the commands of packages are not beside it (`pip install --user`). */
static const char *interpreter(char room[4096])
{
    static const char *const names[] = {"python" WBPF_PYTHON_VERSION, "python3", "python"};
    ssize_t bytes = readlink("/proc/self/exe", room, 4000);
    room[bytes > 0 ? bytes : 0] = 0;
    char *name = strrchr(room, '/');
    for (size_t i = 0; name && i < sizeof names / sizeof names[0]; i++) {
        strcpy(name + 1, names[i]);
        if (access(room, X_OK) == 0 || errno == EACCES)
            return room;
    }
    return names[0];
}

static int exec(char **command)
{
    execvp(command[0], command);
    const char *hint = errno == EACCES ? "make wbpf's environment of a Python that this user may run"
                                       : "install wbpf into an environment of its own";
    fprintf(stderr, "error: %s can't be started: %s\n  try: %s\n", command[0], strerror(errno), hint);
    return -1;
}

static size_t count_of(char **words)
{
    size_t count = 0;
    while (words[count])
        count++;
    return count;
}

int python_exec(char **arguments)
{
    char room[4096];
    size_t count = count_of(arguments);
    char **command = calloc(count + 6, sizeof *command);
    if (!command)
        return -1;
    command[0] = (char *)interpreter(room);
    command[1] = "-P"; /* nothing from the current directory */
    command[2] = "-m";
    command[3] = "wbpf.cli";
    memcpy(command + 4, arguments, count * sizeof *arguments);
    return exec(command);
}

struct launched {
    char interpreter[4096], fd[12], module_fd[12];
    char **command;
};

static bool prepare(struct launched *launched, const char *verb, int fd, int module_fd, char **words)
{
    size_t count = count_of(words);
    launched->command = calloc(count + 8, sizeof *launched->command);
    if (!launched->command)
        return false;
    snprintf(launched->fd, sizeof launched->fd, "%d", fd);
    snprintf(launched->module_fd, sizeof launched->module_fd, "%d", module_fd);
    char *first[] = {(char *)interpreter(launched->interpreter),
                     "-P",
                     "-m",
                     "wbpf.cli.launched",
                     (char *)verb,
                     launched->fd,
                     launched->module_fd};
    memcpy(launched->command, first, sizeof first);
    memcpy(launched->command + 7, words, count * sizeof *words);
    return true;
}

int python_exec_launched(const char *verb, int fd, int module_fd, char **words)
{
    struct launched launched;
    if (!prepare(&launched, verb, fd, module_fd, words))
        return -1;
    fcntl(fd, F_SETFD, 0);
    fcntl(module_fd, F_SETFD, 0);
    return exec(launched.command);
}

pid_t python_spawn_launched(const char *verb, int fd, int module_fd, char **words)
{
    struct launched launched;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t blocked;
    pid_t process = 0;
    if (!prepare(&launched, verb, fd, module_fd, words))
        return 0;
    /* It ends when this process does or says so; not with the terminal's other processes. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &blocked);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, fd); /* open in the other process */
    posix_spawn_file_actions_adddup2(&actions, module_fd, module_fd);
    if (posix_spawnp(&process, launched.command[0], &actions, &attributes, launched.command, environ) != 0)
        process = 0;
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    free(launched.command);
    return process;
}

int python_wait(pid_t process)
{
    int status = 0;
    while (waitpid(process, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
