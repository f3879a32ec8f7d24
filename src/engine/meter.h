/* Throttled progress: reports at most ten times a second, and remembers that the
 * reporter asked to stop. */
#ifndef AMG_ENGINE_METER_H
#define AMG_ENGINE_METER_H

#include "amalgam/progress.h"

typedef struct {
    const amg_progress *progress; /* may be NULL */
    int64_t last_ns;              /* of the last report */
    bool stop;                    /* the reporter has returned false */
} amg_meter;

int64_t amg_now_ns(void); /* monotonic */

/* True when the next report is due: events are built only then. */
bool amg_meter_due(const amg_meter *m);
/* Reports now, due or not. */
void amg_meter_report(amg_meter *m, const amg_progress_event *event);

#endif
