#include "base/progress.h"

#include <math.h>

amg_status amg_tick(const amg_progress *progress, const char *stage, int64_t done,
                    int64_t total, amg_error *err)
{
    const amg_progress_event event = {
        .stage = stage, .done = done, .total = total, .loss = NAN, .accuracy = NAN};
    if (!progress || !progress->report || progress->report(progress->context, &event))
        return AMG_OK;
    return amg_fail(err, AMG_INTERRUPTED, -1, stage, "stopped on request");
}
