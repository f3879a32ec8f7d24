/* Options about data that several verbs share. */
#ifndef AMG_CLI_DATA_OPTIONS_H
#define AMG_CLI_DATA_OPTIONS_H

#include "formats/dataset.h"
#include "formats/manifest.h"
#include "graph/rewrite.h"

#define CLI_DATA_HELP                                                                  \
    "DATA is [KIND:]PATH[@train|@test][PART]: a folder with IDX files (MNIST's form)," \
    "\n"                                                                               \
    "a CIFAR binary folder, a folder of PNG/JPEG by class, x.npy,y.npy (samples of "   \
    "any"                                                                              \
    "\n"                                                                               \
    "shape; y integer classes or float32 numbers), x.npy alone (no targets), or a "    \
    "token\n"                                                                          \
    "set that amalgam tokenize made; a.npy+b.npy,y.npy+z.npy for several inputs and\n" \
    "outputs. PART is [A:B], rows A to B-1, or "                                       \
    "[P%:seed=S],\n"                                                                   \
    "[P%-Q%:seed=S], a random part."

#define CLI_NORMALIZE_HELP                                                             \
    "means/deviations per channel, as in\n"                                            \
    "0.5,0.5,0.5/0.2,0.2,0.2; bytes are scaled to 0..1 first"

/* --task: "data", what the targets say, or one by name. */
extern const char *const cli_tasks[];
#define CLI_TASK_HELP                                                                  \
    "lm (each token's next one), classify, regression,\n"                              \
    "reconstruction (an autoencoder, compared with its own input),\n"                  \
    "multi_label (numbers 0 or 1, several labels of a sample may be 1),\n"             \
    "multi_task (a model of several outputs: it alone, and always),\n"                 \
    "or data (the default): classify where targets are class labels,\n"                \
    "regression where they are numbers, lm on a token set without\n"                   \
    "labels"
/* False: by data. */
bool cli_task_find(int choice, amg_task *task);

#define CLI_SEQ_HELP                                                                   \
    "token sets: tokens that the network sees at once (as many as\n"                   \
    "the model takes)"
#define CLI_STRIDE_HELP                                                                \
    "token sets without labels: a sample begins every N tokens (seq:\n"                \
    "then no token is predicted twice)"

#define CLI_LOSS_HELP                                                                  \
    "of numbers: mse, l1, huber[:DELTA] or smooth_l1[:BETA] (mse; 1);\n"               \
    "labels have cross_entropy, of multi_label bce. Of several outputs\n"              \
    "a term each, in the model's order, WEIGHT*LOSS joined by +:\n"                    \
    "cross_entropy+0.5*huber:0.5"
#define CLI_CLASS_WEIGHTS_HELP                                                         \
    "how much each class counts: numbers between commas, one a class,\n"               \
    "or balanced: classes count alike however rare"

#define CLI_FREEZE_HELP                                                                \
    "weights that do not train (fine-tuning): names with *, ? and [...],\n"            \
    "several between commas or one --freeze each ('features.*')"
#define CLI_FREEZE_STATS_HELP                                                          \
    "batch norms whose weights are frozen keep their running\n"                        \
    "statistics and normalise with them, as eval() does; without it\n"                 \
    "statistics go on, as in PyTorch"

/* Parses "m1,m2/s1,s2" into p->mean, std, num_channels (NULL text: none). AMG_INVALID.
 */
AMG_MUST_CHECK amg_status cli_parse_normalize(const char *text, amg_preprocess *p,
                                              amg_error *err);

#endif
