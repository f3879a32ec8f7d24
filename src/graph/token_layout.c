/* Layouts of values that hold patches (see the header). Knows dims and factors, no
 * operators. */
#include "graph/token_layout.h"

#include <string.h>

amg_token_dim amg_token_dim_plain(int64_t dim)
{
    amg_token_dim d = {0};
    if (dim == 1) return d;
    d.num = 1;
    d.factors[0] = (amg_factor){.kind = dim < 0 ? AMG_FACTOR_BATCH : AMG_FACTOR_PLAIN,
                                .size = dim < 0 ? -dim : dim};
    return d;
}

static bool is_side(const amg_factor *f)
{
    return f->kind == AMG_FACTOR_ROWS || f->kind == AMG_FACTOR_COLUMNS;
}

bool amg_token_dim_holds_side(const amg_token_dim *d)
{
    for (int i = 0; i < d->num; i++)
        if (is_side(&d->factors[i])) return true;
    return false;
}

bool amg_token_dim_holds(const amg_token_dim *d)
{
    for (int i = 0; i < d->num; i++)
        if (d->factors[i].kind == AMG_FACTOR_PATCHES) return true;
    return amg_token_dim_holds_side(d);
}

bool amg_token_dim_is_patches(const amg_token_dim *d)
{
    return d->num == 1 && d->factors[0].kind == AMG_FACTOR_PATCHES;
}

bool amg_token_dim_equal(const amg_token_dim *a, const amg_token_dim *b)
{
    if (a->num != b->num) return false;
    for (int i = 0; i < a->num; i++) {
        const amg_factor *f = &a->factors[i], *h = &b->factors[i];
        if (f->kind != h->kind || f->size != h->size || f->ahead != h->ahead ||
            f->behind != h->behind)
            return false;
    }
    return true;
}

bool amg_token_dim_cut(amg_token_dim *d, int64_t start, int64_t length)
{
    if (!amg_token_dim_is_patches(d)) return false;
    amg_factor *f = &d->factors[0];
    const int64_t first = f->ahead, past = f->size - f->behind, end = start + length;
    if (end <= first || start >= past) {
        *d = amg_token_dim_plain(length);
        return true;
    }
    if (start > first || end < past) return false;
    *f = (amg_factor){AMG_FACTOR_PATCHES, length, first - start, end - past};
    return true;
}

bool amg_token_layout_holds(const amg_token_layout *l)
{
    for (int d = 0; d < l->rank; d++)
        if (amg_token_dim_holds(&l->dims[d])) return true;
    return false;
}

bool amg_token_layout_splits_grid(const amg_token_layout *l, unsigned dims)
{
    int sides = 0;
    for (int d = 0; d < l->rank; d++)
        for (int i = 0; dims >> d & 1 && i < l->dims[d].num; i++)
            sides += is_side(&l->dims[d].factors[i]);
    return sides % 2 != 0;
}

/* ---- reshaping ---- */

/* Adds a factor behind d's others. */
static bool append(amg_token_dim *d, amg_factor f)
{
    amg_factor *last = d->num ? &d->factors[d->num - 1] : NULL;
    if (last && last->kind == AMG_FACTOR_PLAIN && f.kind == AMG_FACTOR_PLAIN) {
        last->size *= f.size;
    } else if (last && last->kind == AMG_FACTOR_ROWS && f.kind == AMG_FACTOR_COLUMNS) {
        *last = (amg_factor){.kind = AMG_FACTOR_PATCHES, .size = last->size * f.size};
    } else {
        if (d->num == AMG_MAX_FACTORS) return false;
        d->factors[d->num++] = f;
    }
    return true;
}

/* Takes what dim is made of from the beginning of the rest of all factors; what of a
 * plain factor is not needed stays there. */
static bool take_dim(amg_factor *all, int num, int *at, int64_t dim, amg_token_dim *out)
{
    int64_t need = dim < 0 ? -dim : dim;
    bool batch = dim < 0;
    *out = (amg_token_dim){0};
    while (need > 1 || batch) {
        if (*at == num) return false;
        amg_factor *f = &all[*at], taken = *f;
        const bool splits = f->kind == AMG_FACTOR_PLAIN && need > 1 && f->size > need &&
                            f->size % need == 0;
        if (splits) {
            taken.size = need;
            f->size /= need;
        } else if (need % f->size != 0 || (f->kind == AMG_FACTOR_BATCH && !batch)) {
            return false;
        } else {
            ++*at;
        }
        if (taken.kind == AMG_FACTOR_BATCH) batch = false;
        need /= taken.size;
        if (!append(out, taken)) return false;
    }
    return true;
}

bool amg_token_layout_reshape(const amg_token_layout *in, int rank, const int64_t *dims,
                              amg_token_layout *out)
{
    amg_factor all[AMG_MAX_RANK * AMG_MAX_FACTORS];
    amg_token_layout l = {.rank = rank};
    int num = 0, at = 0;
    for (int d = 0; d < in->rank; d++)
        for (int i = 0; i < in->dims[d].num; i++) all[num++] = in->dims[d].factors[i];
    for (int d = 0; d < rank; d++)
        if (!take_dim(all, num, &at, dims[d], &l.dims[d])) return false;
    if (at != num) return false;
    *out = l;
    return true;
}
