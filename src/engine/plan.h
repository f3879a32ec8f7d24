/* A plan: one sub-network, compiled for one batch size. Gradients, layouts, primitives
 * and memory are decided here, once; a step then only runs kernels and allocates
 * nothing.
 *
 * Two plans of the same sub-network give the same bits whatever else is in the job,
 * because the plan follows amg_graph_canonical_order and never looks at names. Not
 * thread-safe; kernels use amg_threads() threads. */
#ifndef AMG_ENGINE_PLAN_H
#define AMG_ENGINE_PLAN_H

#include "engine/params.h"
#include "graph/graph.h"

typedef struct amg_plan amg_plan;

#define AMG_MAX_STATES 5

/* The rows of an embedding table stand in another order than tokens count: token t is
 * row rank[t] of param (a Gather along axis 0). */
typedef struct {
    const char *param;
    const int32_t *rank;
} amg_row_order;

typedef struct {
    bool training;    /* forward + backward; false: forward with running statistics, no
                         dropout */
    uint64_t seed;    /* of dropout */
    bool bf16;        /* Conv and Gemm multiply in bf16 and add in f32; all else, and
                         parameters, stay f32 */
    unsigned augment; /* bits of engine/augment.h (training only): the images are
                         changed in place, the plan's input too, if that is what they
                         are */
    int64_t parts;    /* of augmentation: forwards of one batch, their steps being
                         batch * parts + part; 0: 1 */
    bool no_winograd; /* direct convolution everywhere (for comparisons) */
    int num_states; /* of every trainable, for the optimizer; at most AMG_MAX_STATES */
    const char *kept; /* name of a value, f32 or i64, of the same sub-network that no
                         trainable reaches and that stays readable like the output;
                         NULL: none. Borrowed while compiling */
    const amg_row_order
        *row_orders; /* of embedding tables; borrowed for the plan's life */
    int num_row_orders;
    const bool *frozen; /* per value of the graph: a trainable that gets no gradient and
                           no slot, running statistics that stay and normalise; NULL:
                           none. Borrowed while compiling */
} amg_plan_options;

/* Compiles output output_index of g, a graph from amg_graph_plan_batch that outlives
 * the plan. Fails with AMG_UNSUPPORTED naming node and operator, also if only a
 * reference implementation of a kernel exists. */
AMG_MUST_CHECK amg_status amg_plan_new(const amg_graph *g, int output_index,
                                       const amg_plan_options *options, amg_plan **out,
                                       amg_error *err);
void amg_plan_free(amg_plan *plan);

/* Bytes of the scratch this plan needs while it runs (activations, gradients of
 * activations, the kernels' scratchpad). Plans that run one after the other may share
 * one buffer, as large as the largest. */
size_t amg_plan_workspace_bytes(const amg_plan *plan);
/* Must be called before any run; the buffer (64-byte aligned) stays the caller's.
 * Contents need not be kept between steps. */
void amg_plan_bind(amg_plan *plan, void *workspace);

/* Copies parameters and buffers between plan (blocked layouts) and set (plain,
 * canonical order). Exact. */
AMG_MUST_CHECK amg_status amg_plan_load(amg_plan *plan, const amg_params *set,
                                        amg_error *err);
AMG_MUST_CHECK amg_status amg_plan_store(const amg_plan *plan, amg_params *set,
                                         amg_error *err);

/* The network's input: where to write one batch, in the graph's dtype and shape. */
void *amg_plan_input(amg_plan *plan);
size_t amg_plan_input_bytes(const amg_plan *plan);

/* Forward. step selects the dropout masks (training only). output: f32 of count
 * elements in the output's shape, row-major, valid until the backward or the next run
 * of any plan that shares the workspace. */
AMG_MUST_CHECK amg_status amg_plan_forward(amg_plan *plan, int64_t step,
                                           const float **output, int64_t *count,
                                           amg_error *err);
/* The value options.kept names, row-major, after a forward: valid until the backward or
 * the next run of any plan that shares the workspace. NULL if none was named. */
const void *amg_plan_kept(const amg_plan *plan);
/* Where the output's gradient is best written between forward and backward: mostly the
 * output's own memory, so that a loss that works in place needs no other. NULL: no
 * gradient flows. */
float *amg_plan_doutput(amg_plan *plan);
/* Backward from doutput (the output's shape; borrowed; copied unless it is
 * amg_plan_doutput). Gradients are overwritten, not accumulated. Also updates
 * batch-norm running statistics (momentum of the node; unbiased variance, as PyTorch
 * does). */
AMG_MUST_CHECK amg_status amg_plan_backward(amg_plan *plan, const float *doutput,
                                            amg_error *err);

/* One trainable as the optimizer sees it: value, gradient and num_states state slots of
 * the same (physical, blocked) layout and length; padding elements are 0 in all of them
 * at first, and values stay 0 under any update that maps gradient 0 to no change. */
typedef struct {
    float *value;
    float *grad;
    float *state[AMG_MAX_STATES];
    int64_t count; /* physical elements, padding included */
} amg_plan_slot;

/* Slots in the canonical order of parameters; trainables only. States exist after
 * amg_plan_new, zeroed; those beyond num_states are NULL. */
int amg_plan_num_slots(const amg_plan *plan);
const amg_plan_slot *amg_plan_slot_at(const amg_plan *plan, int i);

/* Optimizer states between plan and plain sets, like load/store; which is below
 * num_states. Sets from amg_params_like. */
AMG_MUST_CHECK amg_status amg_plan_load_state(amg_plan *plan, int which,
                                              const amg_params *set, amg_error *err);
AMG_MUST_CHECK amg_status amg_plan_store_state(const amg_plan *plan, int which,
                                               amg_params *set, amg_error *err);
/* Gradients in plain form (tests). */
AMG_MUST_CHECK amg_status amg_plan_store_grad(const amg_plan *plan, amg_params *set,
                                              amg_error *err);

/* Measures the time of each kernel from now on, or no longer (default). Measuring reads
 * the clock twice a kernel. */
AMG_MUST_CHECK amg_status amg_plan_measure(amg_plan *plan, bool on, amg_error *err);
/* What one kernel took in all runs since; strings are the plan's. */
typedef struct {
    const char *op;             /* its operator, "-": none */
    const char *what;           /* which of the operator's kernels */
    const char *implementation; /* oneDNN's name, "loop": one of our own */
    bool backward;
    int64_t elapsed_ns;
} amg_plan_time;
int amg_plan_num_times(const amg_plan *plan); /* 0 unless measured */
amg_plan_time amg_plan_time_at(const amg_plan *plan, int i);

typedef struct {
    size_t workspace_bytes, persistent_bytes, state_bytes;
} amg_plan_memory;
amg_plan_memory amg_plan_memory_of(const amg_plan *plan);
typedef struct {
    const amg_value *value; /* the graph's */
    size_t bytes;
    bool persistent;
} amg_plan_tensor;
/* Merges the plan's tensors into out[0 .. count-1], the largest first, of which max are
 * kept; returns how many there are now. */
int amg_plan_largest(const amg_plan *plan, amg_plan_tensor *out, int count, int max);

/* One line per kernel: op, node, implementation, layout, bytes; to stream. For
 * benchmarks and bug reports. */
void amg_plan_describe(const amg_plan *plan, FILE *stream);

#endif
