/* Calling a native program over and over. */
#include <stdint.h>
#include <time.h>

uint64_t repeat(uint64_t (*program)(void *), void *memory, uint64_t count)
{
    struct timespec from, to;

    clock_gettime(CLOCK_MONOTONIC, &from);
    for (uint64_t i = 0; i < count; i++)
        program(memory);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (uint64_t)(to.tv_sec - from.tv_sec) * 1000000000 + (uint64_t)(to.tv_nsec - from.tv_nsec);
}
