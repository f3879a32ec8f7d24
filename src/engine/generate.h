/* A language model that is asked, again and again, what comes next: the graph in,
 * logits of the next token out. */
#ifndef AMG_ENGINE_GENERATE_H
#define AMG_ENGINE_GENERATE_H

#include "graph/graph.h"

typedef struct amg_generator amg_generator;

/* model: as read from a file, outlives the generator. Its input is I64 [N, seq], its
 * output F32 [N, seq, vocab] or [N * seq, vocab]; position i of the output must not
 * depend on tokens behind i (tried out here with two inputs). Otherwise AMG_UNSUPPORTED
 * says what was found; name is for errors. Runs in inference form: no dropout. */
AMG_MUST_CHECK amg_status amg_generator_new(const amg_graph *model, const char *name,
                                            amg_generator **out, amg_error *err);
void amg_generator_free(amg_generator *g); /* NULL is fine */

int64_t amg_generator_vocab(const amg_generator *g);
int64_t amg_generator_seq(const amg_generator *g);

/* Logits [vocab] of the token behind context [count], count >= 1: the model sees the
 * last seq tokens of it, or all with something behind them that it cannot see. Valid
 * until the next call. AMG_INVALID: a token out of range. Cost: one forward pass of a
 * whole window. */
AMG_MUST_CHECK amg_status amg_generator_next(amg_generator *g, const int32_t *context,
                                             int64_t count, const float **logits,
                                             amg_error *err);

#endif
