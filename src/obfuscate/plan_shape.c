/* What a plan may be asked for: each field of its public shape, and what they come to
 * together. */
#include "obfuscate/plan.h"

#include <math.h>

#include "base/checked.h"

/* Largest amount a paper-mode plan may ask for: 17 times each side. */
#define MAX_AMOUNT 16.0

static int64_t grown(int64_t side, double amount)
{
    return side + llround((double)side * amount);
}

bool amg_plan_shape_out(const amg_plan_shape *s, int64_t out[3], int64_t *count)
{
    const int64_t limit = INT32_MAX;
    for (int i = 0; i < 3; i++)
        if (s->dims[i] > limit) return false;
    out[0] = s->dims[0];
    if (s->mode != AMG_MODE_PAPER) {
        out[1] = s->dims[1] * (s->num_decoys + 1);
        out[2] = s->dims[2];
    } else {
        out[1] = grown(s->dims[1], s->amount);
        out[2] = s->dtype == AMG_I32 ? s->dims[2] : grown(s->dims[2], s->amount);
    }
    return amg_dims_count(out, 3, count) && *count <= limit;
}

static amg_status check_classes(const amg_plan_shape *s, amg_error *err)
{
    const int64_t classes[2] = {s->num_classes, s->cover_classes};
    for (int i = 0; i < 2; i++)
        if (classes[i] < 1 || classes[i] > AMG_MAX_CLASSES)
            return amg_fail(err, AMG_INVALID, -1, i ? "cover_classes" : "num_classes",
                            "found %lld classes, expected 1 to %d",
                            (long long)classes[i], AMG_MAX_CLASSES);
    if (s->mode == AMG_MODE_PAPER && s->num_classes != s->cover_classes)
        return amg_fail(err, AMG_INVALID, -1, "cover_classes",
                        "found %lld, expected the original's %lld in paper mode",
                        (long long)s->cover_classes, (long long)s->num_classes);
    return AMG_OK;
}

/* Tokens are numbered for each slot, a language model's classes like its tokens. */
static amg_status check_tokens(const amg_plan_shape *s, amg_error *err)
{
    if (s->vocab < 0 || s->vocab > AMG_MAX_CLASSES)
        return amg_fail(err, AMG_INVALID, -1, "vocab",
                        "found %lld tokens, expected 0 to %d", (long long)s->vocab,
                        AMG_MAX_CLASSES);
    if (s->vocab > 0 && s->dtype != AMG_I32)
        return amg_fail(err, AMG_INVALID, -1, "vocab",
                        "found %lld tokens in data of %s, expected I32",
                        (long long)s->vocab, amg_dtype_name(s->dtype));
    if (s->num_fixed < 0 || s->num_fixed > AMG_MAX_FIXED_TOKENS)
        return amg_fail(err, AMG_INVALID, -1, "fixed",
                        "found %d fixed tokens, expected 0 to %d", s->num_fixed,
                        AMG_MAX_FIXED_TOKENS);
    for (int i = 0; i < s->num_fixed; i++)
        if (s->fixed[i] < 0 || s->fixed[i] >= s->vocab ||
            (i > 0 && s->fixed[i] <= s->fixed[i - 1]))
            return amg_fail(err, AMG_INVALID, -1, "fixed",
                            "token %d is %lld, expected ascending ones below %lld", i,
                            (long long)s->fixed[i], (long long)s->vocab);
    if (!s->tokens_are_classes ||
        (s->vocab > 0 && s->permute_labels && s->num_classes == s->vocab &&
         s->cover_classes == s->vocab))
        return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, "tokens_are_classes",
                    "found %lld and %lld classes%s, expected %lld permuted tokens",
                    (long long)s->num_classes, (long long)s->cover_classes,
                    s->permute_labels ? "" : " that keep their numbers",
                    (long long)s->vocab);
}

int64_t amg_plan_shape_blocks(const amg_plan_shape *s)
{
    return s->block[0] == 0 ? 0 : s->dims[1] / s->block[0] * (s->dims[2] / s->block[1]);
}

/* Of covers' values rotated alike: noise is drawn as it is sent, and other owners have
 * other keys. */
static amg_status check_rotation(const amg_plan_shape *s, amg_error *err)
{
    const int64_t limits[3] = {s->dims[0], s->block[0], s->block[1]};
    int64_t n;
    if (s->dtype != AMG_F32)
        return amg_fail(err, AMG_INVALID, -1, "rotate",
                        "found rotated data of %s, expected F32",
                        amg_dtype_name(s->dtype));
    if (s->mode != AMG_MODE_STREAMS)
        return amg_fail(err, AMG_INVALID, -1, "rotate",
                        "found rotated values outside of streams mode");
    if (amg_dims_count(limits, 3, &n) && n <= AMG_MAX_ROTATED) return AMG_OK;
    return amg_fail(err, AMG_INVALID, -1, "rotate",
                    "found a block of %lld x %lld x %lld values, expected at most %d",
                    (long long)limits[0], (long long)limits[1], (long long)limits[2],
                    AMG_MAX_ROTATED);
}

/* Values change places within blocks that tile the sample. */
static amg_status check_blocks(const amg_plan_shape *s, amg_error *err)
{
    if (s->block[0] == 0 && s->block[1] == 0) {
        if (!s->patches && !s->rotate) return AMG_OK;
        return amg_fail(err, AMG_INVALID, -1, s->patches ? "patches" : "rotate",
                        s->patches ? "found patches that change places, but no block"
                                   : "found values that are rotated, but no block");
    }
    if (s->dtype == AMG_I32)
        return amg_fail(err, AMG_INVALID, -1, "block",
                        "found blocks in data of I32, whose order means something");
    for (int d = 0; d < 2; d++)
        if (s->block[d] < 1 || s->dims[1 + d] % s->block[d] != 0)
            return amg_fail(err, AMG_INVALID, -1, "block",
                            "found a side of %lld, expected a divisor of %lld",
                            (long long)s->block[d], (long long)s->dims[1 + d]);
    if (s->patches && amg_plan_shape_blocks(s) < 2)
        return amg_fail(err, AMG_INVALID, -1, "patches",
                        "found a single patch, expected 2 or more to change places");
    return s->rotate ? check_rotation(s, err) : AMG_OK;
}

static amg_status check_amount(const amg_plan_shape *s, amg_error *err)
{
    if (s->mode != AMG_MODE_PAPER) {
        if (s->amount == 0.0) return AMG_OK;
        return amg_fail(err, AMG_INVALID, -1, "amount",
                        "found %g, expected 0 outside of paper mode", s->amount);
    }
    if (!(s->amount > 0.0 && s->amount <= MAX_AMOUNT)) /* NaN too */
        return amg_fail(err, AMG_INVALID, -1, "amount",
                        "found %g, expected above 0 and at most %g", s->amount,
                        MAX_AMOUNT);
    return AMG_OK;
}

amg_status amg_plan_shape_check(const amg_plan_shape *s, amg_error *err)
{
    if (s->mode != AMG_MODE_STREAMS && s->mode != AMG_MODE_PAPER &&
        s->mode != AMG_MODE_PACK)
        return amg_fail(err, AMG_INVALID, -1, "mode", "found %d, expected 0 to 2",
                        (int)s->mode);
    if (s->num_decoys < 1 || s->num_decoys > AMG_MAX_DECOYS)
        return amg_fail(err, AMG_INVALID, -1, "num_decoys",
                        "found %d decoys, expected 1 to %d", s->num_decoys,
                        AMG_MAX_DECOYS);
    if (s->dtype != AMG_U8 && s->dtype != AMG_F32 && s->dtype != AMG_I32)
        return amg_fail(err, AMG_INVALID, -1, "dtype",
                        "found %s, expected U8, F32 or I32", amg_dtype_name(s->dtype));
    for (int i = 0; i < 3; i++)
        if (s->dims[i] < 1)
            return amg_fail(err, AMG_INVALID, -1, "dims",
                            "dim %d is %lld, expected 1 or more", i,
                            (long long)s->dims[i]);
    if (s->mode == AMG_MODE_PAPER && s->dtype == AMG_I32 &&
        (s->dims[0] != 1 || s->dims[2] != 1))
        return amg_fail(err, AMG_INVALID, -1, "dims",
                        "paper mode takes rows of I32, found %lld x %lld x %lld",
                        (long long)s->dims[0], (long long)s->dims[1],
                        (long long)s->dims[2]);
    amg_status st = check_amount(s, err);
    if (st == AMG_OK) st = check_classes(s, err);
    if (st == AMG_OK) st = check_tokens(s, err);
    if (st == AMG_OK) st = check_blocks(s, err);
    if (st != AMG_OK) return st;

    int64_t out[3], count;
    char text[AMG_SHAPE_TEXT];
    amg_shape_text(s->dtype, 3, s->dims, text);
    if (!amg_plan_shape_out(s, out, &count))
        return amg_fail(err, AMG_INVALID, -1, "dims",
                        "samples of %s grow beyond %d values", text, INT32_MAX);
    if (s->mode == AMG_MODE_PAPER && out[1] == s->dims[1] && out[2] == s->dims[2])
        return amg_fail(err, AMG_INVALID, -1, "amount",
                        "%g adds no %s to samples of %s", s->amount,
                        s->dtype == AMG_I32 ? "token" : "row and no column", text);
    return AMG_OK;
}
