/* What the zoo's tests share: reference files, entries of a state_dict, and whether
 * weights were drawn by the law of a reference. */
#ifndef AMG_TESTS_ZOO_FIXTURE_H
#define AMG_TESTS_ZOO_FIXTURE_H

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/zoo.h"

static inline FILE *open_data(const char *file)
{
    char path[4096];
    const char *root = getenv("AMALGAM_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/graph/data/%s", root ? root : ".", file);
    FILE *f = fopen(path, "r");
    if (!f) fail_msg("cannot open %s", path);
    return f;
}

/* The next entry of the state_dict at or after value v: a trainable or a buffer. */
static inline int next_entry(const amg_graph *g, int v)
{
    while (v < g->num_values && (g->values[v].kind != AMG_VALUE_PARAM ||
                                 g->values[v].role == AMG_ROLE_CONSTANT))
        v++;
    return v;
}

static inline const amg_value *get_value(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no value %s", name);
    return &g->values[v];
}

/* NULL if no node has the name. */
static inline const amg_node *find_node(const amg_graph *g, const char *name)
{
    for (int i = 0; i < g->num_nodes; i++)
        if (strcmp(g->nodes[i].name, name) == 0) return &g->nodes[i];
    return NULL;
}

static inline const amg_node *get_node(const amg_graph *g, const char *name)
{
    const amg_node *node = find_node(g, name);
    if (node) return node;
    fail_msg("no node %s", name);
    abort(); /* not reached, which the compiler cannot see */
}

static inline int count_ops(const amg_graph *g, amg_op op)
{
    int count = 0;
    for (int i = 0; i < g->num_nodes; i++) count += g->nodes[i].op == op;
    return count;
}

static inline void measure(const amg_tensor *t, double *std, double *largest)
{
    const float *x = t->data;
    int64_t n = amg_tensor_count(t);
    double sum = 0, sum2 = 0;
    *largest = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
        sum2 += (double)x[i] * x[i];
        *largest = fmax(*largest, fabs(x[i]));
    }
    *std = sqrt(fmax(sum2 / (double)n - sum / (double)n * (sum / (double)n), 0));
}

/* A uniform law's largest value is at most sqrt(3) = 1.733 deviations, a normal law's
 * of as many as MIN_SHAPED values lies beyond 2. */
#define MIN_SHAPED 256
static inline bool looks_uniform(double std, double largest)
{
    return largest < 1.9 * std;
}

/* The same law as PyTorch drew: constants equal, else the deviation within five
 * standard errors of two samples, and uniform where PyTorch is uniform (of small
 * tensors that is not to be seen). */
static inline void check_law(const amg_value *v, double std, double largest)
{
    double own_std, own_largest;
    measure(&v->data, &own_std, &own_largest);
    if (std == 0) {
        if (own_std != 0 || own_largest != largest)
            fail_msg("%s: not the constant %g", v->name, largest);
        return;
    }
    const int64_t count = amg_tensor_count(&v->data);
    double limit = 5 / sqrt((double)count);
    if (fabs(own_std / std - 1) > limit)
        fail_msg("%s: deviation %g, PyTorch %g", v->name, own_std, std);
    if (count >= MIN_SHAPED &&
        looks_uniform(own_std, own_largest) != looks_uniform(std, largest))
        fail_msg("%s: another distribution than PyTorch's", v->name);
}

/* "64x3x7x7" */
static inline const char *shape_text(const amg_value *v, char out[64])
{
    size_t used = 0;
    for (int i = 0; i < v->rank; i++)
        used += (size_t)snprintf(out + used, 64 - used, "%s%" PRId64, i ? "x" : "",
                                 v->dims[i]);
    return out;
}

#endif
