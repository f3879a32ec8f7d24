/* Terse makers of nodes for cases of a goldens file: each works on the golden "g" in
 * scope. */
#ifndef AMG_TESTS_NODE_FIXTURE_H
#define AMG_TESTS_NODE_FIXTURE_H

#include "plan_fixture.h"

#define COUNT(...) ((int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)))
#define PLAIN(op, ...)                                                                 \
    amg_builder_node(g->b, op, #op, (int[]){__VA_ARGS__}, COUNT(__VA_ARGS__), NULL, 0, \
                     NULL)
/* attr: one attribute. */
#define WITH(op, attr, ...)                                                            \
    amg_builder_node(g->b, op, #op, (int[]){__VA_ARGS__}, COUNT(__VA_ARGS__),          \
                     (amg_attr[]){attr}, 1, NULL)
#define INTS(name, ...)                                                                \
    amg_ints(name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),          \
             (int64_t[]){__VA_ARGS__})
#define VECTOR(name, ...)                                                              \
    vector(g, name, (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),     \
           (int64_t[]){__VA_ARGS__})
#define PARAM(name) golden_param(g, name)

static inline int vector(const golden *g, const char *name, int64_t count,
                         const int64_t *v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_I64, 1, &count, v, &t, err));
    return amg_builder_param(g->b, name, &t);
}

static inline int index_scalar(const golden *g, const char *name, int64_t v)
{
    amg_tensor t;
    assert_ok(amg_tensor_view(AMG_I64, 0, NULL, &v, &t, err));
    return amg_builder_param(g->b, name, &t);
}

#endif
