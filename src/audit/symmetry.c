/* The symmetry attack: samples whose values the job mixes (obfuscate --symmetry), as
 * the cloud sees them, and put back in order by what public images of the same size say
 * about neighbours: moments and correlations of the values of a block, matched one to
 * one (matching.h). Where patches change places, too, they are matched in the same way,
 * once their values are back: neighbours' borders continue each other. Rotated values
 * (--symmetry-rotate) are turned back by the axes of their covariance (turn_back.h).
 * Nothing can pass: it says how little or much the mixing hides.
 *
 * The mixing is the same for all streams, so it is looked at on the original's. Takes
 * less than a second for blocks of 8 x 8 in three channels, seconds for images of 28 x
 * 28, most of a minute for 3 x 32 x 32. */
#include <math.h>
#include <string.h>

#include "audit/attack.h"
#include "audit/matching.h"
#include "audit/pictures.h"
#include "audit/stats.h"
#include "audit/turn_back.h"
#include "base/alloc.h"
#include "formats/dataset.h"

enum { COMPARED_ROWS = 32, MAX_BLOCKS = 20000, MAX_VALUES = 3072 };
/* What is taken of a patch, all channels together: its mean and those of its borders.
 */
enum { ALL, TOP, BOTTOM, LEFT, RIGHT, NUM_FACTS };
#define MAX_FLOATS ((int64_t)1 << 26) /* of the blocks of one set */

static const char attack[] = "symmetry";

static amg_status no_memory(amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory for blocks");
}

/* How images are cut. */
typedef struct {
    int64_t dims[3], block[2];
    int64_t values; /* of a block, all channels */
    int64_t blocks; /* of an image */
} cutting;

static cutting cutting_of(const amg_evidence *e)
{
    cutting c = {.values = 0};
    memcpy(c.dims, e->streams[e->original].dims, sizeof c.dims);
    memcpy(c.block, e->block, sizeof c.block);
    c.values = c.dims[0] * c.block[0] * c.block[1];
    c.blocks = c.dims[1] / c.block[0] * (c.dims[2] / c.block[1]);
    return c;
}

/* Where value v of a block (channel, row, column) lies in the image. */
static int64_t pixel_of(const cutting *c, int64_t block, int64_t v)
{
    const int64_t area = c->block[0] * c->block[1], across = c->dims[2] / c->block[1];
    const int64_t y = block / across * c->block[0] + v % area / c->block[1];
    const int64_t x = block % across * c->block[1] + v % c->block[1];
    return (v / area * c->dims[1] + y) * c->dims[2] + x;
}

/* ---- images put back ---- */

/* What each value of a block, and each block, of the job's is taken for; NULL: for what
 * stands there. Of rotated values, turn and shift instead of values (turn_back.h). */
typedef struct {
    int32_t *values, *blocks;
    double *turn, *shift;
    bool mirrored; /* left and right change places at the end, where blocks keep theirs
                      within each */
} order;

static void order_clear(order *o)
{
    amg_free(o->values);
    amg_free(o->blocks);
    amg_free(o->turn);
    amg_free(o->shift);
    *o = (order){0};
}

/* Turns block number block of from back; to its place in to. */
static void turn_block(const cutting *c, const order *o, int64_t block, int64_t place,
                       const float *from, float *to)
{
    double own[AMG_MAX_ROTATED];
    for (int64_t v = 0; v < c->values; v++)
        own[v] = (double)from[pixel_of(c, block, v)];
    for (int64_t i = 0; i < c->values; i++) {
        const double *row = o->turn + i * c->values;
        double sum = o->shift[i];
        for (int64_t j = 0; j < c->values; j++) sum += row[j] * own[j];
        to[pixel_of(c, place, i)] = (float)sum;
    }
}

/* Left and right of each span of w values change places. */
static void mirror(const cutting *c, int64_t w, float *image)
{
    const int64_t count = c->dims[0] * c->dims[1] * c->dims[2];
    for (float *span = image; span < image + count; span += w)
        for (int64_t x = 0; x < w / 2; x++) {
            const float kept = span[x];
            span[x] = span[w - 1 - x];
            span[w - 1 - x] = kept;
        }
}

static void put_back(const amg_evidence *e, const cutting *c, const order *o,
                     int64_t row, float *seen, float *out)
{
    amg_evidence_sample(e, e->original, row, seen);
    for (int64_t b = 0; b < c->blocks; b++) {
        const int64_t place = o->blocks ? o->blocks[b] : b;
        if (o->turn)
            turn_block(c, o, b, place, seen, out);
        else
            for (int64_t v = 0; v < c->values; v++)
                out[pixel_of(c, place, o->values ? o->values[v] : v)] =
                    seen[pixel_of(c, b, v)];
    }
    if (o->mirrored) mirror(c, o->blocks ? c->dims[2] : c->block[1], out);
}

/* ---- blocks of many images ---- */

typedef struct {
    const amg_evidence *e; /* the original's stream, or */
    const amg_dataset *ds; /* a public set */
    int64_t num_images;
    const int32_t *match; /* the place of a block that each value is taken for; NULL:
                             its own */
} images;

static amg_status read_image(const images *from, int64_t i, void *raw, float *out,
                             const cutting *c, amg_error *err)
{
    const int64_t count = c->dims[0] * c->dims[1] * c->dims[2];
    if (from->e) {
        amg_evidence_sample(from->e, from->e->original, i, out);
        return AMG_OK;
    }
    const amg_status st = amg_dataset_read(from->ds, i, raw, NULL, err);
    const bool bytes = amg_dataset_get_info(from->ds)->dtype == AMG_U8;
    for (int64_t v = 0; v < count && !st; v++)
        out[v] = bytes ? (float)((const uint8_t *)raw)[v] : ((const float *)raw)[v];
    return st;
}

/* A row for each block: its values. */
static void add_values(const images *from, const cutting *c, const float *image,
                       float *to)
{
    (void)from;
    for (int64_t b = 0; b < c->blocks; b++)
        for (int64_t v = 0; v < c->values; v++) *to++ = image[pixel_of(c, b, v)];
}

/* A row for the image: each fact of all blocks. */
static void add_facts(const images *from, const cutting *c, const float *image,
                      float *to)
{
    const int64_t h = c->block[0], w = c->block[1];
    memset(to, 0, (size_t)(NUM_FACTS * c->blocks) * sizeof *to);
    for (int64_t b = 0; b < c->blocks; b++)
        for (int64_t v = 0; v < c->values; v++) {
            const float x = image[pixel_of(c, b, v)];
            const int64_t place = (from->match ? from->match[v] : v) % (h * w);
            const int64_t row = place / w, column = place % w;
            to[ALL * c->blocks + b] += x;
            if (row == 0) to[TOP * c->blocks + b] += x;
            if (row == h - 1) to[BOTTOM * c->blocks + b] += x;
            if (column == 0) to[LEFT * c->blocks + b] += x;
            if (column == w - 1) to[RIGHT * c->blocks + b] += x;
        }
}

/* What is looked at: rows of so many variables, several of an image. */
typedef struct {
    void (*add)(const images *from, const cutting *c, const float *image, float *to);
    int64_t rows, variables, group;
} summary;

static summary values_of(const cutting *c)
{
    return (summary){add_values, c->blocks, c->values, c->block[0] * c->block[1]};
}

static summary facts_of(const cutting *c)
{
    return (summary){add_facts, 1, NUM_FACTS * c->blocks, c->blocks};
}

/* Rows of many images, evenly spread: *rows (heap) [*num][what->variables]. */
static amg_status take_rows(const images *from, const cutting *c, const summary *what,
                            float **rows, int64_t *num, amg_error *err)
{
    const int64_t count = c->dims[0] * c->dims[1] * c->dims[2];
    const int64_t floats = what->rows * what->variables; /* of an image */
    int64_t most = MAX_FLOATS / floats;
    if (most > MAX_BLOCKS / what->rows) most = MAX_BLOCKS / what->rows;
    if (most < 1) most = 1;
    const int64_t taken = from->num_images < most ? from->num_images : most;
    float *all = amg_malloc((size_t)(taken * floats) * sizeof *all);
    float *image = amg_malloc((size_t)count * sizeof *image);
    void *raw = amg_malloc((size_t)count * sizeof(float));
    amg_status st = all && image && raw ? AMG_OK : no_memory(err);
    for (int64_t i = 0; i < taken && !st; i++) {
        st = read_image(from, i * from->num_images / taken, raw, image, c, err);
        if (!st) what->add(from, c, image, all + i * floats);
    }
    amg_free(image);
    amg_free(raw);
    if (st) {
        amg_free(all);
        return st;
    }
    *rows = all;
    *num = taken * what->rows;
    return AMG_OK;
}

static amg_status take_stats(const images *from, const cutting *c, const summary *what,
                             amg_variable_stats *out, amg_error *err)
{
    float *rows = NULL;
    int64_t num;
    amg_status st = take_rows(from, c, what, &rows, &num, err);
    if (!st)
        st = amg_variable_stats_of(rows, num, what->variables, what->group, out, err);
    amg_free(rows);
    return st;
}

static amg_status take_blocks(const images *from, const cutting *c, amg_blocks *out,
                              amg_error *err)
{
    const summary values = values_of(c);
    amg_blocks b = {
        .n = c->values, .blocks = c->blocks, .across = c->dims[2] / c->block[1]};
    amg_status st = take_rows(from, c, &values, &b.rows, &b.num, err);
    b.num /= c->blocks;
    if (!st) st = amg_blocks_of(&b, err);
    if (!st) *out = b;
    return st;
}

/* ---- how alike they are ---- */

/* Black and white of the owner's sample: rotated ones are taken back to the numbers
 * that they were made of, as which a public set's come back. */
static void own_sample(const amg_evidence *e, const cutting *c, int64_t row, float *own,
                       float *low, float *range)
{
    const int64_t area = c->dims[1] * c->dims[2], count = c->dims[0] * area;
    amg_picture_range(e, row, low, range);
    amg_evidence_original(e, row, own);
    if (!e->rotation) return;
    const amg_preprocess *pre = &e->pre;
    const bool bytes = pre->data_dtype == AMG_U8;
    float least = INFINITY, most = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        const int64_t channel = pre->num_channels > 1 ? i / area : 0;
        if (pre->num_channels > 0)
            own[i] = own[i] * pre->std[channel] + pre->mean[channel];
        if (bytes) own[i] *= 255;
        least = fminf(least, own[i]);
        most = fmaxf(most, own[i]);
    }
    *low = bytes ? 0 : least;
    *range = bytes ? 255 : most > least ? most - least : 1;
}

static void moments_of(const float *x, int64_t n, double *mean, double *deviation)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        square += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *deviation = sqrt(square / (double)n);
}

/* As somebody would look at numbers of no known scale: with the sample's brightness and
 * contrast. */
static void adjust(const float *own, int64_t n, float *out)
{
    double mean, deviation, from, by;
    moments_of(own, n, &mean, &deviation);
    moments_of(out, n, &from, &by);
    for (int64_t i = 0; i < n; i++)
        out[i] =
            (float)(mean + (by > 0 ? ((double)out[i] - from) / by : 0) * deviation);
}

/* A picture's shades are those of the job's row. */
static amg_status draw(const amg_attack_task *task, const cutting *c, float low,
                       float range, float *out, amg_picture picture, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    float row_low, row_range;
    amg_picture_range(e, 0, &row_low, &row_range);
    for (int64_t i = 0; e->rotation && i < c->dims[0] * c->dims[1] * c->dims[2]; i++)
        out[i] = row_low + row_range * (out[i] - low) / range;
    return amg_picture_add(e, 0, c->dims, out, picture, task->findings, err);
}

/* Room for three images. */
typedef struct {
    float *seen, *out, *own;
} canvas;

/* How like the owner's sample of a row is what comes of it, on the canvas. */
static double likeness(const amg_evidence *e, const cutting *c, const order *o,
                       int64_t row, canvas *k, float *low, float *range)
{
    own_sample(e, c, row, k->own, low, range);
    put_back(e, c, o, row, k->seen, k->out);
    if (e->rotation && !o->turn)
        adjust(k->own, c->dims[0] * c->dims[1] * c->dims[2], k->out);
    return amg_ssim(k->out, k->own, c->dims, (double)*range);
}

static double mean_likeness(const amg_evidence *e, const cutting *c, const order *o,
                            canvas *k)
{
    const int64_t rows = e->num_rows < COMPARED_ROWS ? e->num_rows : COMPARED_ROWS;
    double sum = 0;
    float low, range;
    for (int64_t i = 0; i < rows; i++)
        sum += likeness(e, c, o, i * e->num_rows / rows, k, &low, &range);
    return sum / (double)rows;
}

/* Statistics hardly tell public images from their mirror images, and who looks at them
 * does not mind: the better of the two. Returns the mean likeness. */
static double choose_side(const amg_evidence *e, const cutting *c, order *o, canvas *k)
{
    const double straight = mean_likeness(e, c, o, k);
    if (!o->values && !o->turn) return straight; /* as the cloud sees them */
    o->mirrored = true;
    const double mirrored = mean_likeness(e, c, o, k);
    o->mirrored = mirrored > straight;
    return o->mirrored ? mirrored : straight;
}

/* Mean likeness over some rows, a finding and a picture. how: what was done, and source
 * of it, for the sentence. */
static amg_status report(const amg_attack_task *task, const cutting *c, order *o,
                         const char *metric, const char *title, const char *how,
                         const char *source, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    const size_t bytes = (size_t)(c->dims[0] * c->dims[1] * c->dims[2]) * sizeof(float);
    canvas k = {amg_malloc(bytes), amg_malloc(bytes), amg_malloc(bytes)};
    amg_finding f = amg_finding_new(attack, metric);
    amg_picture picture = {.title = title, .stream = e->original};
    amg_status st = k.seen && k.out && k.own ? AMG_OK : no_memory(err);
    if (!st) f.value = choose_side(e, c, o, &k);
    if (!st && (o->values || o->turn)) { /* as the cloud sees it: the candidate's */
        float low, range;
        picture.ssim = likeness(e, c, o, 0, &k, &low, &range);
        st = draw(task, c, low, range, k.out, picture, err);
    }
    if (!st)
        st =
            amg_findings_add(task->findings, &f, err,
                             "%s%s%s, your samples are like themselves to %.2f "
                             "(structural similarity; 1: the same, 0: nothing in "
                             "common).",
                             how, source, o->mirrored ? ", and mirrored" : "", f.value);
    amg_free(k.seen);
    amg_free(k.out);
    amg_free(k.own);
    return st;
}

/* Blocks, once their values are back. */
static amg_status match_blocks(const images *own, const images *public,
                               const cutting *c, int32_t *match, amg_error *err)
{
    const summary facts = facts_of(c);
    amg_variable_stats seen = {0}, known = {0};
    amg_status st = take_stats(own, c, &facts, &seen, err);
    if (!st) st = take_stats(public, c, &facts, &known, err);
    if (!st) st = amg_match_variables(&seen, &known, true, match, err);
    amg_variable_stats_clear(&seen);
    amg_variable_stats_clear(&known);
    return st;
}

/* What is known of the values of all blocks of the job: of rotated ones all. */
typedef struct {
    amg_variable_stats stats;
    amg_blocks blocks;
} known_values;

static amg_status know_values(const images *from, bool rotated, const cutting *c,
                              known_values *out, amg_error *err)
{
    const summary values = values_of(c);
    return rotated ? take_blocks(from, c, &out->blocks, err)
                   : take_stats(from, c, &values, &out->stats, err);
}

static void known_values_clear(known_values *k)
{
    amg_variable_stats_clear(&k->stats);
    amg_blocks_clear(&k->blocks);
}

/* Room for what is to be found. */
static amg_status order_new(const amg_evidence *e, const cutting *c, order *out,
                            amg_error *err)
{
    const bool patches = e->patches && NUM_FACTS * c->blocks <= MAX_VALUES;
    const size_t n = (size_t)c->values;
    order o = {0};
    if (e->rotation) {
        o.turn = amg_calloc(n * n, sizeof *o.turn);
        o.shift = amg_calloc(n, sizeof *o.shift);
    } else {
        o.values = amg_calloc(n, sizeof *o.values);
    }
    if (patches) /* each fact of all blocks, matched alike: of the first we make use */
        o.blocks = amg_calloc((size_t)(NUM_FACTS * c->blocks), sizeof *o.blocks);
    if ((e->rotation ? o.turn && o.shift : o.values != NULL) &&
        (!patches || o.blocks)) {
        *out = o;
        return AMG_OK;
    }
    order_clear(&o);
    return no_memory(err);
}

static amg_status find_turn(const known_values *seen, const known_values *known,
                            order *o, amg_error *err)
{
    const amg_blocks *a = &seen->blocks, *b = &known->blocks;
    amg_status st = o->blocks ? amg_blocks_match(a, b, o->blocks, err) : AMG_OK;
    return st ? st : amg_turn_back(a, b, o->blocks, o->turn, o->shift, err);
}

static amg_status find_order(const amg_evidence *e, const known_values *seen,
                             const images *public, const cutting *c, order *o,
                             amg_error *err)
{
    const images own = {.e = e, .num_images = e->num_rows, .match = o->values};
    known_values known = {0};
    amg_status st = know_values(public, e->rotation != NULL, c, &known, err);
    if (!st && e->rotation) {
        st = find_turn(seen, &known, o, err);
    } else if (!st) {
        st = amg_match_variables(&seen->stats, &known.stats, false, o->values, err);
        if (!st && o->blocks) st = match_blocks(&own, public, c, o->blocks, err);
    }
    known_values_clear(&known);
    return st;
}

/* One public set; *used stays as it was if its images are others. */
static amg_status try_set(const amg_attack_task *task, const cutting *c,
                          const known_values *seen, const char *spec, bool *used,
                          amg_error *err)
{
    const amg_evidence *e = task->evidence;
    order o = {0};
    amg_dataset *ds = NULL;
    amg_status st = amg_dataset_open(spec, &ds, err);
    if (st) return st;
    const amg_dataset_info *info = amg_dataset_get_info(ds);
    const bool fits = info->rank == 3 && info->dtype != AMG_I32 &&
                      memcmp(info->dims, c->dims, sizeof c->dims) == 0;
    if (fits) st = order_new(e, c, &o, err);
    if (!st && fits) {
        const images from = {.ds = ds, .num_images = info->num_samples};
        *used = true;
        st = find_order(e, seen, &from, c, &o, err);
        if (!st)
            st = report(task, c, &o, "SSIM of samples put back in order",
                        "Put back in order by public images",
                        "Put back in order by the statistics of ", spec, err);
    }
    order_clear(&o);
    amg_dataset_close(ds);
    return st;
}

amg_status amg_attack_symmetry(const amg_attack_task *task, amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (!e->has_truth)
        return amg_findings_skip(task->findings, attack, err,
                                 "needs the key: it compares images with yours");
    if (!e->own_order)
        return amg_findings_skip(task->findings, attack, err,
                                 "the job does not mix the values of samples (amalgam "
                                 "obfuscate --symmetry)");
    if (!e->is_image)
        return amg_findings_skip(task->findings, attack, err, "needs images");
    const cutting c = cutting_of(e);
    order as_seen = {0};
    known_values seen = {0};
    bool used = false;
    amg_status st = report(
        task, &c, &as_seen, "SSIM of samples as the cloud sees them", NULL,
        e->rotation ? "With their values rotated" : "With their values mixed", "", err);
    if (st || task->options->num_lookup == 0) return st;
    if (c.values > MAX_VALUES)
        return amg_findings_skip(task->findings, attack, err,
                                 "blocks of %lld values are too many to match",
                                 (long long)c.values);
    const images own = {.e = e, .num_images = e->num_rows};
    st = know_values(&own, e->rotation != NULL, &c, &seen, err);
    for (int i = 0; i < task->options->num_lookup && !st; i++)
        st = try_set(task, &c, &seen, task->options->lookup[i], &used, err);
    if (!st && !used)
        st = amg_findings_skip(task->findings, attack, err,
                               "no --aux set has images of this size");
    known_values_clear(&seen);
    return st;
}
