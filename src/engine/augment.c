/* See augment.h. An image is augmented as it lies in the data, before cast and scaling:
 * so the padding is the data's 0, and moving bytes rounds nothing. */
#include "engine/augment.h"

#include <string.h>

#include "base/rng.h"
#include "graph/select.h"

enum { PAD = 4 };

/* train.py's AUGMENT_STREAM, "augm". */
#define STREAM UINT32_C(0x6175676d)

amg_image_draw amg_image_draw_at(unsigned kinds, uint64_t seed, int64_t step,
                                 int64_t place)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)step, (uint32_t)((uint64_t)step >> 32),
                                 (uint32_t)place, STREAM};
    uint32_t words[4];
    amg_philox(key, counter, words);
    amg_image_draw draw = {.mirror = (kinds & AMG_AUGMENT_HFLIP) && (words[2] & 1)};
    if (kinds & AMG_AUGMENT_CROP4) {
        draw.dy = (int)(words[0] % (2 * PAD + 1)) - PAD;
        draw.dx = (int)(words[1] % (2 * PAD + 1)) - PAD;
    }
    return draw;
}

/* One row: from is NULL above and below the image. */
static void move_row(const amg_image_draw *d, const uint8_t *from, int64_t width,
                     size_t bytes, uint8_t *to)
{
    memset(to, 0, (size_t)width * bytes);
    for (int64_t x = 0; from && x < width; x++) {
        const int64_t at = (d->mirror ? width - 1 - x : x) + d->dx;
        if (at >= 0 && at < width)
            memcpy(to + (size_t)x * bytes, from + (size_t)at * bytes, bytes);
    }
}

void amg_image_draw_apply(const amg_image_draw *draw, const void *image,
                          int64_t channels, int64_t height, int64_t width, size_t bytes,
                          void *out)
{
    const size_t row = (size_t)width * bytes;
    const uint8_t *from = image;
    uint8_t *to = out;
    for (int64_t c = 0; c < channels; c++, from += (size_t)height * row)
        for (int64_t y = 0; y < height; y++, to += row) {
            const int64_t at = y + draw->dy;
            const bool inside = at >= 0 && at < height;
            move_row(draw, inside ? from + (size_t)at * row : NULL, width, bytes, to);
        }
}

int amg_image_find(const amg_graph *g, const int *order, int num_nodes)
{
    int selected = AMG_NO_VALUE;
    for (int i = 0; i < num_nodes; i++) {
        const amg_node *n = &g->nodes[order[i]];
        if (selected == AMG_NO_VALUE && amg_graph_is_select(g, n))
            selected = n->outputs[0];
        else if (n->op == AMG_OP_RESHAPE && n->inputs[0] == selected)
            return n->outputs[0];
    }
    return selected == AMG_NO_VALUE ? g->inputs[0] : selected;
}
