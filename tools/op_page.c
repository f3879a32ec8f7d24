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

static void print_row(const amg_op_info *op)
{
    printf("%s\t%s\t%s\t%s\n", op->name, training(op),
           op->flags & AMG_OP_F ? "yes" : "no", op->note);
}

int main(void)
{
    const amg_op_composed *composed;
    for (int i = 0; i < AMG_OP_COUNT; i++) print_row(amg_op_get((amg_op)i));
    for (int i = 0; (composed = amg_op_composed_at(i)); i++) print_row(&composed->info);
    return 0;
}
