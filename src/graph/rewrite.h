/* Rewrites that more than one part of Amalgam needs. Each makes a new graph; the source
 * must outlive it where the comment says "view". */
#ifndef AMG_GRAPH_REWRITE_H
#define AMG_GRAPH_REWRITE_H

#include "graph/graph.h"

/* How data become what the model expects: y = (x * scale - mean[c]) / std[c]. For U8
 * data scale is 1/255, for F32 and I32 data 1. num_channels 0: no mean and std. A model
 * that takes integers (I64 tokens) gets them as they are. */
typedef struct {
    amg_dtype data_dtype;
    int num_channels;
    float mean[16], std[16];
    bool windows; /* a language model's data: [N, L+1] tokens, of which it gets the
                     first L and should predict the last L */
} amg_preprocess;

/* The data input becomes data_dtype, followed by Cast, Mul, Sub, Div as needed, then g.
 * A U8-input model fed U8 data stays as it is. Windows need a model of I64[batch, L],
 * L >= 2, and I32 data. Weights by view. */
AMG_MUST_CHECK amg_status amg_graph_with_preprocess(const amg_graph *g,
                                                    const amg_preprocess *p,
                                                    amg_graph **out, amg_error *err);
/* The value of fed, which amg_graph_with_preprocess made of g, that stands where g has
 * its input: what an autoencoder reconstructs. */
int amg_graph_preprocessed(const amg_graph *fed, const amg_graph *g);
/* Of a fed that was made with windows: the value I64 [N, L] that the language model
 * should predict. It is on the way from the data to the model, so that no pass drops
 * it. */
int amg_graph_next_tokens(const amg_graph *fed);

/* A copy of g whose trainables and buffers take their data from get (borrowed until
 * return, copied): the way weights come back into an original. get returns NULL to keep
 * g's own. */
typedef const amg_tensor *(*amg_weight_fn)(void *context, const amg_value *param);
AMG_MUST_CHECK amg_status amg_graph_with_weights(const amg_graph *g, amg_weight_fn get,
                                                 void *context, amg_graph **out,
                                                 amg_error *err);

#endif
