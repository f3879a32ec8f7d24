/* What the tests of graph/ share: terse makers of graphs. Every maker works on the one
 * builder of the running test. */
#ifndef AMG_TESTS_GRAPH_FIXTURE_H
#define AMG_TESTS_GRAPH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "graph/builder.h"

#define DIMS(...)                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])             \
    {                                                                                  \
        __VA_ARGS__                                                                    \
    }
#define IDS(...) (int[]){__VA_ARGS__}, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int))
#define ATTRS(...)                                                                     \
    (amg_attr[]){__VA_ARGS__},                                                         \
        (int)(sizeof((amg_attr[]){__VA_ARGS__}) / sizeof(amg_attr))
#define NO_ATTRS NULL, 0

/* An F32 parameter whose elements count 1, 2, 3 … from first. */
static inline int weight(amg_builder *b, const char *name, float first, int rank,
                         const int64_t *dims)
{
    amg_tensor t = {.dtype = AMG_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    int id = amg_builder_param(b, name, &t);
    amg_tensor *data = amg_builder_data(b, id);
    for (int64_t i = 0; data && i < amg_tensor_count(data); i++)
        ((float *)data->data)[i] = first + (float)i;
    return id;
}

/* An I64 vector; count < 0: the scalar values[0]. */
static inline int ints(amg_builder *b, const char *name, int count,
                       const int64_t *values)
{
    int64_t dims[1] = {count};
    amg_tensor t;
    amg_status s = amg_tensor_view(AMG_I64, count >= 0, dims, values, &t, NULL);
    assert_int_equal(s, AMG_OK);
    return amg_builder_param(b, name, &t);
}
#define INTS(b, name, ...) ints(b, name, DIMS(__VA_ARGS__))
#define SCALAR(b, name, value) ints(b, name, -1, (int64_t[]){value})

static inline void assert_dims(const amg_value *v, int rank, const int64_t *dims)
{
    assert_non_null(v);
    assert_int_equal(v->rank, rank);
    for (int i = 0; i < rank; i++) assert_int_equal(v->dims[i], dims[i]);
}

static inline amg_graph *must_finish(amg_builder *b)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    amg_status s = amg_builder_finish(b, &g, &err);
    if (s) fail_msg("%s: %s", err.where, err.what);
    amg_builder_free(b);
    return g;
}

/* The builder must refuse: code, and words in the error's two texts. */
static inline void must_refuse(amg_builder *b, amg_status code, const char *where,
                               const char *what)
{
    amg_graph *g = NULL;
    amg_error err = {0};
    assert_int_equal(amg_builder_finish(b, &g, &err), code);
    assert_null(g);
    assert_int_equal(err.code, code);
    if (!strstr(err.where, where) || !strstr(err.what, what))
        fail_msg("error is \"%s: %s\", expected \"%s\" and \"%s\"", err.where, err.what,
                 where, what);
    amg_builder_free(b);
}

/* The node that makes a named value. */
static inline const amg_node *maker(const amg_graph *g, const char *value)
{
    int v = amg_graph_find_value(g, value);
    assert_true(v >= 0);
    assert_true(g->values[v].producer >= 0);
    return &g->nodes[g->values[v].producer];
}

static inline const amg_value *named(const amg_graph *g, const char *name)
{
    int v = amg_graph_find_value(g, name);
    if (v < 0) fail_msg("no value \"%s\"", name);
    return &g->values[v];
}

#endif
