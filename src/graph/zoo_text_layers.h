/* Layers of the zoo's networks for text, above zoo_layers.h: embeddings, layer norm,
 * causal self-attention, and what classifiers make of padding. Private to zoo*.c.
 *
 * Sequences [N,L,d] are kept as rows [N*L,d] where that is the same arithmetic: each
 * linear layer then is one Gemm under PyTorch's names. Legend: N batch, L positions, d
 * width, H heads. */
#ifndef AMG_GRAPH_ZOO_TEXT_LAYERS_H
#define AMG_GRAPH_ZOO_TEXT_LAYERS_H

#include "graph/zoo_layers.h"

/* NAME.weight [vocab,d]; and a table looked up: tokens [N,L] -> [N,L,d]. */
int amg_zoo_table(amg_zoo_net *net, const char *name, amg_init_law law);
int amg_zoo_lookup(amg_zoo_net *net, const char *name, int table, int tokens);
int amg_zoo_reshape(amg_zoo_net *net, const char *name, int x, int rank,
                    const int64_t *shape, const char *output);
/* perm of 0, 1, 2 … */
int amg_zoo_transpose(amg_zoo_net *net, const char *name, int x, int rank,
                      const int64_t *perm);
/* [N,L,d] -> [N*L,d]. */
int amg_zoo_rows(amg_zoo_net *net, const char *name, int x);
/* x * factor. */
int amg_zoo_scale(amg_zoo_net *net, const char *name, int x, double factor);
/* Where a user may have none: x itself at ratio 0. */
int amg_zoo_text_dropout(amg_zoo_net *net, const char *name, int x, double ratio);
int amg_zoo_layer_norm(amg_zoo_net *net, const char *name, int x);
int amg_zoo_gelu(amg_zoo_net *net, const char *name, int x); /* by erf */

/* Self-attention to what is not ahead, all heads at once, as F.scaled_dot_product_
 * attention of PyTorch is exported: qkv [N*L,3*d] -> [N*L,d]. mask: from
 * amg_zoo_causal_mask, one for all layers. */
int amg_zoo_causal_mask(amg_zoo_net *net);
int amg_zoo_attention(amg_zoo_net *net, int qkv, int mask, double dropout);

/* [N*L,V] -> the output "logits" [N,L,V] of a language model. */
int amg_zoo_token_logits(amg_zoo_net *net, int x);

/* 1 where a token stands and 0 where pad does, F32 [N,L]; AMG_NO_VALUE if the network
 * has no pad. */
int amg_zoo_kept_tokens(amg_zoo_net *net, int tokens);
/* The mean of x [N,L,d] over the positions where kept is 1 (zeros where none is), or
 * over all of them: [N,d]. */
int amg_zoo_mean_of_tokens(amg_zoo_net *net, int x, int kept);

#endif
