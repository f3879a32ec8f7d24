/* What the tests of the model augmenter share: zoo models, the structure of a network
 * as a text, distances between structures. */
#ifndef AMG_TESTS_OBFUSCATE_ARCH_FIXTURE_H
#define AMG_TESTS_OBFUSCATE_ARCH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/builder.h"
#include "graph/zoo.h"
#include "key/secret.h"
#include "obfuscate/arch_edit.h"

/* The CIFAR form: 3x32x32, 10 classes. Of networks for text small ones: 60 tokens, 12
 * at once, token 0 is padding. */
static inline amg_graph *zoo(const char *name)
{
    amg_zoo_options o = {.name = name,
                         .channels = 3,
                         .height = 32,
                         .width = 32,
                         .num_classes = 10,
                         .seed = 7};
    if (amg_zoo_is_text(name)) {
        o = (amg_zoo_options){.name = name,
                              .vocab = 60,
                              .seq = 12,
                              .num_classes = amg_zoo_is_language_model(name) ? 0 : 10,
                              .dropout = NAN,
                              .pad = amg_zoo_is_language_model(name) ? -1 : 0,
                              .seed = 7};
        if (amg_zoo_is_language_model(name)) o.width_model = 32, o.heads = 4;
    }
    amg_graph *g = NULL;
    amg_error err = {0};
    if (amg_zoo_build(&o, &g, &err)) fail_msg("%s: %s", err.where, err.what);
    return g;
}

/* A folded LSTM of the zoo without weights, of so many layers. Its mean leaves padding
 * out: the share of each token, which the data alone say, passes by all layers. */
static inline amg_graph *stacked_lstm(int layers)
{
    const amg_zoo_options o = {.name = "lstm",
                               .vocab = 60,
                               .seq = 12,
                               .num_classes = 10,
                               .layers = layers,
                               .width_model = 24,
                               .width_hidden = 16,
                               .dropout = 0.5,
                               .pad = 0,
                               .seed = 7};
    amg_graph *g = NULL, *folded = NULL, *out = NULL;
    amg_error err = {0};
    if (amg_zoo_build(&o, &g, &err) ||
        amg_graph_plan_batch(g, AMG_DIM_BATCH, &folded, &err) ||
        amg_arch_apply(folded, &(amg_arch_edit){.serial = 1}, &out, &err))
        fail_msg("%s: %s", err.where, err.what);
    amg_graph_free(folded);
    amg_graph_free(g);
    return out;
}

/* The secret whose 32 bytes are number, big-endian. */
static inline amg_secret *numbered_secret(unsigned number)
{
    char hex[65];
    amg_secret *s = NULL;
    snprintf(hex, sizeof hex, "%064x", number);
    assert_int_equal(amg_secret_from_hex(hex, &s, NULL), AMG_OK);
    return s;
}

static inline amg_keystream *numbered_stream(unsigned number, amg_purpose purpose)
{
    amg_secret *s = numbered_secret(number);
    amg_keystream *k = NULL;
    assert_int_equal(amg_keystream_new(s, purpose, 0, &k, NULL), AMG_OK);
    amg_secret_free(s);
    return k;
}

/* The graph plans for a batch of two, takes what original takes and gives
 * [2, classes]; language models [2, 12, 60]. */
static inline void assert_plans(const amg_graph *g, const amg_graph *original,
                                int64_t classes)
{
    amg_graph *planned = NULL;
    amg_error err = {0};
    if (amg_graph_plan_batch(g, 2, &planned, &err))
        fail_msg("%s: %s", err.where, err.what);
    assert_int_equal(planned->num_inputs, 1);
    assert_int_equal(planned->num_outputs, 1);
    const amg_value *in = &planned->values[planned->inputs[0]];
    const amg_value *want = &original->values[original->inputs[0]];
    assert_int_equal(in->rank, want->rank);
    for (int i = 1; i < in->rank; i++) assert_int_equal(in->dims[i], want->dims[i]);
    const amg_value *out = &planned->values[planned->outputs[0]];
    assert_int_equal(out->dims[0], 2);
    if (out->rank == 3) {
        assert_int_equal(out->dims[1], 12);
        assert_int_equal(out->dims[2], 60);
    } else {
        assert_int_equal(out->rank, 2);
        assert_int_equal(out->dims[1], classes);
    }
    amg_graph_free(planned);
}

static inline void print_attr(FILE *f, const amg_attr *a)
{
    fprintf(f, " %s=", a->name);
    if (a->kind == AMG_ATTR_INT) fprintf(f, "%lld", (long long)a->i);
    if (a->kind == AMG_ATTR_FLOAT) fprintf(f, "%a", (double)a->f);
    if (a->kind == AMG_ATTR_STRING) fprintf(f, "%s", a->s);
    for (int i = 0; a->kind == AMG_ATTR_INTS && i < a->count; i++)
        fprintf(f, "%lld,", (long long)a->ints[i]);
}

/* One line a node in canonical order: operator, attributes by name, inputs (nodes by
 * line, parameters by shape, constants by bytes). The same for two graphs of output
 * that differ in names, order and weights only. Free with free. */
static inline char *structure(const amg_graph *g, int output)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    int *order = calloc((size_t)g->num_nodes + 1, sizeof *order);
    int *line = calloc((size_t)g->num_nodes + 1, sizeof *line);
    int count = amg_graph_canonical_order(g, output, order);
    for (int i = 0; i < count; i++) line[order[i]] = i;
    for (int i = 0; i < count; i++) {
        const amg_node *n = &g->nodes[order[i]];
        fprintf(f, "%s", amg_op_get(n->op)->name);
        const char *last = "";
        for (int a = 0; a < n->num_attrs; a++) {
            const amg_attr *next = NULL;
            for (int b = 0; b < n->num_attrs; b++)
                if (strcmp(n->attrs[b].name, last) > 0 &&
                    (!next || strcmp(n->attrs[b].name, next->name) < 0))
                    next = &n->attrs[b];
            if (!next) break;
            print_attr(f, next);
            last = next->name;
        }
        for (int j = 0; j < n->num_inputs; j++) {
            if (n->inputs[j] == AMG_NO_VALUE) {
                fprintf(f, " -");
                continue;
            }
            const amg_value *v = &g->values[n->inputs[j]];
            if (v->kind == AMG_VALUE_ACTIVATION)
                fprintf(f, " #%d", i - line[v->producer]);
            fprintf(f, v->kind == AMG_VALUE_INPUT ? " x" : "");
            for (int d = 0; v->kind == AMG_VALUE_PARAM && d < v->rank; d++)
                fprintf(f, "%s%lld", d ? "x" : " ", (long long)v->dims[d]);
            for (size_t b = 0;
                 v->kind == AMG_VALUE_PARAM && v->role == AMG_ROLE_CONSTANT &&
                 b < v->data.size_bytes && b < 64;
                 b++)
                fprintf(f, ":%02x", ((const uint8_t *)v->data.data)[b]);
        }
        fprintf(f, "\n");
    }
    fclose(f);
    free(order);
    free(line);
    return text;
}

static inline bool same_structure(const amg_graph *a, const amg_graph *b)
{
    char *x = structure(a, 0), *y = structure(b, 0);
    bool same = !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

/* Number of lines of one structure that the other lacks, both ways (as multisets). */
static inline int distance(const char *a, const char *b)
{
    int off = 0;
    for (int way = 0; way < 2; way++) {
        char *rest = strdup(way ? a : b), *save, *lines = strdup(way ? b : a);
        for (char *l = strtok_r(lines, "\n", &save); l;
             l = strtok_r(NULL, "\n", &save)) {
            size_t n = strlen(l);
            char *at = rest;
            while ((at = strstr(at, l)) &&
                   !((at == rest || at[-1] == '\n' || at[-1] == '\1') &&
                     (at[n] == '\n' || at[n] == 0)))
                at++;
            if (at)
                memset(at, 1, n);
            else
                off++;
        }
        free(rest);
        free(lines);
    }
    return off;
}

#endif
