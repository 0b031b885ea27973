/* The lock over the pool's metadata: a robust process-shared mutex. The kernel hands it on when its holder
 * dies, at whatever instruction; the next taker then rebuilds everything derived (directory_rebuild), in
 * which whatever the dead process was doing has either happened wholly or not at all. */
#include "pool/internal.h"
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS          100
#define LOCK_TIMEOUT_S 10 /* operations take it for microseconds: a holder must be stopped */

int pool_mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    int error = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return -error;
}

static int take(pthread_mutex_t *mutex)
{
    int error = EBUSY;
    for (int i = 0; error == EBUSY && i < SPINS; i++)
        error = pthread_mutex_trylock(mutex);
    if (error != EBUSY)
        return error;
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += LOCK_TIMEOUT_S;
    return pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &deadline);
}

int pool_lock(wbpf_pool *pool)
{
    int error = take(&pool->header->mutex);
    if (likely(error == 0))
        return 0;
    if (error == EOWNERDEAD) {
        directory_rebuild(pool);
        pool->header->recoveries++;
        pthread_mutex_consistent(&pool->header->mutex);
        return 0;
    }
    return error == ETIMEDOUT ? -EBUSY : -error;
}

void pool_unlock(wbpf_pool *pool)
{
    pthread_mutex_unlock(&pool->header->mutex);
}

int pool_bell_wait(struct pool_bell *bell, uint32_t rings, uint64_t timeout_ns)
{
    struct timespec timeout = {(time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000)};
    const struct timespec *limit = timeout_ns == UINT64_MAX ? NULL : &timeout;
    if (syscall(SYS_futex, &bell->rings, FUTEX_WAIT, rings, limit, NULL, 0) == 0 || errno == EAGAIN)
        return 0;
    return -errno;
}

void pool_bell_wake(struct pool_bell *bell)
{
    if (__atomic_exchange_n(&bell->waiting, 0, __ATOMIC_ACQ_REL))
        syscall(SYS_futex, &bell->rings, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}
