/* Reading groups of nodes that together stand for one function: what exporters take
 * apart. Consumed by graph/lower_activation.c and emit/emit_fuse*.c. */
#ifndef AMG_GRAPH_PATTERN_H
#define AMG_GRAPH_PATTERN_H

#include "graph/graph.h"

/* The node that makes a value, if it is this operator; else NULL. */
const amg_node *amg_graph_maker(const amg_graph *g, int value, amg_op op);
/* The first input of the node that makes a value, if it is this operator; else
 * AMG_NO_VALUE. */
int amg_graph_operand(const amg_graph *g, int value, amg_op op);
/* The one number that a constant holds; false if v is none or holds another count. */
bool amg_value_number(const amg_value *v, double *out);
/* Whether a value is this one number, within rounding of float32. */
bool amg_graph_is_number(const amg_graph *g, int value, double expected);
/* The other input of a node one of whose two inputs is a number; AMG_NO_VALUE if none
 * is. */
int amg_graph_beside_number(const amg_graph *g, const amg_node *n, double number);

#endif
