/* Columns of the evidence. Values are mixed row by row, in the order in which rows lie;
 * tokens, which every key numbers anew, count by their pattern: at each row, how many
 * rows ago the same one stood there. */
#include "audit/columns.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "base/print.h"

typedef struct {
    const amg_evidence *e;
    const int64_t *rows;
    int64_t num_rows;
    amg_columns out;
    bool failed;
} printing;

uint32_t amg_columns_element(const amg_evidence *e, int64_t row, int64_t position)
{
    const uint8_t *at = e->x + (size_t)(row * e->num_positions + position) * e->elem;
    uint32_t v = 0;
    memcpy(&v, at, e->elem);
    return v;
}

static void print_values(const printing *c, int64_t begin, int64_t end)
{
    for (int64_t r = 0; r < c->num_rows; r++)
        for (int64_t p = begin; p < end; p++) {
            const uint32_t v = amg_columns_element(c->e, c->rows[r], p);
            c->out.prints[p] = amg_print_mix(c->out.prints[p], v);
            if (v != amg_columns_element(c->e, c->rows[0], p)) c->out.constant[p] = 0;
        }
}

typedef struct {
    uint32_t token;
    int64_t row;
} seen;

static int compare_seen(const void *a, const void *b)
{
    const seen *x = a, *y = b;
    if (x->token != y->token) return x->token > y->token ? 1 : -1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Of tokens: at each row, how many rows ago the same one stood there. list: room for
 * num_rows; ago: likewise. */
static void print_pattern(const printing *c, int64_t p, seen *list, int64_t *ago)
{
    for (int64_t r = 0; r < c->num_rows; r++)
        list[r] = (seen){amg_columns_element(c->e, c->rows[r], p), r};
    qsort(list, (size_t)c->num_rows, sizeof *list, compare_seen);
    ago[list[0].row] = 0;
    for (int64_t i = 1; i < c->num_rows; i++) {
        const bool again = list[i].token == list[i - 1].token;
        ago[list[i].row] = again ? list[i].row - list[i - 1].row : 0;
        if (!again) c->out.constant[p] = 0;
    }
    for (int64_t r = 0; r < c->num_rows; r++)
        c->out.prints[p] = amg_print_mix(c->out.prints[p], (uint64_t)ago[r]);
}

static void print_range(void *context, int64_t begin, int64_t end)
{
    printing *c = context;
    if (!c->e->is_tokens) {
        print_values(c, begin, end);
        return;
    }
    seen *list = amg_calloc((size_t)c->num_rows, sizeof *list);
    int64_t *ago = amg_calloc((size_t)c->num_rows, sizeof *ago);
    if (!list || !ago) __atomic_store_n(&c->failed, true, __ATOMIC_RELAXED);
    for (int64_t p = begin; list && ago && p < end; p++) print_pattern(c, p, list, ago);
    amg_free(list);
    amg_free(ago);
}

void amg_columns_clear(amg_columns *c)
{
    amg_free(c->prints);
    amg_free(c->constant);
    *c = (amg_columns){0};
}

amg_status amg_columns_print(const amg_evidence *e, const int64_t *rows,
                             int64_t num_rows, amg_columns *out, amg_error *err)
{
    const size_t n = (size_t)e->num_positions;
    printing w = {.e = e, .rows = rows, .num_rows = num_rows};
    w.out.prints = amg_calloc(n, sizeof *w.out.prints);
    w.out.constant = amg_malloc(n);
    if (w.out.prints && w.out.constant) {
        memset(w.out.constant, 1, n);
        amg_parallel_for(e->num_positions, 256, print_range, &w);
    }
    if (!w.out.prints || !w.out.constant || w.failed) {
        amg_columns_clear(&w.out);
        return amg_fail(err, AMG_NO_MEMORY, -1, "columns", "no memory for %lld",
                        (long long)e->num_positions);
    }
    *out = w.out;
    return AMG_OK;
}
