/*
 * The stock service: answers "how many of ITEM?" on a loopback port. One request in a hundred waits for a lock
 * that somebody else holds for 30 ms: rare, and in no log.
 *
 *     cc stock.c -o stock $(wbpf cflags --libs)
 *     WBPF_HOST=stock ./stock 7001
 *
 * A request is one line: traceparent TAB tracestate TAB item. The answer is one line: the count.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <wbpf/trace.h>

static void wait_for_lock(unsigned requests)
{
    uint64_t waited_us = requests % 100 == 57 ? 30000 : 20;
    wbpf_scope span;
    wbpf_span_begin(&span, WBPF_NAME("lock.wait"));
    nanosleep(&(struct timespec){.tv_nsec = (long)waited_us * 1000}, NULL);
    WBPF_EVENT(WBPF_LEVEL_INFO, "lock.taken", "waited_us:u64", &waited_us, sizeof waited_us);
    wbpf_span_end(&span);
}

static int count_of(const char *item)
{
    return (int)(strlen(item) * 7 % 10);
}

static void answer(FILE *in, FILE *out)
{
    char line[1024];
    for (unsigned requests = 0; fgets(line, sizeof line, in); requests++) {
        char *traceparent = strtok(line, "\t"), *tracestate = strtok(NULL, "\t"), *item = strtok(NULL, "\n");
        wbpf_context parent;
        wbpf_scope scope;
        if (!item)
            continue;
        wbpf_extract(traceparent, tracestate, &parent);
        wbpf_begin(&scope, WBPF_NAME("stock.count"), &parent);
        wait_for_lock(requests);
        fprintf(out, "%d\n", count_of(item));
        fflush(out);
        wbpf_end(&scope);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "7001"))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (wbpf_open(NULL) != 0)
        fprintf(stderr, "not recording: %s\n", wbpf_error()); /* the service works all the same */
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 1) != 0) {
        perror("stock");
        return 1;
    }
    for (int client; (client = accept(listener, NULL, NULL)) >= 0; close(client))
        answer(fdopen(dup(client), "r"), fdopen(dup(client), "w"));
    return 0;
}
