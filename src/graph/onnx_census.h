/* Which operators an ONNX file uses, and which of them the table covers: also for a
 * file that the importer refuses. */
#ifndef AMG_GRAPH_ONNX_CENSUS_H
#define AMG_GRAPH_ONNX_CENSUS_H

#include <stdbool.h>
#include <stdint.h>

#include "amalgam/status.h"

/* One operator of the file; name is "Conv", or "domain::Name" outside ONNX's own. */
typedef void (*amg_census_fn)(void *context, const char *name, int64_t count,
                              bool covered);

/* Calls each once for every operator of the main graph, in the order of their first
 * use. */
AMG_MUST_CHECK amg_status amg_onnx_census(const char *path, amg_census_fn each,
                                          void *context, amg_error *err);

#endif
