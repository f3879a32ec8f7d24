/* Prints the operator table, a line an operator: name, whether it trains, whether it
 * folds, what is covered; tabs between. tests/interop/test_nodes.py makes docs/ops.md
 * of it. */
#include <stdio.h>

#include "graph/op.h"

static const char *training(const amg_op_info *op)
{
    if (!(op->flags & AMG_OP_D)) return "no";
    return op->flags & AMG_OP_T ? "yes, differs from inference" : "yes";
}

int main(void)
{
    for (int i = 0; i < AMG_OP_COUNT; i++) {
        const amg_op_info *op = amg_op_get((amg_op)i);
        printf("%s\t%s\t%s\t%s\n", op->name, training(op),
               op->flags & AMG_OP_F ? "yes" : "no", op->note);
    }
    return 0;
}
