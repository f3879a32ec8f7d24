/* Bags of tokens: sorted arrays, compared in one pass over both. */
#include "graph/bag.h"

#include <stdlib.h>

#include "base/print.h"

static int compare_tokens(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void amg_bag_sort(amg_bag *b)
{
    qsort(b->tokens, (size_t)b->count, sizeof *b->tokens, compare_tokens);
}

double amg_bag_distance(const amg_bag *a, const amg_bag *b)
{
    int64_t i = 0, j = 0, common = 0;
    while (i < a->count && j < b->count) {
        const uint64_t x = a->tokens[i], y = b->tokens[j];
        common += x == y;
        i += x <= y;
        j += y <= x;
    }
    const int64_t all = a->count + b->count - common;
    return all > 0 ? 1 - (double)common / (double)all : 0;
}

uint64_t amg_bag_shape(uint64_t token, const amg_value *v)
{
    token = amg_print_mix(token, (uint64_t)v->dtype);
    if (v->rank < 0) return token;
    return amg_print_bytes(token, v->dims, (size_t)v->rank * sizeof *v->dims);
}
