/* Options about data that several verbs share. */
#include "cli/data_options.h"

#include <math.h>
#include <stdlib.h>

const char *const cli_tasks[] = {"data",           "lm",
                                 "classify",       "regression",
                                 "reconstruction", "language_model",
                                 "classification", "multi_label",
                                 "multi_task",     NULL};

bool cli_task_find(int choice, amg_task *task)
{
    return choice > 0 && amg_task_find_name(cli_tasks[choice], task);
}

/* Numbers separated by commas up to `stop`; returns how many, -1 on anything else. */
static int parse_list(const char **text, char stop, float out[16])
{
    int n = 0;
    for (;;) {
        char *end;
        float v = strtof(*text, &end);
        if (end == *text || n == 16 || !isfinite(v)) return -1;
        out[n++] = v;
        *text = end;
        if (*end == stop) return n;
        if (*end != ',') return -1;
        (*text)++;
    }
}

amg_status cli_parse_normalize(const char *text, amg_preprocess *p, amg_error *err)
{
    p->num_channels = 0;
    if (!text) return AMG_OK;
    const char *at = text;
    int means = parse_list(&at, '/', p->mean), stds = -1;
    if (means > 0) {
        at++;
        stds = parse_list(&at, 0, p->std);
    }
    if (means != stds || means < 1)
        return amg_fail(err, AMG_INVALID, -1, "--normalize",
                        "found '%s', expected as many means as deviations, e.g. "
                        "0.5,0.5,0.5/0.2,0.2,0.2",
                        text);
    for (int i = 0; i < stds; i++)
        if (!(p->std[i] > 0))
            return amg_fail(err, AMG_INVALID, -1, "--normalize",
                            "deviation %d is %g, expected above 0", i, p->std[i]);
    p->num_channels = means;
    return AMG_OK;
}
