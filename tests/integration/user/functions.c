/* Functions to be hooked, under threads. Commands on standard input, each answered by a line: "run N": each
 * of four threads calls work() N times; "spin"/"rest": they call it all the time; others below. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4
#define KEPT    __attribute__((noinline, noclone, used))

static atomic_bool spinning;
static atomic_ulong wrong, handled;
static long global = 7;
static jmp_buf out;

KEPT long work(long a, long b)
{
    __asm__ volatile("");
    return a * 3 + b;
}

/* The first instruction refers to memory near itself. */
KEPT long reads_global(void)
{
    __asm__ volatile("");
    return global + 1;
}

/* A short jump is among the first instructions. */
KEPT long branches(long a)
{
    if (a < 0)
        return -1;
    return a + global;
}

KEPT void tiny(void)
{
    __asm__ volatile("");
}

KEPT long recurses(long depth)
{
    __asm__ volatile("" : "+r"(depth));
    long found = depth ? recurses(depth - 1) : -1;
    __asm__ volatile("" : "+r"(found));
    return found + 1;
}

/* All argument registers. */
KEPT double mixes(double a, double b, double c, double d, double e, double f, double g, double h, long i,
                  long j, long k, long l, long m, long n, long o)
{
    __asm__ volatile("");
    return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h +
           (double)(i + 2 * j + 3 * k + 4 * l + 5 * m + 6 * n + 7 * o);
}

KEPT void leaves(int how)
{
    __asm__ volatile("");
    if (how)
        longjmp(out, how);
}

KEPT long jumped_to(long a)
{
    __asm__ volatile("");
    return a + 1;
}

/* As compilers do for `return jumped_to(a)`. */
__asm__(".text\n.type jumps_on, @function\n.globl jumps_on\njumps_on: leaq 1(%rdi), %rdi\n nop\n jmp "
        "jumped_to\n.size jumps_on, . - jumps_on\n");
long jumps_on(long a);

__asm__(".text\n.type loops, @function\n.globl loops\nloops: xorl %eax, %eax\n1: incq %rax\n decq %rdi\n jnz "
        "1b\n ret\n.size loops, . - loops\n");
long loops(long a);
__asm__(".text\n.type calls_first, @function\n.globl calls_first\ncalls_first: call tiny\n ret\n.size "
        "calls_first, . - calls_first\n");
void calls_first(void);
__asm__(
    ".text\n.balign 16\n.type crowded, @function\n.globl crowded\ncrowded: ret\n.size crowded, . - "
    "crowded\n.type neighbour, @function\nneighbour: movl $5, %eax\n ret\n.size neighbour, . - neighbour\n");

#if defined(__AVX__)
#include <immintrin.h>
/* Wide vector registers are arguments and results. */
KEPT __m256d widens(__m256d a, __m256d b)
{
    __asm__ volatile("");
    return _mm256_add_pd(a, b);
}

static bool right_wide(void)
{
    double sum[4];
    _mm256_storeu_pd(sum, widens(_mm256_set_pd(1, 2, 3, 4), _mm256_set_pd(10, 20, 30, 40)));
    return sum[0] == 44 && sum[1] == 33 && sum[2] == 22 && sum[3] == 11;
}
#endif

static void *run(void *count)
{
    for (long i = 0; i < *(long *)count; i++)
        if (work(i, 5) != i * 3 + 5)
            wrong++;
    return NULL;
}

static void *spin(void *unused)
{
    for (long i = 0; spinning; i++)
        if (work(i, 5) != i * 3 + 5 || branches(i) != i + global || reads_global() != global + 1)
            wrong++;
    return unused;
}

static void on_signal(int number)
{
    (void)number;
    work(1, 1);
    handled++;
}

static void *interrupt(void *to)
{
    for (int i = 0; i < 2000; i++) {
        pthread_kill(*(pthread_t *)to, SIGUSR1);
        usleep(50);
    }
    return NULL;
}

static void interrupted(void)
{
    pthread_t self = pthread_self(), other;
    signal(SIGUSR1, on_signal);
    pthread_create(&other, NULL, interrupt, &self);
    for (long i = 0; i < 400000; i++)
        if (work(i, 5) != i * 3 + 5)
            wrong++;
    pthread_join(other, NULL);
}

static void in_child(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (long i = 0; i < 10; i++)
            if (work(i, 5) != i * 3 + 5)
                _exit(1);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    if (status)
        wrong++;
}

static void jump_about(void)
{
    for (volatile int i = 0; i < 100; i++) {
        if (setjmp(out) == 0)
            leaves(1);
        leaves(0);
    }
}

static void check(bool right)
{
    if (!right)
        wrong++;
}

int main(void)
{
    pthread_t threads[THREADS];
    char line[80];
    long count;

    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "run %ld", &count) == 1 || strcmp(line, "spin\n") == 0) {
            spinning = true;
            for (int i = 0; i < THREADS; i++)
                pthread_create(&threads[i], NULL, line[0] == 'r' ? run : spin, &count);
        }
        if (line[0] == 'r' && line[1] != 'e') {
            for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        } else if (strcmp(line, "rest\n") == 0) {
            spinning = false;
            for (int i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        } else if (strcmp(line, "fork\n") == 0) {
            in_child();
        } else if (strcmp(line, "signals\n") == 0) {
            interrupted();
        } else if (strcmp(line, "jumps\n") == 0) {
            jump_about();
        } else if (strcmp(line, "others\n") == 0) {
            check(branches(-5) == -1 && branches(5) == 12 && reads_global() == 8);
            check(mixes(1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7) == 344);
            check(recurses(100) == 100);
            check(jumps_on(5) == 7);
            check(loops(10) == 10);
            tiny();
            calls_first();
#if defined(__AVX__)
            check(right_wide());
#endif
        }
        printf("%lu %lu done\n", (unsigned long)wrong, (unsigned long)handled);
    }
    return 0;
}
