/* Sums up what plans measured and prints it. Names no node and no parameter but the
 * largest: a job's names say nothing. */
#include "engine/profile.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/parallel.h"
#include "engine/meter.h"

enum { LARGEST = 8 };

/* Kernels alike in all plans, or a part that is none. */
typedef struct {
    amg_plan_time kernel;
    int64_t calls, elapsed_ns;
} row;

typedef struct {
    row *items;
    int count;
} table;

static bool is_on(const amg_profile *p) { return p->stream && p->skip == 0; }

int64_t amg_profile_clock(const amg_profile *p) { return is_on(p) ? amg_now_ns() : 0; }

void amg_profile_add(amg_profile *p, amg_profile_part part, int64_t since_ns)
{
    if (is_on(p)) p->part_ns[part] += amg_now_ns() - since_ns;
}

amg_status amg_profile_begin(amg_profile *p, amg_error *err)
{
    if (!is_on(p)) return AMG_OK;
    amg_status status = AMG_OK;
    for (int i = 0; i < p->num_plans && p->steps == 0 && !status; i++)
        status = amg_plan_measure(p->plans[i], true, err);
    p->begin_ns = amg_now_ns();
    return status;
}

amg_status amg_profile_end(amg_profile *p, amg_error *err)
{
    if (!p->stream) return AMG_OK;
    if (p->skip > 0) {
        p->skip--;
        return AMG_OK;
    }
    p->step_ns += amg_now_ns() - p->begin_ns;
    return ++p->steps < AMG_PROFILE_STEPS ? AMG_OK : amg_profile_finish(p, err);
}

static bool same_kernel(const amg_plan_time *a, const amg_plan_time *b)
{
    return a->backward == b->backward && !strcmp(a->op, b->op) &&
           !strcmp(a->what, b->what) && !strcmp(a->implementation, b->implementation);
}

static void add_kernel(table *t, const amg_plan_time *kernel)
{
    int i = 0;
    while (i < t->count && !same_kernel(&t->items[i].kernel, kernel)) i++;
    if (i == t->count) t->items[t->count++] = (row){.kernel = *kernel};
    t->items[i].elapsed_ns += kernel->elapsed_ns;
    t->items[i].calls++;
}

/* A part that is no kernel has calls 0. */
static void add_part(table *t, const char *what, int64_t elapsed_ns)
{
    t->items[t->count++] = (row){.kernel = {.what = what}, .elapsed_ns = elapsed_ns};
}

static int by_time(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->elapsed_ns != y->elapsed_ns) return x->elapsed_ns < y->elapsed_ns ? 1 : -1;
    return strcmp(x->kernel.what, y->kernel.what);
}

/* Kernels and parts by time; what is none of them comes last. */
static amg_status make_table(const amg_profile *p, table *t, amg_error *err)
{
    static const char *const parts[AMG_PROFILE_PARTS] = {"reading data", "loss",
                                                         "optimizer"};
    size_t room = AMG_PROFILE_PARTS + 1;
    int64_t rest = p->step_ns;
    for (int i = 0; i < p->num_plans; i++)
        room += (size_t)amg_plan_num_times(p->plans[i]);
    t->items = amg_calloc(room, sizeof *t->items);
    if (!t->items) return amg_fail(err, AMG_NO_MEMORY, -1, "profile", "a table");
    for (int i = 0; i < p->num_plans; i++)
        for (int s = 0; s < amg_plan_num_times(p->plans[i]); s++) {
            const amg_plan_time kernel = amg_plan_time_at(p->plans[i], s);
            add_kernel(t, &kernel);
            rest -= kernel.elapsed_ns;
        }
    for (int i = 0; i < AMG_PROFILE_PARTS; i++) {
        add_part(t, parts[i], p->part_ns[i]);
        rest -= p->part_ns[i];
    }
    qsort(t->items, (size_t)t->count, sizeof *t->items, by_time);
    add_part(t, "all else", rest);
    return AMG_OK;
}

static void print_row(const amg_profile *p, const row *r)
{
    const double ms = (double)r->elapsed_ns * 1e-6 / (double)p->steps;
    fprintf(p->stream, "%9.3f %6.2f %%", ms,
            100 * (double)r->elapsed_ns / (double)p->step_ns);
    if (r->calls)
        fprintf(p->stream, " %6lld  %-8s  %-20s  %-24s  %s\n", (long long)r->calls,
                r->kernel.backward ? "backward" : "forward", r->kernel.op,
                r->kernel.what, r->kernel.implementation);
    else
        fprintf(p->stream, " %6s  %s\n", "", r->kernel.what);
}

static double mib(size_t bytes) { return (double)bytes / (1 << 20); }

static void print_memory(const amg_profile *p)
{
    amg_plan_tensor largest[LARGEST];
    char shape[AMG_SHAPE_TEXT];
    amg_plan_memory all = {0};
    int count = 0;
    for (int i = 0; i < p->num_plans; i++) {
        const amg_plan_memory m = amg_plan_memory_of(p->plans[i]);
        if (m.workspace_bytes > all.workspace_bytes)
            all.workspace_bytes = m.workspace_bytes;
        all.persistent_bytes += m.persistent_bytes;
        all.state_bytes += m.state_bytes;
        count = amg_plan_largest(p->plans[i], largest, count, LARGEST);
    }
    fprintf(
        p->stream,
        "memory: workspace %.1f MiB, shared by all sub-networks; weights, gradients "
        "and statistics %.1f MiB,\noptimizer %.1f MiB; the largest tensors:\n",
        mib(all.workspace_bytes), mib(all.persistent_bytes), mib(all.state_bytes));
    for (int i = 0; i < count; i++) {
        const amg_value *v = largest[i].value;
        fprintf(p->stream, "%9.3f MiB  %-10s  %-24s  %s\n", mib(largest[i].bytes),
                largest[i].persistent ? "persistent" : "workspace",
                amg_shape_text(v->dtype, v->rank, v->dims, shape), v->name);
    }
}

amg_status amg_profile_finish(amg_profile *p, amg_error *err)
{
    table t = {0};
    if (!p->stream || p->steps == 0) return AMG_OK;
    amg_status status = make_table(p, &t, err);
    if (!status) {
        fprintf(
            p->stream,
            "profile: %.3f ms a step of %lld samples (%lld steps, %d sub-network%s, "
            "%d thread%s)\n%9s %8s %6s\n",
            (double)p->step_ns * 1e-6 / (double)p->steps, (long long)p->batch,
            (long long)p->steps, p->num_plans, amg_plural(p->num_plans), amg_threads(),
            amg_plural(amg_threads()), "ms", "share", "calls");
        for (int i = 0; i < t.count; i++) print_row(p, &t.items[i]);
        print_memory(p);
        (void)fflush(p->stream);
    }
    amg_free(t.items);
    p->stream = NULL;
    for (int i = 0; i < p->num_plans && !status; i++)
        status = amg_plan_measure(p->plans[i], false, err);
    return status;
}
