/* Throttled progress reports: the clock and the stop flag. */
#include "engine/meter.h"

#include <stddef.h>
#include <time.h>

#define INTERVAL_NS 100000000

int64_t amg_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool amg_meter_due(const amg_meter *m)
{
    return m->progress && m->progress->report &&
           amg_now_ns() - m->last_ns >= INTERVAL_NS;
}

void amg_meter_report(amg_meter *m, const amg_progress_event *event)
{
    if (!m->progress || !m->progress->report) return;
    m->last_ns = amg_now_ns();
    if (!m->progress->report(m->progress->context, event)) m->stop = true;
}
