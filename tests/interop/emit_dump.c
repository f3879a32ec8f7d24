/* Test program: the PyTorch module of an ONNX file, as a job's writer would make it.
 *
 *     emit_dump MODEL.onnx DIR [TARGET…]
 *
 * DIR (which must exist) receives model.py, constants.safetensors, weights.safetensors.
 * TARGET: for each output, the value that its network gives back beside it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "emit/emit.h"
#include "formats/safetensors.h"
#include "graph/onnx_graph.h"

static amg_status write_weights(const char *dir, const amg_graph *g, amg_error *err)
{
    char *path = amg_path_join(dir, "weights.safetensors");
    amg_st_entry *entries = amg_calloc((size_t)g->num_values + 1, sizeof *entries);
    size_t n = 0;
    amg_status st = AMG_OK;
    if (!path || !entries) st = amg_fail(err, AMG_NO_MEMORY, -1, dir, "no memory");
    for (int v = 0; !st && v < g->num_values; v++)
        if (g->values[v].kind == AMG_VALUE_PARAM &&
            g->values[v].role != AMG_ROLE_CONSTANT)
            entries[n++] = (amg_st_entry){g->values[v].name, g->values[v].data};
    if (!st) st = amg_safetensors_write(path, entries, n, err);
    amg_free(entries);
    amg_free(path);
    return st;
}

int main(int argc, char **argv)
{
    amg_error err = {0};
    amg_graph *read = NULL, *folded = NULL;
    if (argc < 3) {
        fprintf(stderr, "usage: emit_dump MODEL.onnx DIR [TARGET…]\n");
        return 2;
    }
    amg_status st = amg_graph_read_onnx(argv[1], &read, &err);
    if (!st) st = amg_graph_plan_batch(read, AMG_DIM_BATCH, &folded, &err);
    if (!st && argc > 3 && argc - 3 != folded->num_outputs)
        st = amg_fail(&err, AMG_INVALID, -1, argv[1], "has %d outputs, not %d",
                      folded->num_outputs, argc - 3);
    const char *const *targets = argc > 3 ? (const char *const *)argv + 3 : NULL;
    if (!st) st = amg_emit_model(argv[2], folded, targets, NULL, false, &err);
    if (!st) st = write_weights(argv[2], folded, &err);
    if (st) fprintf(stderr, "emit_dump: %s: %s\n", err.where, err.what);
    amg_graph_free(folded);
    amg_graph_free(read);
    return st ? 1 : 0;
}
