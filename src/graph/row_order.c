/* Sorting rows by their bytes, so that an order exists that does not depend on how rows
 * are numbered. Consumes tensors; knows neither classes nor tokens. */
#include "graph/row_order.h"

#include <string.h>

typedef struct {
    int num_params;
    const amg_tensor *const *data;
    const int *axis;
    int64_t num_rows;
} row_set;

void amg_row_split(const amg_tensor *t, int axis, int64_t *outer, size_t *inner)
{
    *outer = 1;
    *inner = amg_dtype_size(t->dtype);
    for (int i = 0; i < axis; i++) *outer *= t->dims[i];
    for (int i = axis + 1; i < t->rank; i++) *inner *= (size_t)t->dims[i];
}

/* Bytewise order of rows a and b: the first tensor's bytes first. */
static int compare_rows(const row_set *rows, int32_t a, int32_t b)
{
    for (int p = 0; p < rows->num_params; p++) {
        int64_t outer;
        size_t inner;
        amg_row_split(rows->data[p], rows->axis[p], &outer, &inner);
        const char *bytes = rows->data[p]->data;
        for (int64_t o = 0; o < outer; o++) {
            const char *block = bytes + (size_t)(o * rows->num_rows) * inner;
            int order =
                memcmp(block + (size_t)a * inner, block + (size_t)b * inner, inner);
            if (order) return order;
        }
    }
    return 0;
}

/* Moves order[root] down until both children are smaller (a heap with the largest on
 * top). */
static void sift_down(const row_set *rows, int32_t *order, int64_t root, int64_t count)
{
    for (int64_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare_rows(rows, order[child], order[child + 1]) < 0)
            child++;
        if (compare_rows(rows, order[root], order[child]) >= 0) return;
        int32_t held = order[root];
        order[root] = order[child];
        order[child] = held;
    }
}

bool amg_row_order_canonical(int num_params, const amg_tensor *const *data,
                             const int *axis, int64_t num_rows, int32_t *order)
{
    /* Heap sort: in place, n log n for any input, and rows are all distinct when the
     * result counts, so that stability does not matter. */
    const row_set rows = {num_params, data, axis, num_rows};
    for (int64_t r = 0; r < num_rows; r++) order[r] = (int32_t)r;
    for (int64_t root = num_rows / 2; root-- > 0;)
        sift_down(&rows, order, root, num_rows);
    for (int64_t last = num_rows - 1; last > 0; last--) {
        int32_t held = order[0];
        order[0] = order[last];
        order[last] = held;
        sift_down(&rows, order, 0, last);
    }
    for (int64_t r = 1; r < num_rows; r++)
        if (compare_rows(&rows, order[r - 1], order[r]) == 0) {
            for (int64_t c = 0; c < num_rows; c++) order[c] = (int32_t)c;
            return false;
        }
    return true;
}
