/* What the end of an epoch means for a head: its plateau, its best weights, whether it
 * stops early. Every head is judged by itself alone. */
#ifndef AMG_ENGINE_JUDGE_H
#define AMG_ENGINE_JUDGE_H

#include "engine/run.h"

/* After the epoch's results stand in the head's progress and, with validation, the head
 * was taken (amg_run_take). */
AMG_MUST_CHECK amg_status amg_judge(amg_run *run, int h, amg_error *err);

/* The head stopped early and is left as it is. */
bool amg_has_stopped(const amg_run *run, int h);
bool amg_all_have_stopped(const amg_run *run);

/* Steps behind the weights that come out of the head. */
int64_t amg_head_steps(const amg_run *run, int h);

#endif
