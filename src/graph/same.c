/* See same.h. */
#include "graph/same.h"

#include <string.h>

static bool same_bytes(const void *a, const void *b, size_t size)
{
    return !size || !memcmp(a, b, size);
}

static bool same_attr(const amg_attr *a, const amg_attr *b)
{
    if (strcmp(a->name, b->name) || a->kind != b->kind || a->count != b->count)
        return false;
    const size_t n = (size_t)a->count;
    switch (a->kind) {
    case AMG_ATTR_INT: return a->i == b->i;
    case AMG_ATTR_FLOAT: return same_bytes(&a->f, &b->f, sizeof a->f);
    case AMG_ATTR_STRING: return !strcmp(a->s, b->s);
    case AMG_ATTR_INTS: return same_bytes(a->ints, b->ints, n * sizeof *a->ints);
    case AMG_ATTR_FLOATS:
        return same_bytes(a->floats, b->floats, n * sizeof *a->floats);
    case AMG_ATTR_TENSOR: break;
    }
    return false;
}

bool amg_same_attrs(const amg_node *a, const amg_node *b)
{
    if (a->num_attrs != b->num_attrs) return false;
    for (int i = 0; i < a->num_attrs; i++)
        if (!same_attr(&a->attrs[i], &b->attrs[i])) return false;
    return true;
}

bool amg_same_data(const amg_value *a, const amg_value *b)
{
    return a->data.size_bytes == b->data.size_bytes &&
           same_bytes(a->data.data, b->data.data, a->data.size_bytes);
}

static bool same_integers(const amg_value *a, const amg_value *b)
{
    return a->dtype != AMG_F32 && a->dtype == b->dtype && a->rank == b->rank &&
           a->data.data && b->data.data &&
           same_bytes(a->dims, b->dims, (size_t)a->rank * sizeof a->dims[0]) &&
           amg_same_data(a, b);
}

bool amg_same_node(const amg_value *values, const amg_node *a, const amg_node *b)
{
    if (a->op != b->op || a->num_inputs != b->num_inputs ||
        a->num_outputs != b->num_outputs)
        return false;
    for (int i = 0; i < a->num_inputs; i++) {
        const int p = a->inputs[i], q = b->inputs[i];
        if (p == q) continue;
        if (p == AMG_NO_VALUE || q == AMG_NO_VALUE ||
            !same_integers(&values[p], &values[q]))
            return false;
    }
    return amg_same_attrs(a, b);
}
