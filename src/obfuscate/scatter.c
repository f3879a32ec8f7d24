/* Scatter and select: a fixed permutation of every sample's values. A scatter byte by
 * byte writes one byte per cache line and takes ten times as long as copying, so tiles
 * of samples are turned first:
 *
 *     streams [64][n] --turn--> tile [N][64] --turn--> out [64][N]
 *                               row p of out is the tile's row source[p]
 *
 * A row of the tile is one cache line: 64 samples of one byte, or 16 of four. It is
 * filled in order and read in the permutation's, since a processor has many loads
 * under way at once but writes its stores one after the other. Tiles of small images
 * stay in the second-level cache. Knows nothing of keys or files. */
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/augment_data.h"
#include "obfuscate/turn.h"

#define LINE AMG_TURN_SIDE /* bytes of a cache line and of a tile's row */

/* Results from here on are written past the caches: more than a core's own hold. */
#define PAST_BYTES (INT64_C(4) << 20)

/* What a call works with: its memory, and the rows of a block. */
typedef struct {
    uint8_t *tile;            /* [values filled][LINE] */
    uint32_t *source;         /* [values drained] row of the tile for each */
    amg_turn_path path;       /* of bytes */
    bool past;                /* the caches, with this tile's results */
    uint32_t samples[LINE];   /* of a tile, counted from its first */
    uint32_t positions[LINE]; /* 0 ... 63 */
} mover;

/* ---- bytes: 64 samples to a tile, 64 values at a time ---- */

/* Rows of a block lie a whole sample apart, more of them than the processor's own
 * prefetcher follows. To the second cache: in the first, lines whose distance is a
 * multiple of 1 KiB have few places. A prefetch beyond a buffer's end does nothing. */
#define AHEAD (3 * LINE)

/* First value of the next block. The first block is followed by one that begins at
 * lead (0: by its neighbour), and the last overlaps the one before it: all are whole.
 */
static int64_t next_block(int64_t j, int64_t n, int64_t lead)
{
    if (j < lead) return lead;
    return j + 2 * LINE <= n || j + LINE == n ? j + LINE : n - LINE;
}

/* Samples of in, n values each -> tile [n][LINE]. */
static void fill_u8(const mover *m, const uint8_t *in, int64_t n, uint8_t *tile)
{
    for (int64_t j = 0; j < n; j = next_block(j, n, 0)) {
        const amg_turn_source from = {in + j, (size_t)n, m->samples};
        const amg_turn_target to = {tile + j * LINE, LINE, m->positions};
        for (int i = 0; i < LINE; i++)
            __builtin_prefetch(in + j + m->samples[i] * n + AHEAD, 0, 2);
        m->path.turn(from, to);
    }
}

/* tile -> samples of out: out[i][j] = tile[source[j]][i]. */
static void drain_u8(const mover *m, int64_t n, uint8_t *out)
{
    /* To whole lines past the caches: from the first multiple of 64 bytes on. */
    const int64_t lead = m->past ? (int64_t)(-(uintptr_t)out % LINE) : 0;
    for (int64_t j = 0, next; j < n; j = next) {
        const amg_turn_source from = {m->tile, LINE, m->source + j};
        const amg_turn_target to = {out + j, (size_t)n, m->samples};
        const bool past = m->past && (uintptr_t)(out + j) % LINE == 0;
        next = next_block(j, n, lead);
        for (int i = 0; i < LINE && next < n; i++)
            __builtin_prefetch(m->tile + (size_t)m->source[next + i] * LINE, 0, 3);
        for (int i = 0; i < LINE && !m->past; i++)
            __builtin_prefetch(out + j + m->samples[i] * n + AHEAD, 1, 2);
        (past ? m->path.turn_past : m->path.turn)(from, to);
    }
}

/* ---- 32-bit values: 16 samples to a tile ---- */

static void fill_u32(const uint32_t *in, int64_t n, int rows, uint32_t *tile)
{
    for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < rows; i++) tile[j * (LINE / 4) + i] = in[i * n + j];
}

static void drain_u32(const mover *m, int64_t n, int rows, uint32_t *out)
{
    const uint32_t *tile = (const void *)m->tile;
    /* 16 values at a time: the lines of 16 rows stay in the first cache. */
    for (int64_t j0 = 0; j0 < n; j0 += 16) {
        const int64_t j1 = j0 + 16 < n ? j0 + 16 : n;
        for (int i = 0; i < rows; i++)
            for (int64_t j = j0; j < j1; j++)
                out[i * n + j] = tile[(size_t)m->source[j] * (LINE / 4) + i];
    }
}

/* ---- value by value: no memory for a tile, or streams that leave holes ---- */

static inline void copy_value(uint8_t *to, const uint8_t *from, size_t elem)
{
    if (elem == 1)
        *to = *from;
    else
        memcpy(to, from, 4);
}

static void scatter_plain(const amg_obf_plan *plan, const void *const *streams,
                          int64_t num, size_t elem, void *out)
{
    for (int s = 0; s < plan->num_subnets; s++) {
        const uint8_t *from = streams[s];
        const uint32_t *select = plan->subnets[s].select;
        if (!from) continue;
        for (int64_t i = 0; i < num; i++) {
            uint8_t *to = (uint8_t *)out + (size_t)(i * plan->num_positions) * elem;
            for (int64_t j = 0; j < plan->num_values; j++, from += elem)
                copy_value(to + select[j] * elem, from, elem);
        }
    }
}

static void select_plain(const amg_obf_plan *plan, int subnet, const void *in,
                         int64_t num, size_t elem, void *out)
{
    const uint32_t *select = plan->subnets[subnet].select;
    uint8_t *to = out;
    for (int64_t i = 0; i < num; i++) {
        const uint8_t *from =
            (const uint8_t *)in + (size_t)(i * plan->num_positions) * elem;
        for (int64_t j = 0; j < plan->num_values; j++, to += elem)
            copy_value(to, from + select[j] * elem, elem);
    }
}

/* True if the streams that are there cover every position. */
static bool covers_all(const amg_obf_plan *plan, const void *const *streams)
{
    if (plan->shape.mode != AMG_MODE_STREAMS) return false;
    for (int s = 0; s < plan->num_subnets; s++)
        if (!streams[s]) return false;
    return true;
}

/* ---- tile by tile ---- */

/* A permutation of num samples: num_in inputs of n_in values each, side by side, to
 * n_out values. */
typedef struct {
    const void *const *in; /* [num_in], each [num][n_in] */
    int num_in;
    int64_t n_in, n_out, num;
    size_t elem;
    void *out; /* [num][n_out] */
} moving;

/* Blocks of bytes must be whole, and a tile for a few samples is not worth its time. */
static bool fits_tiles(const moving *v)
{
    return v->num * (int64_t)v->elem >= LINE / 4 &&
           (v->elem != 1 || (v->n_in >= LINE && v->n_out >= LINE));
}

/* False if there is no memory. */
static bool mover_init(mover *m, const moving *v)
{
    const amg_turn_path *paths;
    const int num_paths = amg_turn_paths(&paths);
    m->path = paths[num_paths - 1];
    m->past = false;
    m->tile = amg_alloc_aligned((size_t)(v->num_in * v->n_in) * LINE);
    m->source = amg_malloc((size_t)v->n_out * sizeof *m->source);
    for (uint32_t i = 0; i < LINE; i++) m->positions[i] = i;
    if (m->tile && m->source) return true;
    amg_free_aligned(m->tile);
    amg_free(m->source);
    return false;
}

static void mover_clear(mover *m)
{
    amg_free_aligned(m->tile);
    amg_free(m->source);
}

/* Moves num samples, step apart from first on; for less than a tile the last repeats.
 */
static void move_tile(mover *m, const moving *v, int64_t first, int64_t step, int num)
{
    uint8_t *out = (uint8_t *)v->out + (size_t)(first * v->n_out) * v->elem;
    for (int i = 0; i < LINE; i++)
        m->samples[i] = (uint32_t)(step * (i < num ? i : num - 1));
    for (int s = 0; s < v->num_in; s++) {
        const uint8_t *in =
            (const uint8_t *)v->in[s] + (size_t)(first * v->n_in) * v->elem;
        uint8_t *tile = m->tile + s * v->n_in * LINE;
        if (v->elem == 1)
            fill_u8(m, in, v->n_in, tile);
        else
            fill_u32((const void *)in, v->n_in, num, (void *)tile);
    }
    if (v->elem == 1)
        drain_u8(m, v->n_out, out);
    else
        drain_u32(m, v->n_out, num, (void *)out);
}

/* Moves as many samples as can go past the caches; returns how many. All samples of a
 * tile must begin at the same distance from a line's begin: every period-th does. */
static int64_t move_past(mover *m, const moving *v)
{
    int64_t period = 1, done = 0;
    if (v->elem != 1 || !m->path.turn_past || v->n_out < 2 * LINE ||
        v->num * v->n_out < PAST_BYTES)
        return 0;
    while (period * v->n_out % LINE != 0) period *= 2;
    m->past = true;
    for (; done + period * LINE <= v->num; done += period * LINE)
        for (int64_t i = 0; i < period; i++) move_tile(m, v, done + i, period, LINE);
    m->past = false;
    /* Such writes are in no order with the caller's next ones. */
    atomic_thread_fence(memory_order_seq_cst);
    return done;
}

static void move_all(mover *m, const moving *v)
{
    const int64_t per_tile = LINE / (int64_t)v->elem;
    for (int64_t i = move_past(m, v); i < v->num; i += per_tile)
        move_tile(m, v, i, 1, (int)(v->num - i < per_tile ? v->num - i : per_tile));
}

void amg_scatter(const amg_obf_plan *plan, const void *const *streams, int64_t num,
                 size_t elem, void *out)
{
    const int64_t n = plan->num_values;
    const moving v = {streams, plan->num_subnets, n, plan->num_positions, num, elem,
                      out};
    mover m;
    if (!covers_all(plan, streams) || !fits_tiles(&v) || !mover_init(&m, &v)) {
        scatter_plain(plan, streams, num, elem, out);
        return;
    }
    for (int s = 0; s < plan->num_subnets; s++)
        for (int64_t j = 0; j < n; j++)
            m.source[plan->subnets[s].select[j]] = (uint32_t)(s * n + j);
    move_all(&m, &v);
    mover_clear(&m);
}

void amg_select(const amg_obf_plan *plan, int subnet, const void *in, int64_t num,
                size_t elem, void *out)
{
    const int64_t n = plan->num_values;
    const moving v = {&in, 1, plan->num_positions, n, num, elem, out};
    mover m;
    if (!fits_tiles(&v) || !mover_init(&m, &v)) {
        select_plain(plan, subnet, in, num, elem, out);
        return;
    }
    memcpy(m.source, plan->subnets[subnet].select, (size_t)n * sizeof *m.source);
    move_all(&m, &v);
    mover_clear(&m);
}
