/* Builder: the one way to make a graph. Calls never fail one by one: the first error is
 * kept and reported by amg_builder_finish, so that building reads like the network.
 *
 * A node's inputs must exist before the node, so the order of the calls is a
 * topological order and stays the graph's order; a cycle cannot be written down. Value
 * names must be unique (AMG_MALFORMED), which costs a hash lookup each. */
#ifndef AMG_GRAPH_BUILDER_H
#define AMG_GRAPH_BUILDER_H

#include "graph/graph.h"

typedef struct amg_builder amg_builder;

amg_builder *amg_builder_new(void); /* NULL: out of memory */
void amg_builder_free(amg_builder *b);

/* All return a value id (or AMG_NO_VALUE after an error, which later calls accept and
 * ignore). Names are copied; dims[0] of an input may be AMG_DIM_BATCH. */
int amg_builder_input(amg_builder *b, const char *name, amg_dtype dtype, int rank,
                      const int64_t *dims);
/* Copies data; t->data NULL: allocates zeroed storage, which the caller may fill
 * through amg_builder_data before finish (a constant that shapes depend on must be
 * filled before the node that reads it is added). */
int amg_builder_param(amg_builder *b, const char *name, const amg_tensor *t);
/* As above without copying: data must outlive the graph. */
int amg_builder_param_view(amg_builder *b, const char *name, const amg_tensor *t);
/* A PARAM without data (has_weights becomes false). */
int amg_builder_param_absent(amg_builder *b, const char *name, amg_dtype dtype,
                             int rank, const int64_t *dims);
/* A PARAM of another graph with what its file said of it, data by view or absent. */
int amg_builder_param_of(amg_builder *b, const char *name, const amg_value *param);
/* Sets what is said of a param. */
void amg_builder_say(amg_builder *b, int param, amg_param_said said);
/* A param's data, to be written through ->data; NULL after an error. The pointer lives
 * until the next call that adds something. */
amg_tensor *amg_builder_data(amg_builder *b, int param);
/* Replaces a param's data (absent or a view too) by a copy of t, whose shape and dtype
 * must agree (AMG_MISMATCH). */
void amg_builder_set_data(amg_builder *b, int param, const amg_tensor *t);

/* Adds a node with one output, named output_name (NULL: name + "_out" made unique).
 * attrs are copied. */
int amg_builder_node(amg_builder *b, amg_op op, const char *name, const int *inputs,
                     int num_inputs, const amg_attr *attrs, int num_attrs,
                     const char *output_name);
/* The same with several outputs; out receives their ids. output_names NULL: made up. */
void amg_builder_node_multi(amg_builder *b, amg_op op, const char *name,
                            const int *inputs, int num_inputs, const amg_attr *attrs,
                            int num_attrs, const char *const *output_names,
                            int num_outputs, int *out);
void amg_builder_output(amg_builder *b, int value);
/* Its first error so far; finish gives it, too. */
AMG_MUST_CHECK amg_status amg_builder_status(const amg_builder *b, amg_error *err);

/* Shape of a value so far (shapes are inferred as nodes are added). NULL after an
 * error. The pointer lives until the next call that adds something. */
const amg_value *amg_builder_value(const amg_builder *b, int value);

/* Attribute makers for compound literals: (amg_attr[]){amg_int("group", 1),
 * amg_ints("pads", 4, p)}. */
amg_attr amg_int(const char *name, int64_t v);
amg_attr amg_flt(const char *name, float v);
amg_attr amg_ints(const char *name, int count,
                  const int64_t *v); /* v borrowed until the call */

/* Copies all nodes and parameters of src into b, names passed through rename (NULL:
 * kept); map[v] gives b's value for src's value v and must be preset for src's inputs
 * (others are written). */
typedef const char *(*amg_rename_fn)(void *context, const char *name);
void amg_builder_copy(amg_builder *b, const amg_graph *src, int *map,
                      amg_rename_fn rename, void *context);
/* The same with parameter data by view: they must outlive the graph. */
void amg_builder_copy_view(amg_builder *b, const amg_graph *src, int *map,
                           amg_rename_fn rename, void *context);

/* Checks the outputs, classifies and hands over the graph, or the first error. The
 * builder is empty afterwards, also on failure; amg_builder_free still has to be
 * called. */
AMG_MUST_CHECK amg_status amg_builder_finish(amg_builder *b, amg_graph **out,
                                             amg_error *err);

#endif
