/* Weights of a network that a slot's maps move: its class rows by the label map, its
 * embedding tables by the token map, the columns of its first layer by the value map or
 * the rotation, its position tables by the patch map.
 * One list for both directions, so that the extractor undoes exactly what the augmenter
 * did. */
#ifndef AMG_OBFUSCATE_ROW_MOVES_H
#define AMG_OBFUSCATE_ROW_MOVES_H

#include "graph/class_rows.h"
#include "graph/token_axis.h"
#include "graph/token_rows.h"
#include "obfuscate/plan.h"

#define AMG_MAX_ROW_MOVES (3 + AMG_MAX_TOKEN_TABLES + AMG_MAX_POSITION_TABLES)

typedef enum {
    AMG_BY_LABEL,
    AMG_BY_TOKEN,
    AMG_BY_VALUE,
    AMG_BY_PATCH,
    AMG_BY_ROTATION
} amg_moved_by;

typedef struct {
    int param; /* value id */
    int axis;  /* which dim counts rows; of columns and positions see amg_row_moves */
    amg_moved_by by;
} amg_row_move;

typedef struct {
    int count;
    amg_row_move
        moves[AMG_MAX_ROW_MOVES]; /* a table that is the last layer, too: once */
    amg_input_columns columns; /* of the move by value or rotation, if there is one */
    amg_patch_tokens patches;  /* of the moves by patch */
} amg_row_moves;

/* For a network with so many classes in a job of this shape. AMG_MISMATCH: the shape
 * permutes what the network does not admit. Does not look at weights' data. */
AMG_MUST_CHECK amg_status amg_row_moves_find(const amg_graph *g,
                                             const amg_plan_shape *shape,
                                             int64_t num_classes, amg_row_moves *out,
                                             amg_error *err);

/* in is the parameter of move i, out (made) the same with its rows where maps, a slot's
 * or their inverse, send them; what is rotated is summed in double and rounded once. */
AMG_MUST_CHECK amg_status amg_row_move_apply(const amg_row_moves *moves, int i,
                                             const amg_subnet_plan *maps,
                                             const amg_tensor *in, amg_tensor *out,
                                             amg_error *err);
/* All of them: g's copy (made; with views of what does not move) in a job of this
 * shape. */
AMG_MUST_CHECK amg_status amg_row_moves_apply(const amg_graph *g,
                                              const amg_plan_shape *shape,
                                              const amg_subnet_plan *maps,
                                              amg_graph **out, amg_error *err);

/* Whether the classes of g's output can be permuted exactly: its last layer is Gemm or
 * MatMul (+ Add) with a parameter of its own, and no two class rows are equal. */
bool amg_labels_permutable(const amg_graph *g);

/* Makes shape permute g's vocabulary. Tokens that the network compares its input with
 * keep their numbers, and so does pad (or AMG_NO_TOKEN), which must mean the same in
 * all slots and shows by its rate anyway. tokens_are_classes: g is a language model,
 * whose classes move with its tokens. Returns NULL, or why it cannot be done exactly,
 * for people; then shape stays as it was. */
const char *amg_tokens_permute(const amg_graph *g, bool tokens_are_classes, int64_t pad,
                               amg_plan_shape *shape);

#endif
