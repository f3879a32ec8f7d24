/* Augmentation while training: random crops and mirroring of the images that a
 * sub-network sees, the same for every sub-network and in train.py. */
#ifndef AMG_ENGINE_AUGMENT_H
#define AMG_ENGINE_AUGMENT_H

#include "graph/graph.h"

/* Bits of a choice. CROP4: a crop of the image's size at random from the image padded
 * with 4 zeros on each side. HFLIP: every second image is mirrored. */
enum { AMG_AUGMENT_CROP4 = 1, AMG_AUGMENT_HFLIP = 2 };

/* What is drawn for one sample: pixel (y, x) of the result is the pixel
 * (y + dy, (mirror ? width - 1 - x : x) + dx) of the image, or 0 outside of it. */
typedef struct {
    int dy, dx; /* -4 to 4 */
    bool mirror;
} amg_image_draw;

/* Of the sample at a place in the batch of a step: a pure function of all four
 * (Philox; train.py's draw). */
amg_image_draw amg_image_draw_at(unsigned kinds, uint64_t seed, int64_t step,
                                 int64_t place);
/* out: the image, [channels, height, width] of elements of `bytes` bytes, as drawn. */
void amg_image_draw_apply(const amg_image_draw *draw, const void *image,
                          int64_t channels, int64_t height, int64_t width, size_t bytes,
                          void *out);

/* The value of output's sub-network that is augmented, [batch, C, H, W] of U8 or F32:
 * what its select gives or, where there is none, the input. order: as
 * amg_graph_canonical_order gives it. */
int amg_image_find(const amg_graph *g, const int *order, int num_nodes);

#endif
