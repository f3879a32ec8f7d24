/* What the demonstrations share: verbs run as a user would type them, and the
 * comparison at the end. */
#ifndef AMG_CLI_DEMO_H
#define AMG_CLI_DEMO_H

#include <stddef.h>

/* What stands behind %D, %O and %K in a step's words, and behind %T, %V, %E and %P:
 * parts of one random split at home, as "[0%-45%:seed=1]". The pool of covers is as
 * large as K decoys need, so that all streams are exchangeable. */
typedef struct {
    const char *data, *out, *decoys;
    const char *train, *val, *test, *pool; /* test NULL: the data set has its own */
} demo_places;

typedef struct {
    const char *title; /* NULL: another command under the one before */
    int (*verb)(int argc, char **argv);
    const char *program; /* "amalgam" */
    const char *words;   /* the verb and its options, separated by one space */
} demo_step;

/* Prints each step's title and command and runs it, until one fails. Returns the exit
 * code. */
int demo_run(const demo_step *steps, size_t num_steps, const demo_places *places);

/* Both trainings' models, OUT/trained.onnx and OUT/alone.onnx: says whether they are
 * the same file. Returns the exit code. */
int demo_compare(const char *out);

/* The job on text: WordNet's definitions, in data, by category. decoys: 1 to 3. */
int demo_text(const char *data, const char *out, int decoys);

#endif
