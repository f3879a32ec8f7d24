/* Sorting rows by their bytes, so that an order exists that does not depend on how rows
 * are numbered. Consumes tensors; knows neither classes nor tokens. */
#include "graph/row_order.h"

#include <endian.h>
#include <string.h>

#include "base/alloc.h"
#include "graph/token_rows.h"

#define MAX_PARAMS AMG_MAX_TOKEN_TABLES /* classes have two at most */

typedef struct {
    const char *data;
    int64_t outer;
    size_t inner; /* bytes of a row in one block */
} row_blocks;

typedef struct {
    int num_params;
    row_blocks params[MAX_PARAMS];
    int64_t num_rows;
    const uint64_t *heads; /* head_of each row: near each other, as rows are not */
} row_set;

void amg_row_split(const amg_tensor *t, int axis, int64_t *outer, size_t *inner)
{
    *outer = 1;
    *inner = amg_dtype_size(t->dtype);
    for (int i = 0; i < axis; i++) *outer *= t->dims[i];
    for (int i = axis + 1; i < t->rank; i++) *inner *= (size_t)t->dims[i];
}

/* The first eight bytes of a row: larger where it is larger bytewise. */
static uint64_t head_of(const row_blocks *b, int32_t row)
{
    uint64_t head = 0;
    memcpy(&head, b->data + (size_t)row * b->inner,
           b->inner < sizeof head ? b->inner : sizeof head);
    return be64toh(head);
}

/* Bytewise order of rows a and b: the first tensor's bytes first. */
static int compare_rows(const row_set *rows, int32_t a, int32_t b)
{
    const uint64_t *heads = rows->heads;
    if (heads && heads[a] != heads[b]) return heads[a] < heads[b] ? -1 : 1;
    for (int p = 0; p < rows->num_params; p++) {
        const row_blocks *all = &rows->params[p];
        for (int64_t o = 0; o < all->outer; o++) {
            const char *block = all->data + (size_t)(o * rows->num_rows) * all->inner;
            int order = memcmp(block + (size_t)a * all->inner,
                               block + (size_t)b * all->inner, all->inner);
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
    row_set rows = {.num_params = num_params, .num_rows = num_rows};
    for (int p = 0; p < num_params; p++) {
        row_blocks *all = &rows.params[p];
        all->data = data[p]->data;
        amg_row_split(data[p], axis[p], &all->outer, &all->inner);
    }
    /* Without memory for the heads it only takes longer. */
    uint64_t *heads = amg_malloc((size_t)num_rows * sizeof *heads);
    for (int64_t r = 0; heads && r < num_rows; r++)
        heads[r] = head_of(rows.params, (int32_t)r);
    rows.heads = heads;
    for (int64_t r = 0; r < num_rows; r++) order[r] = (int32_t)r;
    for (int64_t root = num_rows / 2; root-- > 0;)
        sift_down(&rows, order, root, num_rows);
    for (int64_t last = num_rows - 1; last > 0; last--) {
        int32_t held = order[0];
        order[0] = order[last];
        order[last] = held;
        sift_down(&rows, order, 0, last);
    }
    bool distinct = true;
    for (int64_t r = 1; r < num_rows && distinct; r++)
        distinct = compare_rows(&rows, order[r - 1], order[r]) != 0;
    for (int64_t r = 0; r < num_rows && !distinct; r++) order[r] = (int32_t)r;
    amg_free(heads);
    return distinct;
}
