/* Scatter and select: a fixed permutation of every sample's values. A scatter byte by
 * byte writes one byte per cache line and takes ten times as long as copying, so tiles
 * of samples are turned first:
 *
 *     streams [64][n]  --transpose-->  tile [N][64]  --transpose-->  out [64][N]
 *                      run j of 64 bytes goes, whole, to row select[j]
 *
 * A row of the tile is one cache line: 64 samples of one byte, or 16 of four. Tiles of
 * small images stay in the second-level cache. Knows nothing of keys or files. */
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/alloc.h"
#include "obfuscate/augment_data.h"

#define LINE 64 /* bytes of a cache line and of a tile's row */

/* ---- blocks: turns [16 rows][16 columns] of bytes, each side with its own stride ----
 */

#if defined(__SSE2__)
typedef __m128i row16;

/* One stage of the 16 x 16 turn: interleaves the halves of the list of rows. Four
 * stages bring byte c of row r to byte r of row c. */
static inline void interleave(const row16 in[16], row16 out[16])
{
    for (int i = 0; i < 8; i++) {
        out[2 * i] = _mm_unpacklo_epi8(in[i], in[i + 8]);
        out[2 * i + 1] = _mm_unpackhi_epi8(in[i], in[i + 8]);
    }
}

static inline void load_turned(const uint8_t *from, size_t stride, row16 out[16])
{
    row16 a[16], b[16];
    for (int i = 0; i < 16; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(const void *)(from + i * stride));
    interleave(a, b);
    interleave(b, a);
    interleave(a, b);
    interleave(b, out);
}

static inline void store_row(uint8_t *to, row16 row)
{
    _mm_storeu_si128((__m128i *)(void *)to, row);
}
#else
typedef struct {
    uint8_t v[16];
} row16;

static inline void load_turned(const uint8_t *from, size_t stride, row16 out[16])
{
    for (int r = 0; r < 16; r++)
        for (int c = 0; c < 16; c++) out[c].v[r] = from[r * stride + c];
}

static inline void store_row(uint8_t *to, row16 row) { memcpy(to, row.v, 16); }
#endif

/* ---- bytes: 64 samples to a tile ---- */

/* in [rows][n] -> tile: byte j of sample i goes to tile[row(j)][i], row(j) = place[j],
 * or j if place is NULL. Columns are taken 64 at a time, so that a tile's line is
 * completed by its four groups of 16 samples while it is still in the first cache. */
static void fill_u8(const uint8_t *in, int64_t n, int rows, const uint32_t *place,
                    uint8_t *tile)
{
    const int whole = rows & ~15;
    const int64_t full = n & ~INT64_C(15);
    for (int64_t j0 = 0; j0 < full; j0 += LINE) {
        const int64_t j1 = j0 + LINE < full ? j0 + LINE : full;
        for (int g = 0; g < whole; g += 16)
            for (int64_t j = j0; j < j1; j += 16) {
                row16 turned[16];
                load_turned(in + g * n + j, (size_t)n, turned);
                for (int c = 0; c < 16; c++) {
                    size_t row = place ? place[j + c] : (size_t)(j + c);
                    store_row(tile + row * LINE + g, turned[c]);
                }
            }
    }
    for (int64_t j = 0; j < n; j++) {
        size_t row = place ? place[j] : (size_t)j;
        for (int i = j < full ? whole : 0; i < rows; i++)
            tile[row * LINE + i] = in[i * n + j];
    }
}

/* tile -> out [rows][n]: out[i][j] = tile[row(j)][i]. Each sample's 64 columns are
 * written as one piece: with a stride of a power of two, 64 half-written lines would
 * push each other out of the first cache. */
static void drain_u8(const uint8_t *tile, int64_t n, int rows, const uint32_t *place,
                     uint8_t *out)
{
    const int whole = rows & ~15;
    const int64_t full = n & ~INT64_C(15);
    for (int64_t j0 = 0; j0 < full; j0 += LINE) {
        const int64_t j1 = j0 + LINE < full ? j0 + LINE : full;
        for (int g = 0; g < whole; g += 16)
            for (int64_t j = j0; j < j1; j += 16) {
                uint8_t block[16][16];
                row16 turned[16];
                const uint8_t *from = tile + (size_t)j * LINE + g;
                size_t stride = LINE;
                if (place) { /* rows stand apart: collect them */
                    for (int c = 0; c < 16; c++)
                        memcpy(block[c], tile + (size_t)place[j + c] * LINE + g, 16);
                    from = block[0];
                    stride = 16;
                }
                load_turned(from, stride, turned);
                for (int i = 0; i < 16; i++)
                    store_row(out + (g + i) * n + j, turned[i]);
            }
    }
    for (int64_t j = 0; j < n; j++) {
        size_t row = place ? place[j] : (size_t)j;
        for (int i = j < full ? whole : 0; i < rows; i++)
            out[i * n + j] = tile[row * LINE + i];
    }
}

/* ---- 32-bit values: 16 samples to a tile ---- */

static void fill_u32(const uint32_t *in, int64_t n, int rows, const uint32_t *place,
                     uint32_t *tile)
{
    for (int64_t j = 0; j < n; j++) {
        uint32_t *row = tile + (size_t)(place ? place[j] : j) * (LINE / 4);
        for (int i = 0; i < rows; i++) row[i] = in[i * n + j];
    }
}

static void drain_u32(const uint32_t *tile, int64_t n, int rows, const uint32_t *place,
                      uint32_t *out)
{
    /* 16 columns at a time, for the reason given at drain_u8. */
    for (int64_t j0 = 0; j0 < n; j0 += 16) {
        const int64_t j1 = j0 + 16 < n ? j0 + 16 : n;
        for (int i = 0; i < rows; i++)
            for (int64_t j = j0; j < j1; j++)
                out[i * n + j] = tile[(size_t)(place ? place[j] : j) * (LINE / 4) + i];
    }
}

static void fill(const void *in, int64_t n, int rows, size_t elem,
                 const uint32_t *place, void *tile)
{
    if (elem == 1)
        fill_u8(in, n, rows, place, tile);
    else
        fill_u32(in, n, rows, place, tile);
}

static void drain(const void *tile, int64_t n, int rows, size_t elem,
                  const uint32_t *place, void *out)
{
    if (elem == 1)
        drain_u8(tile, n, rows, place, out);
    else
        drain_u32(tile, n, rows, place, out);
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

void amg_scatter(const amg_obf_plan *plan, const void *const *streams, int64_t num,
                 size_t elem, void *out)
{
    const int64_t n = plan->num_values, N = plan->num_positions;
    const int64_t per_tile = LINE / (int64_t)elem;
    void *tile = NULL;
    if (covers_all(plan, streams) && num > 1)
        tile = amg_alloc_aligned((size_t)N * LINE);
    if (!tile) {
        scatter_plain(plan, streams, num, elem, out);
        return;
    }
    for (int64_t i = 0; i < num; i += per_tile) {
        const int rows = (int)(num - i < per_tile ? num - i : per_tile);
        for (int s = 0; s < plan->num_subnets; s++)
            fill((const uint8_t *)streams[s] + (size_t)(i * n) * elem, n, rows, elem,
                 plan->subnets[s].select, tile);
        drain(tile, N, rows, elem, NULL, (uint8_t *)out + (size_t)(i * N) * elem);
    }
    amg_free_aligned(tile);
}

void amg_select(const amg_obf_plan *plan, int subnet, const void *in, int64_t num,
                size_t elem, void *out)
{
    const int64_t n = plan->num_values, N = plan->num_positions;
    const int64_t per_tile = LINE / (int64_t)elem;
    void *tile = num > 1 ? amg_alloc_aligned((size_t)N * LINE) : NULL;
    if (!tile) {
        select_plain(plan, subnet, in, num, elem, out);
        return;
    }
    for (int64_t i = 0; i < num; i += per_tile) {
        const int rows = (int)(num - i < per_tile ? num - i : per_tile);
        fill((const uint8_t *)in + (size_t)(i * N) * elem, N, rows, elem, NULL, tile);
        drain(tile, n, rows, elem, plan->subnets[subnet].select,
              (uint8_t *)out + (size_t)(i * n) * elem);
    }
    amg_free_aligned(tile);
}
