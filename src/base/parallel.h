/* Parallel-for over [0, n), and over items of unequal work: OpenMP, the runtime that
 * oneDNN uses too, so that the two never compete for cores. The caller's function must
 * give the same result for any split. */
#ifndef AMG_BASE_PARALLEL_H
#define AMG_BASE_PARALLEL_H

#include <stdint.h>

#include "amalgam/status.h"

typedef void (*amg_range_fn)(void *context, int64_t begin, int64_t end);

/* Calls fn on disjoint ranges that cover [0, n), on up to amg_threads() threads, each
 * range at least grain long (except the last); returns when all are done. */
void amg_parallel_for(int64_t n, int64_t grain, amg_range_fn fn, void *context);

typedef amg_status (*amg_item_fn)(void *context, int64_t item, amg_error *err);

/* Calls fn for each of items 0 .. num-1, on up to amg_threads() threads, which take the
 * next one that is left: for items of unequal work, the first begun first. All are
 * called, whatever fails; the result is that of the lowest item that failed. */
AMG_MUST_CHECK amg_status amg_parallel_items(int64_t num, amg_item_fn fn, void *context,
                                             amg_error *err);

/* Sets the number of threads of this library and of oneDNN; 0 = all cores. Results of
 * training depend on it: a run records it. */
void amg_set_threads(int num_threads);
int amg_threads(void);

/* Calls fn once on each of the threads that oneDNN works with, the calling one among
 * them. */
void amg_on_each_thread(void (*fn)(void));

#endif
