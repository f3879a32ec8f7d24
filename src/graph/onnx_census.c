/* Counts the operators of an ONNX file. Consumes the unpacked model, nothing of the
 * importer but its names: it must not refuse what the importer refuses. */
#include "graph/onnx_census.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "formats/onnx.h"
#include "graph/name_map.h"
#include "graph/onnx_import.h"
#include "onnx.pb-c.h"

#define NAME_TEXT 256

static const char *full_name(const Onnx__NodeProto *n, char buf[NAME_TEXT])
{
    const char *domain = n->domain ? n->domain : "";
    const bool own = !domain[0] || !strcmp(domain, "ai.onnx");
    snprintf(buf, NAME_TEXT, "%s%s%s", own ? "" : domain,
             own ? "" : "::", n->op_type ? n->op_type : "");
    return buf;
}

/* counts[i]: of the operator that node i is the first of. */
static amg_status count_nodes(const Onnx__GraphProto *g, amg_arena *names,
                              amg_name_map *first, int64_t *counts, amg_error *err)
{
    char name[NAME_TEXT];
    for (size_t i = 0; i < g->n_node; i++) {
        full_name(g->node[i], name);
        int at = amg_name_map_find(first, name);
        if (at < 0) {
            at = (int)i;
            const char *kept = amg_arena_strdup(names, name);
            if (!kept || !amg_name_map_add(first, kept, at))
                return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for names");
        }
        counts[at]++;
    }
    return AMG_OK;
}

static bool is_read(const char *op)
{
    return amg_import_find_op(op) != AMG_OP_COUNT || !strcmp(op, "SplitToSequence") ||
           !strcmp(op, "SequenceAt");
}

amg_status amg_onnx_census(const char *path, amg_census_fn each, void *context,
                           amg_error *err)
{
    amg_onnx *onnx = NULL;
    amg_status st = amg_onnx_open(path, &onnx, err);
    if (st) return st;
    const Onnx__GraphProto *g = amg_onnx_model(onnx)->graph;
    const size_t num_nodes = g ? g->n_node : 0;
    amg_arena names = {0};
    amg_name_map first = {0};
    int64_t *counts = amg_calloc(num_nodes + 1, sizeof *counts);
    if (!counts)
        st = amg_fail(err, AMG_NO_MEMORY, -1, path, "no memory");
    else if (g)
        st = count_nodes(g, &names, &first, counts, err);
    for (size_t i = 0; !st && i < num_nodes; i++) {
        char name[NAME_TEXT];
        if (!counts[i]) continue;
        full_name(g->node[i], name);
        each(context, name, counts[i], is_read(name));
    }
    amg_name_map_clear(&first);
    amg_arena_clear(&names);
    amg_free(counts);
    amg_onnx_close(onnx);
    return st;
}
