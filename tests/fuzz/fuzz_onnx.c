/* Fuzz target: any bytes as an ONNX file. What is accepted must be a graph that we
 * write as a file that we read again, to the same bytes; with and without weights. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fuzz.h"
#include "graph/onnx_graph.h"

static void check_written(const amg_graph *g, bool weights)
{
    uint8_t *first, *second;
    size_t first_size, second_size;
    amg_graph *again;
    amg_status st = amg_graph_pack_onnx(g, weights, &first, &first_size, NULL);
    if (st == AMG_INVALID && weights && !g->has_weights) return;
    if (st) abort();
    if (amg_graph_parse_onnx(first, first_size, "written", &again, NULL)) abort();
    if (amg_graph_pack_onnx(again, weights, &second, &second_size, NULL)) abort();
    if (first_size != second_size || memcmp(first, second, first_size)) abort();
    amg_free(first);
    amg_free(second);
    amg_graph_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    amg_graph *g = NULL;
    amg_error err;
    amg_status st = amg_graph_parse_onnx(data, size, "fuzz", &g, &err);
    if (st) {
        if (g || err.code != st || err.offset < -1 || err.offset > (int64_t)size)
            abort();
        return 0;
    }
    check_written(g, true);
    check_written(g, false);
    amg_graph_free(g);
    return 0;
}
