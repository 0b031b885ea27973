/* A program in C that makes system calls inside and outside of traces. */
#include <stdio.h>
#include <unistd.h>
#include <wbpf/trace.h>

#define TRACES 10
#define CALLS  5

int main(void)
{
    char line[64];
    if (wbpf_open(NULL) != 0) {
        fprintf(stderr, "%s\n", wbpf_error());
        return 1;
    }
    puts("\"ready\"");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    for (int i = 0; i < TRACES; i++) {
        wbpf_scope scope;
        wbpf_context now;
        wbpf_begin(&scope, WBPF_NAME("work"), NULL);
        for (int call = 0; call < CALLS; call++)
            getppid();
        wbpf_current(&now);
        wbpf_end(&scope);
        for (int call = 0; call < CALLS; call++)
            getppid();
        printf("%s\"", i ? "," : "[");
        for (int byte = 0; byte < 16; byte++)
            printf("%02x", now.trace_id[byte]);
        printf("\"");
    }
    puts("]");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        ;
    return 0;
}
