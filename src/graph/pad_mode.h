/* Where Pad's modes take elements from: shared by graph/, engine/ and emit/. */
#ifndef AMG_GRAPH_PAD_MODE_H
#define AMG_GRAPH_PAD_MODE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum {
    AMG_PAD_CONSTANT,
    AMG_PAD_REFLECT, /* c b | a b c | b a */
    AMG_PAD_EDGE,    /* a a | a b c | c c */
    AMG_PAD_WRAP,    /* b c | a b c | a b */
    AMG_PAD_UNKNOWN
} amg_pad_mode;

/* By ONNX's name. */
amg_pad_mode amg_pad_mode_find(const char *name);
/* Which of n elements stands at place i, which may be outside [0, n); not for
 * AMG_PAD_CONSTANT. n > 0. */
int64_t amg_pad_source(amg_pad_mode mode, int64_t i, int64_t n);

#endif
