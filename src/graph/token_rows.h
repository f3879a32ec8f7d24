/* Token rows: the parameters whose rows are the tokens of a model's input, its
 * embedding tables. Permuting the vocabulary permutes these rows (and, where classes
 * are tokens, the class rows) and nothing else, which is what makes a vocabulary
 * permutation exact. */
#ifndef AMG_GRAPH_TOKEN_ROWS_H
#define AMG_GRAPH_TOKEN_ROWS_H

#include "graph/graph.h"

#define AMG_MAX_TOKEN_TABLES 8
#define AMG_MAX_FIXED_TOKENS 16

typedef struct {
    int num_tables;
    int tables[AMG_MAX_TOKEN_TABLES]; /* value ids of parameters [vocab, …] */
    int64_t vocab;
    int num_fixed;
    int64_t
        fixed[AMG_MAX_FIXED_TOKENS]; /* tokens that the graph compares its input with
                                        (padding), ascending: they keep their numbers */
} amg_token_rows;

/* Follows the input of the sub-network of output output_index through nodes that only
 * move elements or cast between integers, to the tables that look them up (Gather along
 * axis 0 of a parameter) and to comparisons with constants. false: tokens are used in
 * another way, a table serves for something else than tokens or class rows, tables
 * differ in rows, or there are none. */
bool amg_token_rows_find(const amg_graph *g, int output_index, amg_token_rows *out);

/* The canonical order: order[r] = token at rank r when tokens are sorted by the bytes
 * of their rows in the tables, first table first. false if two tokens have equal rows
 * (then order is 0..n-1). data[i]: tensor of tables[i]. order: vocab entries. */
bool amg_token_rows_canonical(const amg_token_rows *rows, const amg_tensor *const *data,
                              int32_t *order);

#endif
