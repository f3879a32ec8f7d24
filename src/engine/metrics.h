/* metrics.jsonl: one JSON object a line, for plotting and for the audit. Heads stand in
 * the graph's order; nothing but numbers is told (no names, paths or dates).
 *
 *     {"step":50,"epoch":1,"lr":0.05,"heads":[{"loss":2.1,"accuracy":0.3},…],
 *      "images_per_second":812.5}
 *     {"step":468,"epoch":1,"end_of_epoch":true,"lr":…,"heads":[{"loss":…,"accuracy":…,
 *      "val_loss":…,"val_top1":…,"val_top5":…},…],"images_per_second":…}
 *
 * A step line holds means since the line before it, an epoch line those of the epoch;
 * val_ fields are there where validation data are, accuracy and the tops where
 * something is classified. With a plateau schedule each head has its own "lr". A
 * model of several outputs has each one's "val_0_loss" and, with classes or labels,
 * "val_0_top1". A language model has tokens_per_second instead, each head's; its
 * perplexity is exp(loss). */
#ifndef AMG_ENGINE_METRICS_H
#define AMG_ENGINE_METRICS_H

#include "engine/trainer.h"

#define AMG_METRICS_FILE "metrics.jsonl"
#define AMG_METRICS_EVERY 50 /* steps per step line */

/* A zeroed struct is valid: no file, and writing does nothing. */
typedef struct {
    FILE *stream;
    char *path;
} amg_metrics;

typedef struct {
    int64_t step;  /* steps done */
    int64_t epoch; /* from 1 */
    bool end_of_epoch;
    const double *lr; /* [num_heads] */
    bool each_lr; /* they differ: each stands with its head; else one for the line */
    const amg_head_result *heads;
    int num_heads;
    double per_second; /* samples; or */
    bool predicts_tokens;
} amg_metrics_line;

/* Opens PATH for appending after dropping every line that belongs to the time after
 * (step, epochs_done): a resumed run writes them anew. (0, 0) empties the file. */
AMG_MUST_CHECK amg_status amg_metrics_open(const char *path, int64_t step,
                                           int64_t epochs_done, amg_metrics *out,
                                           amg_error *err);
/* One line. Of heads, NaN is left out. */
AMG_MUST_CHECK amg_status amg_metrics_write(amg_metrics *m,
                                            const amg_metrics_line *line,
                                            amg_error *err);
void amg_metrics_close(amg_metrics *m);
/* Removes DIR if nothing was written into it but a file of metrics without a line. */
void amg_metrics_drop_dir(const char *dir);

#endif
