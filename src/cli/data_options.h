/* Options about data that several verbs share. */
#ifndef AMG_CLI_DATA_OPTIONS_H
#define AMG_CLI_DATA_OPTIONS_H

#include "graph/rewrite.h"

#define CLI_DATA_HELP                                                                  \
    "DATA is [KIND:]PATH[@train|@test][PART]: a folder with IDX files (MNIST's form)," \
    "\n"                                                                               \
    "a CIFAR binary folder, a folder of PNG/JPEG by class, x.npy,y.npy (samples of "   \
    "any"                                                                              \
    "\n"                                                                               \
    "shape; y integer classes or float32 numbers), or x.npy alone (no targets). "      \
    "PART\n"                                                                           \
    "is [A:B], rows A to B-1, or [P%:seed=S], [P%-Q%:seed=S], a random part."

#define CLI_NORMALIZE_HELP                                                             \
    "means/deviations per channel, as in\n"                                            \
    "0.5,0.5,0.5/0.2,0.2,0.2; bytes are scaled to 0..1 first"

/* Parses "m1,m2/s1,s2" into p->mean, std, num_channels (NULL text: none). AMG_INVALID.
 */
AMG_MUST_CHECK amg_status cli_parse_normalize(const char *text, amg_preprocess *p,
                                              amg_error *err);

#endif
