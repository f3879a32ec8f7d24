/* Inside a plan: what operator families (kernel_*.c) use to compile a node, and the
 * plan itself. Private to the engine's plan*.c and kernel_*.c.
 *
 * Compiling is emitting: an operator's forward() appends steps that compute its output,
 * its backward() appends steps that turn the output's gradient into its inputs'.
 * Emitters never fail one by one: the first error is kept in the plan, later calls do
 * nothing, and amg_plan_new reports it.
 *
 *   buffer   a piece of memory: in the workspace, reused once its last step has run, or
 *            persistent (parameters, gradients, statistics, the input)
 *   value    a graph value: the buffer and layout that hold it, the buffer of its
 *            gradient, which always has the same layout
 *   step     one call: a oneDNN primitive or a loop of our own, and its buffers */
#ifndef AMG_ENGINE_KERNEL_H
#define AMG_ENGINE_KERNEL_H

#include "base/arena.h"
#include "engine/dnnl.h"
#include "engine/plan.h"
#include "graph/window.h"

#define AMG_NO_BUFFER (-1)

typedef struct {
    size_t bytes;
    bool persistent;
    int refs;        /* values whose data or gradient it holds */
    int first, last; /* steps that touch it; first -1: none */
    size_t offset;   /* in the workspace or the persistent block */
} amg_buffer;

/* A value in a second layout, made by a reorder. */
typedef struct amg_copy {
    const amg_layout *layout;
    int buffer;
    struct amg_copy *next;
} amg_copy;

typedef struct {
    const amg_layout *layout; /* NULL: not computed yet */
    int buffer;
    int num_uses; /* operands of this sub-network that read it, and the output */
    bool needs_grad;
    int grad; /* AMG_NO_BUFFER: none has been given yet */
    amg_copy *copies;
    /* Parameters only. */
    const amg_layout *plain; /* row-major, of layout's rank */
    amg_primitive *load;     /* plain -> layout, NULL if the bytes are the same */
    amg_primitive *store;    /* layout -> plain */
    int grad_home;           /* persistent gradient of a trainable */
    bool grad_given;         /* grad_home has been written */
} amg_value_state;

/* How to compile an operator. */
typedef struct {
    void (*prepare)(amg_plan *p, int node);  /* before any forward: fusion; or NULL */
    void (*forward)(amg_plan *p, int node);  /* NULL: the operator is not supported */
    void (*backward)(amg_plan *p, int node); /* NULL: no gradient */
} amg_kernel_row;

typedef struct {
    bool absorbed; /* another node computes this one */
    int fused;     /* the last node that this one computes too (a Relu; what follows
                      attention), -1: none */
    int ordinal;   /* of a Dropout among the Dropouts, of noise among noise */
    const amg_kernel_row *row; /* NULL: the operator's own */
    void *self;                /* what prepare() and forward() keep for later */
} amg_node_state;

/* What a loop of our own gets. */
typedef struct {
    void *const *ptr; /* its buffers, in the order of amg_emit_kernel */
    const void *self; /* its parameters, from amg_plan_alloc */
    int64_t step;     /* of training, for dropout */
    uint64_t seed;
    amg_status *status; /* a loop that meets bad data sets it, with amg_fail on err */
    amg_error *err;
} amg_call;
typedef void (*amg_kernel_fn)(const amg_call *call);

typedef struct {
    amg_arg arg; /* of a primitive; own kernels go by position */
    int buffer;
} amg_use;

typedef struct {
    const char *what;
    int node;
    amg_primitive *primitive; /* or */
    amg_kernel_fn fn;
    const void *self;
    int num_uses;
    amg_use *uses;
    void **ptr; /* of uses, filled by amg_plan_bind */
} amg_step;

struct amg_plan {
    const amg_graph *graph;
    int output;
    amg_plan_options options;
    amg_arena arena;
    amg_dnnl *dnnl;
    amg_status status; /* first failure while compiling */
    amg_error *err;    /* of amg_plan_new, valid while compiling */

    int *order, num_nodes;   /* canonical */
    int *params, num_params; /* trainables and buffers, canonical */
    amg_node_state *nodes;   /* by graph node */
    amg_value_state *values; /* by graph value */

    int num_buffers, cap_buffers;
    amg_buffer *buffers;
    int num_steps, cap_steps;
    amg_step *steps;
    int first_backward;  /* index of the first backward step */
    int64_t *elapsed_ns; /* [num_steps]; NULL: not measured */

    int input;       /* value id */
    int y, dy;       /* buffers of the output and its gradient, row-major */
    int64_t y_count; /* elements */
    int kept_value;  /* options.kept, AMG_NO_VALUE: none */
    int kept;        /* its row-major buffer */
    int augmented;   /* value that options.augment changes, AMG_NO_VALUE: none */
    int num_slots;
    amg_plan_slot *slots;
    int *slot_values; /* value ids */

    uint8_t *persistent, *states; /* owned */
    uint8_t *workspace;           /* borrowed */
    size_t persistent_bytes, workspace_bytes;
    amg_status bind_status; /* amg_plan_bind cannot report: the next run does */
    int64_t step;
};

/* Emits the augmentation of p->augmented, which node (-1: it is the input) has just
 * computed. */
void amg_plan_augment(amg_plan *p, int node);

/* ---- for operators ----------------------------------------------------------------
 */

/* Zeroed memory that lives as long as the plan; NULL after a failure. */
void *amg_plan_alloc(amg_plan *p, size_t count, size_t size_bytes);
/* Keeps the first failure, naming node and operator. */
void amg_plan_fail(amg_plan *p, int node, amg_status code, const char *fmt, ...)
    AMG_PRINTF(4, 5);
/* Keeps a failure of a dnnl.h function, whose error is cause. */
void amg_plan_fail_with(amg_plan *p, int node, amg_status code, const amg_error *cause);

/* node "NAME" (Op), for a loop that meets bad data; NULL after a failure. */
const char *amg_plan_where(amg_plan *p, int node);

const amg_node *amg_plan_node(const amg_plan *p, int node);
/* Value of input i, AMG_NO_VALUE if absent. */
int amg_plan_input_value(const amg_plan *p, int node, int i);
/* The value this node computes: its output, or that of the last node fused into it. */
int amg_plan_result(const amg_plan *p, int node);
const amg_value *amg_plan_value(const amg_plan *p, int value);
bool amg_plan_needs_grad(const amg_plan *p, int value);
/* Whether the parameter is to stay as it is in training (amg_plan_options). */
bool amg_plan_is_frozen(const amg_plan *p, int value);
/* Gives a fused Relu back to itself; before the node's result is defined. */
void amg_plan_unfuse(amg_plan *p, int node);
/* Layout of a value already computed, or of a parameter (plain if it is new). */
const amg_layout *amg_plan_layout(amg_plan *p, int value);
/* Row-major layout of the value's own dims. */
const amg_layout *amg_plan_plain(amg_plan *p, int value);
/* like's channel blocking for value's dims; NULL after a failure. */
const amg_layout *amg_plan_blocked_like(amg_plan *p, const amg_layout *like, int value);
/* Data of a constant: f32 scalars and i64 index vectors read while compiling. NULL if
 * value is no constant with data. */
const amg_tensor *amg_plan_constant(const amg_plan *p, int value);
/* The integers of a constant scalar or vector, I64 or I32; how many. -1: it is none, or
 * they are more than max. */
int amg_plan_ints(const amg_plan *p, int value, int max, int64_t *out);

/* The value's buffer in this layout (NULL: in its own), reordered if need be. */
int amg_plan_read(amg_plan *p, int node, int value, const amg_layout *layout);
/* The same for a parameter whose layout this node would choose: the first user's choice
 * becomes its home. plain: the row-major layout of the same rank. */
int amg_plan_read_param(amg_plan *p, int node, int value, const amg_layout *layout,
                        const amg_layout *plain);
/* A new workspace buffer. */
int amg_plan_temp(amg_plan *p, size_t bytes);
/* A new buffer that holds value in layout. */
int amg_plan_define(amg_plan *p, int value, const amg_layout *layout);
/* value lives in an existing buffer, in layout. */
void amg_plan_define_as(amg_plan *p, int value, const amg_layout *layout, int buffer);
/* Whether a node that reads value may write its result over it: nobody else needs it,
 * forward or backward. */
bool amg_plan_may_overwrite(const amg_plan *p, int value);
/* Defines what a node of one operand computes, in layout: over buffer in, which holds
 * its input in that layout, where nobody needs that any more. reads: its backward does.
 */
int amg_plan_define_over(amg_plan *p, int node, const amg_layout *layout, int in,
                         bool reads);
/* Fails unless value is F32: layouts and most loops know nothing else. */
void amg_plan_expect_f32(amg_plan *p, int node, int value);
/* Whether the gradient of the output may lie over it: no backward reads it. */
bool amg_plan_gradient_may_replace(const amg_plan *p, int value);

/* The gradient of what node computes, in this layout (NULL: the value's). */
int amg_plan_grad(amg_plan *p, int node, const amg_layout *layout);
/* Whether that gradient has no other reader, so that it may be overwritten. */
bool amg_plan_grad_exclusive(const amg_plan *p, int node);
/* Where a kernel that makes a whole contribution to value's gradient, in layout (NULL:
 * the value's), should write it; give it with amg_plan_give_grad afterwards. */
int amg_plan_grad_target(amg_plan *p, int value, const amg_layout *layout);
/* Adds buffer, in layout (NULL: the value's), to value's gradient. Nothing happens if
 * value needs none. */
void amg_plan_give_grad(amg_plan *p, int node, int value, int buffer,
                        const amg_layout *layout);

/* Appends a step. Primitives get their scratchpad by themselves. */
void amg_emit_primitive(amg_plan *p, int node, const char *what, amg_primitive *prim,
                        int num_uses, const amg_use *uses);
void amg_emit_kernel(amg_plan *p, int node, const char *what, amg_kernel_fn fn,
                     const void *self, int num_buffers, const int *buffers);

/* Copies buffer from, in layout a, to buffer to, in layout b. A reference reorder is
 * allowed for parameters only: they are small, and there is nothing else for some. */
void amg_emit_reorder(amg_plan *p, int node, int from, const amg_layout *a, int to,
                      const amg_layout *b, bool allow_reference);

/* ---- the operator families --------------------------------------------------------
 */

const amg_kernel_row *amg_kernel_get(amg_op op);

#define AMG_KERNEL(name)                                                               \
    void amg_##name##_forward(amg_plan *p, int node);                                  \
    void amg_##name##_backward(amg_plan *p, int node);
AMG_KERNEL(conv)
AMG_KERNEL(norm)
AMG_KERNEL(activation)
void amg_relu_prepare(amg_plan *p, int node);
AMG_KERNEL(pool)
AMG_KERNEL(global_pool)
void amg_global_max_forward(amg_plan *p, int node);
AMG_KERNEL(gemm)
AMG_KERNEL(binary)
AMG_KERNEL(concat)
AMG_KERNEL(view)
AMG_KERNEL(pad)
AMG_KERNEL(pad_any)
AMG_KERNEL(conv_transpose)
AMG_KERNEL(resize)
AMG_KERNEL(grid_sample)
AMG_KERNEL(col2im)
AMG_KERNEL(recurrent)
AMG_KERNEL(group_norm)
AMG_KERNEL(unit)
AMG_KERNEL(prelu)
AMG_KERNEL(dropout)
/* For a kernel that applies the mask itself: draws count bytes, 0 where node drops. The
 * buffer, AMG_NO_BUFFER where nothing is dropped; by what the others are multiplied. */
int amg_dropout_draw(amg_plan *p, int node, int64_t count, float *scale);
void amg_random_forward(amg_plan *p, int node);
AMG_KERNEL(gather)
AMG_KERNEL(mat_mul)
/* Attention, if node is its last MatMul (attention.h). */
void amg_attention_prepare(amg_plan *p, int node);
AMG_KERNEL(layer_norm)
AMG_KERNEL(softmax)
AMG_KERNEL(math)
AMG_KERNEL(move)
AMG_KERNEL(split)
AMG_KERNEL(repeat)
AMG_KERNEL(reduce)
AMG_KERNEL(extreme)
AMG_KERNEL(cumulative)
AMG_KERNEL(gather_index)
AMG_KERNEL(scatter)
AMG_KERNEL(trilu)
/* The axes that a Reduce… runs over, a bit each; none given: all. (kernel_reduce.c) */
unsigned amg_reduce_axes(amg_plan *p, int node, int rank);
/* forward() of one that does not read floats. (kernel_reduce_whole.c) */
void amg_reduce_whole(amg_plan *p, int node);
void amg_arg_forward(amg_plan *p, int node);
void amg_top_k_forward(amg_plan *p, int node);
/* Whether a ReduceMean runs over exactly the last two of four dims. */
bool amg_mean_over_image(amg_plan *p, int node);
void amg_cast_forward(amg_plan *p, int node);
void amg_logic_forward(amg_plan *p, int node);
/* Whether node works on whole numbers or bools, and amg_logic_forward knows it. */
bool amg_logic_takes(const amg_plan *p, int node);
void amg_where_backward(amg_plan *p, int node);
#undef AMG_KERNEL

/* ---- convolutions and pools (kernel_window.c) -------------------------------------
 */

/* The node's window; false after a failure. */
bool amg_plan_window(amg_plan *p, int node, amg_window *out);
/* The spatial part of a shape, from in to out positions. */
void amg_conv_set_window(amg_conv_shape *s, const amg_window *w, const int64_t *in,
                         const int64_t *out);
/* Row-major weights [G,O/G,C/G,K...], without G where it is 1; NULL after a failure. */
const amg_layout *amg_conv_plain_weights(amg_plan *p, int node,
                                         const amg_conv_shape *s);
/* The weights' buffer in this layout; where their gradient goes; giving it. plain: from
 * the function above. */
int amg_conv_read_weights(amg_plan *p, int node, int value, const amg_layout *layout,
                          const amg_layout *plain);
int amg_conv_weights_target(amg_plan *p, int value, const amg_layout *layout);
void amg_conv_give_weights(amg_plan *p, int node, int value, int buffer,
                           const amg_layout *layout, const amg_layout *plain);

/* ---- small loops shared by families (kernel_loops.c) ------------------------------
 */

/* ptr[0] += ptr[1]; self: const int64_t count. */
void amg_loop_accumulate(const amg_call *call);
/* ptr[0] = ptr[1] + ptr[2]; self: const int64_t count. */
void amg_loop_sum(const amg_call *call);
/* ptr[0] = ptr[1] where ptr[2] > 0, else 0; self: const int64_t count. */
void amg_loop_relu_gradient(const amg_call *call);
/* Zeroes channel padding of ptr[0]; self: const amg_geometry. */
void amg_loop_zero_padding(const amg_call *call);

/* Of every sample and channel, in double: the sums of a and of a * b over all
 * positions. sums: [n][blocks * block][2]. The same bits for any number of threads. */
void amg_channel_sums(const amg_geometry *g, const float *a, const float *b,
                      double *sums);
/* Bytes of such sums. */
size_t amg_channel_sums_bytes(const amg_geometry *g);

/* ---- plan*.c among themselves -----------------------------------------------------
 */

/* plan_build.c: emits all steps. */
void amg_plan_compile(amg_plan *p);
/* plan_memory.c: gives every buffer its place and allocates persistent memory. */
void amg_plan_place(amg_plan *p);
void *amg_plan_ptr(const amg_plan *p, int buffer);
/* plan_value.c: a persistent buffer; slots and homes of parameters. */
int amg_plan_persistent(amg_plan *p, size_t bytes);
/* plan_params.c: fills constants after amg_plan_place. */
void amg_plan_load_constants(amg_plan *p);

#endif
