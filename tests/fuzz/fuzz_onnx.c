/* Fuzz target: any bytes as an ONNX file. What is accepted must be a graph that we
 * write as a file that we read again and write to the same bytes, with and without
 * weights; and that is planned, or refused, as a key's or a job's model would be. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "fuzz.h"
#include "graph/onnx_graph.h"
#include "graph/origin.h"

static void write_and_read(const amg_graph *g, amg_pack_form form, uint8_t **data,
                           size_t *size, amg_graph **again)
{
    if (amg_graph_pack_onnx(g, form, data, size, NULL)) abort();
    if (amg_graph_parse_onnx(*data, *size, "written", again, NULL)) abort();
}

/* Only from the second file on are bytes equal: nodes that computed what the first
 * writes as an attribute (axes before opset 18) are left without a reader in it. */
static void check_written(const amg_graph *g, amg_pack_form form)
{
    uint8_t *data[3];
    size_t size[3];
    amg_graph *read[3];
    if (form == AMG_PACK_WHOLE && !g->has_weights) return;
    for (int i = 0; i < 3; i++)
        write_and_read(i ? read[i - 1] : g, form, &data[i], &size[i], &read[i]);
    if (size[1] != size[2] || memcmp(data[1], data[2], size[1])) abort();
    for (int i = 0; i < 3; i++) {
        amg_free(data[i]);
        amg_graph_free(read[i]);
    }
}

static void check_planned(const amg_graph *g)
{
    amg_graph *planned = NULL, *stripped = NULL;
    amg_origin *origin = NULL;
    if (!amg_graph_plan_batch(g, 2, &planned, NULL)) {
        for (int v = 0; v < planned->num_values; v++)
            if (planned->values[v].rank < 0) abort();
        amg_graph_free(planned);
    }
    if (!amg_origin_new(g, &origin, NULL)) {
        if (!amg_origin_strip(origin, &stripped, NULL)) amg_graph_free(stripped);
        amg_origin_free(origin);
    }
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
    check_written(g, AMG_PACK_WHOLE);
    check_written(g, AMG_PACK_BARE);
    check_planned(g);
    amg_graph_free(g);
    return 0;
}
