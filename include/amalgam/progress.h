/* Progress of long work. The library never prints: it calls back, the program shows. */
#ifndef AMALGAM_PROGRESS_H
#define AMALGAM_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* One report. stage is a static word ("train", "evaluate", "augment", "resume",
 * "checkpoint"). While training, epoch counts from 1 and step is the global step; loss
 * and accuracy are the means since the epoch's start, NaN where they do not apply. For
 * a job with several sub-networks they are the means over all heads: the reporter
 * cannot know which head matters. */
typedef struct {
    const char *stage;
    int64_t done, total; /* in the stage's own unit: steps, samples */
    int64_t epoch, num_epochs;
    double loss, accuracy;
    double per_second;    /* samples a second; tokens where they are predicted */
    bool end_of_epoch;    /* validation results are in loss and accuracy, stage is
                             "evaluate" */
    bool predicts_tokens; /* language models: loss is the mean over tokens, perplexity
                             exp(loss) */
} amg_progress_event;

/* report may be NULL. It returns false to ask for a clean stop (AMG_INTERRUPTED, after
 * a checkpoint where the work has one). Called from the calling thread only. */
typedef struct {
    bool (*report)(void *context, const amg_progress_event *event);
    void *context;
} amg_progress;

#endif
