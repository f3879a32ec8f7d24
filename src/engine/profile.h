/* Where the time of a training goes: measures some steps and prints a table, kernels by
 * operator and implementation, then what is no kernel, and the memory. Off, it costs
 * one comparison a kernel. */
#ifndef AMG_ENGINE_PROFILE_H
#define AMG_ENGINE_PROFILE_H

#include "engine/plan.h"

#define AMG_PROFILE_SKIPPED 3 /* first steps: memory is touched, caches are cold */
#define AMG_PROFILE_STEPS 20  /* measured at most */

typedef enum {
    AMG_PROFILE_DATA,
    AMG_PROFILE_LOSS,
    AMG_PROFILE_OPTIMIZER,
    AMG_PROFILE_PARTS
} amg_profile_part;

/* A zeroed struct is off. */
typedef struct {
    FILE *stream;     /* NULL: off, or printed already */
    amg_plan **plans; /* borrowed */
    int num_plans;
    int64_t batch;
    int64_t skip; /* steps before the first that is measured */
    int64_t steps, begin_ns, step_ns, part_ns[AMG_PROFILE_PARTS];
} amg_profile;

/* Around each step, and at the end of the training. The table is printed after the last
 * step that is measured. AMG_NO_MEMORY. */
AMG_MUST_CHECK amg_status amg_profile_begin(amg_profile *p, amg_error *err);
AMG_MUST_CHECK amg_status amg_profile_end(amg_profile *p, amg_error *err);
AMG_MUST_CHECK amg_status amg_profile_finish(amg_profile *p, amg_error *err);

/* The clock, 0 while nothing is measured; adds the time since to a part. */
int64_t amg_profile_clock(const amg_profile *p);
void amg_profile_add(amg_profile *p, amg_profile_part part, int64_t since_ns);

#endif
