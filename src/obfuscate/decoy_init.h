/* Initial weights of decoys: drawn by the laws that the original's own follow, or equal
 * to them. */
#ifndef AMG_OBFUSCATE_DECOY_INIT_H
#define AMG_OBFUSCATE_DECOY_INIT_H

#include "graph/graph.h"
#include "key/secret.h"

/* Fills skeleton's trainables and buffers: each takes the law of the original's
 * parameter of the same name (before any '~'). A parameter that follows no known law
 * gets a normal one of equal mean and deviation, or a uniform one of equal bound, which
 * does not hide. same: those of the original's shape are copies of its. */
AMG_MUST_CHECK amg_status amg_decoy_init(amg_keystream *k, const amg_graph *original,
                                         const amg_graph *skeleton, bool same,
                                         amg_graph **out, amg_error *err);

/* How many of g's trainables and buffers follow no known initialisation law: 0, unless
 * the model is pretrained, or drawn in a way that nobody else uses. */
AMG_MUST_CHECK amg_status amg_init_count_unknown(const amg_graph *g, int *count,
                                                 amg_error *err);

/* What a parameter's initial values tell of the law that drew them. */
typedef struct {
    bool constant; /* all elements are value */
    float value;   /* the first element */
    uint32_t laws; /* which known laws explain it, a bit each; constants: none */
    int64_t pairs; /* values of which PyTorch's normal generator leaves a legible */
    int64_t whole; /* trace, and those that bear it (0 of 0 if the law is another) */
} amg_init_fit;

/* Fits the laws to those trainables and buffers of g that are mine (per value; NULL:
 * all) and writes their out[value]; others' stay as they are. What the decoys' weights
 * are drawn by, for those who look for differences. */
AMG_MUST_CHECK amg_status amg_init_fit_find(const amg_graph *g, const uint8_t *mine,
                                            amg_init_fit *out, amg_error *err);

#endif
