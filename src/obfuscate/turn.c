/* Turning 64 x 64 bytes: three paths, chosen by what the processor offers. Consumes and
 * produces rows of 64 bytes wherever they lie; allocates nothing; knows nothing of
 * samples or positions.
 *
 * The vector paths interleave: taking the bytes of two rows in turn moves one bit of
 * the row number into the byte number, and a bit of the byte number into the row
 * number. When every bit has moved, the block is turned. */
#include "obfuscate/turn.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define SIDE AMG_TURN_SIDE

static inline const uint8_t *source_row(const amg_turn_source *from, int r)
{
    return from->base + from->index[r] * from->stride;
}

static inline uint8_t *target_row(const amg_turn_target *to, int r)
{
    return to->base + to->index[r] * to->stride;
}

/* Paths with registers of less than a row work between two copies of the block: they
 * touch every line several times, and lines whose distance is a multiple of 4 KiB push
 * each other out of the first cache. */
typedef struct {
    uint8_t in[SIDE][SIDE], out[SIDE][SIDE];
} block;

static void copy_in(block *b, const amg_turn_source *from)
{
    for (int r = 0; r < SIDE; r++) memcpy(b->in[r], source_row(from, r), SIDE);
}

static void copy_out(const block *b, const amg_turn_target *to)
{
    for (int c = 0; c < SIDE; c++) memcpy(target_row(to, c), b->out[c], SIDE);
}

/* ---- any processor: squares of 8 x 8 bytes in eight words ---- */

/* Swaps the halves of mask's complement in a with those of mask in b: the two squares
 * off the diagonal of a square of 2 x shift bits. */
static inline void swap_corners(uint64_t *a, uint64_t *b, int shift, uint64_t mask)
{
    const uint64_t t = ((*a >> shift) ^ *b) & mask;
    *a ^= t << shift;
    *b ^= t;
}

static void turn_square(uint64_t w[8])
{
    for (int i = 0; i < 4; i++)
        swap_corners(&w[i], &w[i + 4], 32, UINT64_C(0x00000000ffffffff));
    for (int i = 0; i < 8; i += 4) {
        swap_corners(&w[i], &w[i + 2], 16, UINT64_C(0x0000ffff0000ffff));
        swap_corners(&w[i + 1], &w[i + 3], 16, UINT64_C(0x0000ffff0000ffff));
    }
    for (int i = 0; i < 8; i += 2)
        swap_corners(&w[i], &w[i + 1], 8, UINT64_C(0x00ff00ff00ff00ff));
}

static void turn_plain(amg_turn_source from, amg_turn_target to)
{
    block b;
    copy_in(&b, &from);
    for (int r0 = 0; r0 < SIDE; r0 += 8) {
        for (int c0 = 0; c0 < SIDE; c0 += 8) {
            uint64_t w[8];
            for (int i = 0; i < 8; i++) {
                memcpy(&w[i], &b.in[r0 + i][c0], 8);
                w[i] = le64toh(w[i]);
            }
            turn_square(w);
            for (int i = 0; i < 8; i++) {
                w[i] = htole64(w[i]);
                memcpy(&b.out[c0 + i][r0], &w[i], 8);
            }
        }
    }
    copy_out(&b, &to);
}

#ifdef __x86_64__

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* ---- AVX2: squares of 16 x 16 bytes, one in each half of sixteen registers ---- */

#define AVX2 __attribute__((target("avx2")))

/* One of four stages: interleaves the first eight rows with the last eight. */
AVX2 static inline void interleave(const __m256i in[16], __m256i out[16])
{
    UNROLL for (int i = 0; i < 8; i++)
    {
        out[2 * i] = _mm256_unpacklo_epi8(in[i], in[i + 8]);
        out[2 * i + 1] = _mm256_unpackhi_epi8(in[i], in[i + 8]);
    }
}

/* Writes the rows past the caches, which saves reading their lines first: each line in
 * one go, so that it leaves whole. */
AVX2 static inline void copy_out_past(const block *b, const amg_turn_target *to)
{
    for (int c = 0; c < SIDE; c++) {
        __m256i *row = (void *)target_row(to, c);
        _mm256_stream_si256(row, _mm256_loadu_si256((const void *)b->out[c]));
        _mm256_stream_si256(row + 1,
                            _mm256_loadu_si256((const void *)(b->out[c] + 32)));
    }
}

AVX2 static inline void turn_block(block *b)
{
    for (int c0 = 0; c0 < SIDE; c0 += 16) {
        for (int r0 = 0; r0 < SIDE; r0 += 32) {
            __m256i u[16], v[16];
            UNROLL for (int i = 0; i < 16; i++)
            {
                const __m128i *low = (const void *)&b->in[r0 + i][c0];
                const __m128i *high = (const void *)&b->in[r0 + i + 16][c0];
                u[i] = _mm256_inserti128_si256(
                    _mm256_castsi128_si256(_mm_loadu_si128(low)), _mm_loadu_si128(high),
                    1);
            }
            interleave(u, v);
            interleave(v, u);
            interleave(u, v);
            interleave(v, u);
            UNROLL for (int i = 0; i < 16; i++)
                _mm256_storeu_si256((void *)&b->out[c0 + i][r0], u[i]);
        }
    }
}

AVX2 static void turn_avx2(amg_turn_source from, amg_turn_target to)
{
    block b;
    copy_in(&b, &from);
    turn_block(&b);
    copy_out(&b, &to);
}

AVX2 static void turn_past_avx2(amg_turn_source from, amg_turn_target to)
{
    block b;
    copy_in(&b, &from);
    turn_block(&b);
    copy_out_past(&b, &to);
}

/* ---- AVX-512: whole rows, in two passes of eight groups of eight ---- */

#define AVX512 __attribute__((target("avx512f,avx512bw")))

/* Eight rows. In each quarter of 16 bytes, out[i] gets bytes 2i and 2i+1 of all eight:
 * word 2q + b of out[i] is byte 16q + 2i + b of rows 0 to 7. */
AVX512 static inline void words_of_columns(const __m512i in[8], __m512i out[8])
{
    __m512i a[8], b[8];
    UNROLL for (int i = 0; i < 4; i++)
    {
        a[2 * i] = _mm512_unpacklo_epi8(in[i], in[i + 4]);
        a[2 * i + 1] = _mm512_unpackhi_epi8(in[i], in[i + 4]);
    }
    UNROLL for (int i = 0; i < 4; i++)
    {
        b[2 * i] = _mm512_unpacklo_epi8(a[i], a[i + 4]);
        b[2 * i + 1] = _mm512_unpackhi_epi8(a[i], a[i + 4]);
    }
    UNROLL for (int i = 0; i < 4; i++)
    {
        out[2 * i] = _mm512_unpacklo_epi8(b[i], b[i + 4]);
        out[2 * i + 1] = _mm512_unpackhi_epi8(b[i], b[i + 4]);
    }
}

/* Writes a row; past: past the caches, as above. */
AVX512 static inline void store_row(const amg_turn_target *to, int c, __m512i v,
                                    bool past)
{
    if (past)
        _mm512_stream_si512((void *)target_row(to, c), v);
    else
        _mm512_storeu_si512(target_row(to, c), v);
}

/* Stores quarter q of the four registers, side by side, as row c + 16q. */
AVX512 static inline void store_quarters(const __m512i p[4], const amg_turn_target *to,
                                         int c, bool past)
{
    const __m512i even01 = _mm512_shuffle_i64x2(p[0], p[1], 0x88);
    const __m512i even23 = _mm512_shuffle_i64x2(p[2], p[3], 0x88);
    const __m512i odd01 = _mm512_shuffle_i64x2(p[0], p[1], 0xdd);
    const __m512i odd23 = _mm512_shuffle_i64x2(p[2], p[3], 0xdd);
    store_row(to, c, _mm512_shuffle_i64x2(even01, even23, 0x88), past);
    store_row(to, c + 16, _mm512_shuffle_i64x2(odd01, odd23, 0x88), past);
    store_row(to, c + 32, _mm512_shuffle_i64x2(even01, even23, 0xdd), past);
    store_row(to, c + 48, _mm512_shuffle_i64x2(odd01, odd23, 0xdd), past);
}

AVX512 static inline void turn_rows(amg_turn_source from, amg_turn_target to, bool past)
{
    __m512i half[8][8]; /* [i][g]: out[i] above, of rows 8g to 8g+7 */
    UNROLL for (int g = 0; g < 8; g++)
    {
        __m512i in[8], out[8];
        UNROLL for (int i = 0; i < 8; i++) in[i] =
            _mm512_loadu_si512(source_row(&from, 8 * g + i));
        words_of_columns(in, out);
        UNROLL for (int i = 0; i < 8; i++) half[i][g] = out[i];
    }
    for (int i = 0; i < 8; i++) {
        const __m512i *h = half[i];
        __m512i low[4], high[4];
        UNROLL for (int k = 0; k < 4; k++)
        {
            low[k] = _mm512_unpacklo_epi64(h[2 * k], h[2 * k + 1]);
            high[k] = _mm512_unpackhi_epi64(h[2 * k], h[2 * k + 1]);
        }
        store_quarters(low, &to, 2 * i, past);
        store_quarters(high, &to, 2 * i + 1, past);
    }
}

AVX512 static void turn_avx512(amg_turn_source from, amg_turn_target to)
{
    turn_rows(from, to, false);
}

AVX512 static void turn_past_avx512(amg_turn_source from, amg_turn_target to)
{
    turn_rows(from, to, true);
}
#endif /* __x86_64__ */

int amg_turn_paths(const amg_turn_path **paths)
{
    static const amg_turn_path all[] = {
        {"plain", turn_plain, NULL},
#ifdef __x86_64__
        {"avx2", turn_avx2, turn_past_avx2},
        {"avx512", turn_avx512, turn_past_avx512},
#endif
    };
    *paths = all;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        return 3;
    if (__builtin_cpu_supports("avx2")) return 2;
#endif
    return 1;
}
