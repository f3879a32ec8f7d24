/* The window of a Conv, ConvTranspose or pool, with everything that ONNX leaves to be
 * worked out in numbers: auto_pad, output_shape, absent attributes. Shape rules, engine
 * and PyTorch forms read it here, so that they agree. */
#ifndef AMG_GRAPH_WINDOW_H
#define AMG_GRAPH_WINDOW_H

#include "graph/graph.h"

enum { AMG_MAX_SPATIAL = 3 };

/* One entry per dim after batch and channels. A ConvTranspose's padding cuts its
 * result, which `extra` (output_padding) makes longer. */
typedef struct {
    int num_dims;
    int64_t kernel[AMG_MAX_SPATIAL], stride[AMG_MAX_SPATIAL], dilation[AMG_MAX_SPATIAL];
    int64_t begin[AMG_MAX_SPATIAL], end[AMG_MAX_SPATIAL]; /* pads */
    int64_t extra[AMG_MAX_SPATIAL];
    bool ceil_mode;
} amg_window;

/* x: the node's input, [N,C,...] of 3 to 5 dims with known spatial ones; weight NULL: a
 * pool. AMG_MISMATCH / AMG_UNSUPPORTED name the node. */
AMG_MUST_CHECK amg_status amg_window_read(const amg_node *node, const amg_value *x,
                                          const amg_value *weight, amg_window *out,
                                          amg_error *err);
/* Positions that one window spans along dim i. */
int64_t amg_window_extent(const amg_window *w, int i);
/* The result's spatial dims from the input's; fails where the window does not fit. */
AMG_MUST_CHECK amg_status amg_window_slide(const amg_node *node, const amg_window *w,
                                           const int64_t *in, int64_t *out,
                                           amg_error *err);
/* The same for a ConvTranspose. */
AMG_MUST_CHECK amg_status amg_window_unslide(const amg_node *node, const amg_window *w,
                                             const int64_t *in, int64_t *out,
                                             amg_error *err);
/* Padding after the end along dim i with which exactly `out` windows fit over `in`:
 * less than nothing where the last positions lie under no window. */
int64_t amg_window_end(const amg_window *w, int i, int64_t in, int64_t out);

/* The windows of a Col2Im from its inputs 1 and 2, and the image's dims. false: these
 * are not constant, or an attribute does not fit them. */
bool amg_fold_read(const amg_node *node, const amg_value *image, const amg_value *block,
                   amg_window *out, int64_t dims[AMG_MAX_SPATIAL]);

#endif
