/* The operator table as data. The rows themselves stand in op.h, where the enum comes
 * from the same list; this file only looks them up. */
#include "graph/op.h"

#include <assert.h>
#include <string.h>

#define AMG_OP_ROW(id, name, i0, i1, o0, o1, flags, note)                              \
    [AMG_OP_##id] = {name, i0, i1, o0, o1, flags, note},
static const amg_op_info table[] = {AMG_OP_LIST(AMG_OP_ROW)};
#undef AMG_OP_ROW

_Static_assert(sizeof table / sizeof table[0] == AMG_OP_COUNT, "one row per operator");

#define AMG_OP_D_E_F (AMG_OP_D | AMG_OP_E | AMG_OP_F)
static const amg_op_composed composed[] = {
    {{"Sum", 1, -1, 1, 1, AMG_OP_D_E_F, "read as Add"}, AMG_OP_ADD},
    {{"Mean", 1, -1, 1, 1, AMG_OP_D_E_F, "read as Add and Div"}, AMG_OP_DIV},
    {{"Swish", 1, 1, 1, 1, AMG_OP_D_E_F, "read as Sigmoid and Mul"}, AMG_OP_MUL},
    {{"SwiGLU", 2, 2, 1, 1, AMG_OP_D_E_F, "read as Sigmoid and Mul"}, AMG_OP_MUL},
    {{"CastLike", 2, 2, 1, 1, AMG_OP_F, "read as Cast"}, AMG_OP_CAST},
    {{"If", 1, 1, 1, -1, AMG_OP_D,
      "the branch taken, where constants or shapes say which"},
     AMG_OP_IDENTITY},
};

const amg_op_composed *amg_op_composed_at(int i)
{
    return i < (int)(sizeof composed / sizeof *composed) ? &composed[i] : NULL;
}

const amg_op_info *amg_op_get(amg_op op)
{
    assert((unsigned)op < AMG_OP_COUNT);
    return &table[op];
}

amg_op amg_op_find(const char *onnx_name)
{
    for (int i = 0; i < AMG_OP_COUNT; i++)
        if (strcmp(table[i].name, onnx_name) == 0) return (amg_op)i;
    return AMG_OP_COUNT;
}
