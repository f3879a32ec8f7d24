/* Where a Resize reads along one dim: shared by graph/ and engine/. */
#ifndef AMG_GRAPH_RESIZE_H
#define AMG_GRAPH_RESIZE_H

#include "graph/graph.h"

typedef enum {
    AMG_HALF_PIXEL,
    AMG_PYTORCH_HALF_PIXEL,
    AMG_ALIGN_CORNERS,
    AMG_ASYMMETRIC,
    AMG_HALF_PIXEL_SYMMETRIC,
    AMG_TF_HALF_PIXEL,
    AMG_COORDINATES
} amg_coordinates;

typedef enum {
    AMG_FLOOR,
    AMG_CEIL,
    AMG_PREFER_FLOOR,
    AMG_PREFER_CEIL,
    AMG_ROUNDINGS
} amg_rounding;

/* One dim of in positions that becomes one of out. step: input positions per output
 * position. */
typedef struct {
    amg_coordinates mode;
    amg_rounding how;
    int64_t in, out;
    float step;
} amg_resized;

/* Fills mode and how from the node's attributes; false: one is none of these. */
bool amg_resize_modes(const amg_node *node, amg_resized *r);
/* Fills in, out and step. scale: of a node that has scales and no sizes, else 0. */
void amg_resize_dim(amg_resized *r, int64_t in, int64_t out, float scale);

/* Where output position i lies in the input; f32 as PyTorch has it, so that both choose
 * the same pixel. */
float amg_resize_source(const amg_resized *r, int64_t i);
/* The input position that nearest takes. */
int64_t amg_resize_nearest(const amg_resized *r, int64_t i);

#endif
