/* Parallel-for. OpenMP where the compiler has gcc's runtime, the one that oneDNN uses.
 * Plain pthreads otherwise: under clang (its own OpenMP runtime beside gcc's would
 * fight over the cores) and under ThreadSanitizer (which cannot see gomp's
 * synchronisation and would report every barrier). */
#include "base/parallel.h"

#include <pthread.h>
#include <stdatomic.h>

#if defined(_OPENMP) && !defined(__SANITIZE_THREAD__)
#include <omp.h>
#define WITH_OPENMP 1
#else
/* libgomp, for oneDNN's threads. */
int omp_get_num_procs(void);
void omp_set_num_threads(int num_threads);
void GOMP_parallel(void (*fn)(void *context), void *context, unsigned num_threads,
                   unsigned flags);
#endif

static int num_threads; /* 0: not set yet, all cores */

void amg_set_threads(int n)
{
    num_threads = n > 0 ? n : omp_get_num_procs();
    omp_set_num_threads(num_threads);
}

int amg_threads(void) { return num_threads ? num_threads : omp_get_num_procs(); }

/* Number of ranges: at most one a thread, each at least grain long. */
static int num_parts(int64_t n, int64_t grain)
{
    int64_t parts = n / (grain > 0 ? grain : 1);
    if (parts > amg_threads()) parts = amg_threads();
    return parts > 1 ? (int)parts : 1;
}

#ifndef WITH_OPENMP

static void call(void *fn) { (*(void (**)(void))fn)(); }

void amg_on_each_thread(void (*fn)(void))
{
    GOMP_parallel(call, &fn, (unsigned)amg_threads(), 0);
}

typedef struct {
    amg_range_fn fn;
    void *context;
    int64_t begin, end;
    pthread_t thread;
} part;

static void *run_part(void *arg)
{
    part *p = arg;
    p->fn(p->context, p->begin, p->end);
    return NULL;
}

void amg_parallel_for(int64_t n, int64_t grain, amg_range_fn fn, void *context)
{
    enum { MAX_PARTS = 32 };
    part parts[MAX_PARTS];
    int count = num_parts(n, grain);
    if (count > MAX_PARTS) count = MAX_PARTS;
    if (n <= 0) return;
    uint32_t started = 0;
    for (int i = 0; i < count; i++) {
        parts[i] = (part){.fn = fn,
                          .context = context,
                          .begin = n * i / count,
                          .end = n * (i + 1) / count};
        if (i + 1 < count &&
            !pthread_create(&parts[i].thread, NULL, run_part, &parts[i]))
            started |= UINT32_C(1) << i;
        else
            run_part(&parts[i]);
    }
    for (int i = 0; i + 1 < count; i++)
        if (started & UINT32_C(1) << i) pthread_join(parts[i].thread, NULL);
}
#else
void amg_on_each_thread(void (*fn)(void))
{
#pragma omp parallel num_threads(amg_threads())
    fn();
}

void amg_parallel_for(int64_t n, int64_t grain, amg_range_fn fn, void *context)
{
    if (n <= 0) return;
    int count = num_parts(n, grain);
    if (count == 1) {
        fn(context, 0, n);
        return;
    }
#pragma omp parallel for num_threads(count) schedule(static, 1)
    for (int i = 0; i < count; i++) fn(context, n * i / count, n * (i + 1) / count);
}
#endif

typedef struct {
    amg_item_fn fn;
    void *context;
    int64_t num;
    _Atomic int64_t next;
    pthread_mutex_t lock; /* of what follows: the failure of the lowest item so far */
    int64_t failed;
    amg_status status;
    amg_error *err;
} items;

static void fail_item(items *all, int64_t item, amg_status status, const amg_error *err)
{
    pthread_mutex_lock(&all->lock);
    if (item < all->failed) {
        all->failed = item;
        all->status = status;
        if (all->err) *all->err = *err;
    }
    pthread_mutex_unlock(&all->lock);
}

static void take_items(void *context, int64_t begin, int64_t end)
{
    items *all = context;
    (void)begin;
    (void)end;
    for (int64_t i; (i = atomic_fetch_add(&all->next, 1)) < all->num;) {
        amg_error err = {0};
        const amg_status status = all->fn(all->context, i, &err);
        if (status) fail_item(all, i, status, &err);
    }
}

amg_status amg_parallel_items(int64_t num, amg_item_fn fn, void *context,
                              amg_error *err)
{
    items all = {.fn = fn,
                 .context = context,
                 .num = num,
                 .lock = PTHREAD_MUTEX_INITIALIZER,
                 .failed = num,
                 .err = err};
    amg_parallel_for(num < amg_threads() ? num : amg_threads(), 1, take_items, &all);
    return all.status;
}
