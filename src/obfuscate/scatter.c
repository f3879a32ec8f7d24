/* Scatter and select: a fixed permutation of every sample's values. A scatter byte by
 * byte writes one byte per cache line and takes ten times as long as copying, so tiles
 * of samples are turned first:
 *
 *     streams [64][n]  --transpose-->  tile [N][64]  --transpose-->  out [64][N]
 *                      run j of 64 bytes goes, whole, to row select[j]
 *
 * A row of the tile is one cache line: 64 samples of one byte, or 16 of four. Tiles of
 * small images stay in the second-level cache. The vector code is compiled twice, for
 * any processor and for AVX2. Knows nothing of keys or files. */
#include <string.h>

#include "base/alloc.h"
#include "obfuscate/augment_data.h"

#define LINE 64 /* bytes of a cache line and of a tile's row */
#define INLINE static inline __attribute__((always_inline))

/* Compilers without the builtin (gcc before 12) get the plain loops alone. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define WITH_VECTORS 1
#endif
#endif

/* ---- blocks: turns [32 rows][16 columns] of bytes into 16 columns of 32 ---- */

#ifdef WITH_VECTORS
typedef uint8_t half __attribute__((vector_size(16)));
typedef uint8_t column __attribute__((vector_size(32))); /* two lanes of 16 */

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* One stage of turning the 16 x 16 block in each lane: interleaves the first half of
 * the list with the second. Four stages bring byte c of row r to byte r of column c. */
INLINE void interleave(const column in[16], column out[16])
{
    UNROLL for (int i = 0; i < 8; i++)
    {
        out[2 * i] = __builtin_shufflevector(
            in[i], in[i + 8], 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39,
            16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55);
        out[2 * i + 1] = __builtin_shufflevector(
            in[i], in[i + 8], 8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15,
            47, 24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
    }
}

/* Rows r and r + 16 share a vector. Row r begins at from + row(r) * stride, row(r) =
 * place[r], or r if place is NULL. */
INLINE void load_turned(const uint8_t *from, size_t stride, const uint32_t *place,
                        column out[16])
{
    column a[16], b[16];
    UNROLL for (int r = 0; r < 16; r++)
    {
        half low, high;
        memcpy(&low, from + (place ? place[r] : (size_t)r) * stride, 16);
        memcpy(&high, from + (place ? place[r + 16] : (size_t)r + 16) * stride, 16);
        a[r] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
                                       12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
                                       24, 25, 26, 27, 28, 29, 30, 31);
    }
    interleave(a, b);
    interleave(b, a);
    interleave(a, b);
    interleave(b, out);
}

/* Two pieces ahead: 64 rows are more than the processor's own prefetcher follows. A
 * prefetch beyond a buffer's end does nothing. */
#define AHEAD (2 * LINE)

/* Copies a piece of width <= LINE; a whole line with a constant size, which is faster.
 */
INLINE void copy_piece(uint8_t *to, const uint8_t *from, int64_t width)
{
    if (width == LINE)
        memcpy(to, from, LINE);
    else
        memcpy(to, from, (size_t)width);
}

/* in [samples][n] -> tile, for samples in whole groups of 32 and values in whole groups
 * of 16: value j of sample i goes to tile[row(j)][i]. Pieces of 64 values pass through
 * a small buffer: a stride of a power of two would make the rows' lines push each other
 * out of the first cache before all of them was used. */
INLINE void fill_blocks(const uint8_t *in, int64_t n, int samples, int64_t values,
                        const uint32_t *place, uint8_t *tile)
{
    uint8_t piece[32][LINE];
    for (int64_t j0 = 0; j0 < values; j0 += LINE) {
        const int64_t width = values - j0 < LINE ? values - j0 : LINE;
        for (int g = 0; g < samples; g += 32) {
            for (int r = 0; r < 32; r++) {
                const uint8_t *from = in + (g + r) * n + j0;
                __builtin_prefetch(from + AHEAD);
                copy_piece(piece[r], from, width);
            }
            for (int64_t j = 0; j < width; j += 16) {
                column turned[16];
                load_turned(piece[0] + j, LINE, NULL, turned);
                UNROLL for (int c = 0; c < 16; c++)
                {
                    size_t row = place ? place[j0 + j + c] : (size_t)(j0 + j + c);
                    memcpy(tile + row * LINE + g, &turned[c], 32);
                }
            }
        }
    }
}

/* tile -> out [samples][n], for samples in whole groups of 16 and values in whole
 * groups of 32: out[i][j] = tile[row(j)][i]. Pieces of 64 values, as above. */
INLINE void drain_blocks(const uint8_t *tile, int64_t n, int samples, int64_t values,
                         const uint32_t *place, uint8_t *out)
{
    uint8_t piece[16][LINE];
    for (int64_t j0 = 0; j0 < values; j0 += LINE) {
        const int64_t width = values - j0 < LINE ? values - j0 : LINE;
        for (int g = 0; g < samples; g += 16) {
            for (int64_t j = 0; j < width; j += 32) {
                column turned[16];
                const uint8_t *from = tile + (place ? 0 : (size_t)(j0 + j) * LINE) + g;
                load_turned(from, LINE, place ? place + j0 + j : NULL, turned);
                UNROLL for (int i = 0; i < 16; i++)
                    memcpy(piece[i] + j, &turned[i], 32);
            }
            for (int i = 0; i < 16; i++) {
                uint8_t *to = out + (g + i) * n + j0;
                __builtin_prefetch(to + AHEAD, 1);
                copy_piece(to, piece[i], width);
            }
        }
    }
}

typedef void block_fn(const uint8_t *from, int64_t n, int samples, int64_t values,
                      const uint32_t *place, uint8_t *to);

static void fill_any(const uint8_t *in, int64_t n, int samples, int64_t values,
                     const uint32_t *place, uint8_t *tile)
{
    fill_blocks(in, n, samples, values, place, tile);
}

static void drain_any(const uint8_t *tile, int64_t n, int samples, int64_t values,
                      const uint32_t *place, uint8_t *out)
{
    drain_blocks(tile, n, samples, values, place, out);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static void fill_avx2(const uint8_t *in, int64_t n,
                                                      int samples, int64_t values,
                                                      const uint32_t *place,
                                                      uint8_t *tile)
{
    fill_blocks(in, n, samples, values, place, tile);
}

__attribute__((target("avx2"))) static void drain_avx2(const uint8_t *tile, int64_t n,
                                                       int samples, int64_t values,
                                                       const uint32_t *place,
                                                       uint8_t *out)
{
    drain_blocks(tile, n, samples, values, place, out);
}

static block_fn *choose_fill(void)
{
    return __builtin_cpu_supports("avx2") ? fill_avx2 : fill_any;
}

static block_fn *choose_drain(void)
{
    return __builtin_cpu_supports("avx2") ? drain_avx2 : drain_any;
}
#else
static block_fn *choose_fill(void) { return fill_any; }
static block_fn *choose_drain(void) { return drain_any; }
#endif
#endif /* WITH_VECTORS */

/* ---- bytes: 64 samples to a tile ---- */

static void fill_u8(const uint8_t *in, int64_t n, int rows, const uint32_t *place,
                    uint8_t *tile)
{
    int done_rows = 0;
    int64_t done_values = 0;
#ifdef WITH_VECTORS
    done_rows = rows & ~31;
    done_values = n & ~INT64_C(15);
    choose_fill()(in, n, done_rows, done_values, place, tile);
#endif
    for (int64_t j = done_rows < rows ? 0 : done_values; j < n; j++) {
        size_t row = place ? place[j] : (size_t)j;
        for (int i = j < done_values ? done_rows : 0; i < rows; i++)
            tile[row * LINE + i] = in[i * n + j];
    }
}

static void drain_u8(const uint8_t *tile, int64_t n, int rows, const uint32_t *place,
                     uint8_t *out)
{
    int done_rows = 0;
    int64_t done_values = 0;
#ifdef WITH_VECTORS
    done_rows = rows & ~15;
    done_values = n & ~INT64_C(31);
    choose_drain()(tile, n, done_rows, done_values, place, out);
#endif
    for (int64_t j = done_rows < rows ? 0 : done_values; j < n; j++) {
        size_t row = place ? place[j] : (size_t)j;
        for (int i = j < done_values ? done_rows : 0; i < rows; i++)
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
