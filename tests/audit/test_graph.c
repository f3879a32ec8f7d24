/* The tell-tales of lab/privacy.md §3 and §4, planted one at a time in a clean job:
 * each must be found, and by its own finding; the clean jobs must have none. More than
 * 500 lines: a list of small cases. */
#include "fixture_job.h"

#include "audit/contingency.h"
#include "formats/safetensors.h"
#include "graph/builder.h"

static const job_recipe same = {0};

static const job_recipe deep = {.model = "mobilenet_v2", .decoys = 2};

static amg_graph *graph_of(audit_bench *b) { return b->e.job.graph; }

static void must_fail(audit_bench *b, const char *metric)
{
    run_attack(b, amg_attack_graph);
    assert_verdict(b, metric, AMG_VERDICT_FAIL);
}

/* ---- clean jobs ---- */

/* What the zoo's networks beside walked decoys cannot pass. */
static const char textbook[] = "the original taken for a textbook's";

static void clean(const char *dir, const job_recipe *r)
{
    audit_bench b;
    open_audit(&b, dir, r);
    run_attack(&b, amg_attack_graph);
    assert_no_failure_but(&b, r->walk || r->paper ? textbook : NULL);
    assert_true(b.findings.count >= 18);
    close_audit(&b);
    amg_dir_remove(b.job);
    assert_int_equal(remove(b.key), 0);
}

static void clean_jobs_have_no_failure(void **state)
{
    for (uint32_t secret = 0; secret < 4; secret++) {
        clean(*state, &(job_recipe){.secret = secret});
        clean(*state, &(job_recipe){.secret = secret, .walk = true});
        clean(*state, &(job_recipe){.secret = secret, .decoys = 1, .walk = true});
        clean(*state, &(job_recipe){.secret = secret, .paper = true, .decoys = 2});
    }
}

static void clean_networks_of_the_zoo_have_no_failure(void **state)
{
    static const char *const names[] = {"mlp", "mobilenet_v2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        clean(*state, &(job_recipe){.model = names[i], .decoys = 2});
        clean(*state, &(job_recipe){.model = names[i], .decoys = 2, .walk = true});
    }
}

static void clean_text_jobs_have_no_failure(void **state)
{
    static const char *const names[] = {"gpt", "lstm", "text_cnn", "transformer_lm",
                                        "embedding_bag"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const bool model = amg_zoo_is_language_model(names[i]);
        text_bench t;
        audit_bench b = {0};
        amg_obfuscate_result r;
        const text_source like = {.seed = 4,
                                  .length = model ? 13 : 12,
                                  .vocab = 60,
                                  .pad = model ? AMG_NO_TOKEN : 0,
                                  .classes = model ? 0 : 5};
        open_text_bench(&t, *state, like, 90, 10, 300);
        t.options.num_decoys = 2;
        t.options.decoys.arch = i % 2 ? AMG_DECOY_SAME : AMG_DECOY_WALK;
        write_zoo(t.model, (amg_zoo_options){.name = names[i],
                                             .vocab = 60,
                                             .seq = 12,
                                             .num_classes = model ? 0 : 5,
                                             .width_model = model ? 32 : 0,
                                             .heads = model ? 4 : 0,
                                             .dropout = NAN,
                                             .pad = model ? -1 : 0,
                                             .seed = 7});
        if (amg_obfuscate(&t.options, NULL, &r, &t.err))
            fail_msg("%s: %s", t.err.where, t.err.what);
        snprintf(b.job, sizeof b.job, "%s", t.job);
        snprintf(b.key, sizeof b.key, "%s", t.key);
        open_evidence(&b, true);
        /* The fixture deals classes out in turn, which is a tell of its own. */
        amg_rng rng = amg_rng_init(3, 3);
        for (int64_t j = 0; b.e.labels && j < b.e.num_rows * b.e.num_streams; j++)
            b.e.labels[j] = (int32_t)amg_rng_below(&rng, 5);
        run_attack(&b, amg_attack_graph);
        assert_no_failure_but(&b, i % 2 ? NULL : textbook);
        close_audit(&b);
        close_text_bench(&t);
        amg_dir_remove(t.job);
        assert_int_equal(remove(t.key), 0);
    }
}

/* ---- finding one's way ---- */

static int a_decoy(const audit_bench *b) { return b->e.original == 0 ? 1 : 0; }

/* The nth node of an operator in a sub-network. */
static amg_node *nth(audit_bench *b, int subnet, amg_op op, int n)
{
    amg_graph *g = graph_of(b);
    int order[1024];
    assert_true(g->num_nodes <= 1024);
    const int count = amg_graph_canonical_order(g, subnet, order);
    for (int i = 0; i < count; i++)
        if (g->nodes[order[i]].op == op && n-- == 0) return &g->nodes[order[i]];
    fail_msg("no such node");
    abort(); /* gcc does not know that cmocka never returns */
}

static amg_value *input_of(audit_bench *b, const amg_node *n, int i)
{
    return &graph_of(b)->values[n->inputs[i]];
}

/* Trainables and buffers of a sub-network; returns how many. */
static int params_of(audit_bench *b, int subnet, amg_value **out)
{
    amg_graph *g = graph_of(b);
    int *ids = malloc((size_t)g->num_values * sizeof *ids);
    const int count = amg_graph_canonical_params(g, subnet, ids);
    for (int i = 0; i < count; i++) out[i] = &g->values[ids[i]];
    free(ids);
    return count;
}

/* What a change of one sub-network's weights is. */
typedef void (*change_fn)(float *x, int64_t count, amg_rng *rng);

static void change_weights(audit_bench *b, int subnet, change_fn change)
{
    amg_value *params[512];
    amg_rng rng = amg_rng_init(11, 0);
    const int count = params_of(b, subnet, params);
    for (int i = 0; i < count; i++) {
        float *x = params[i]->data.data;
        const int64_t n = amg_tensor_count(&params[i]->data);
        bool constant = true;
        for (int64_t j = 1; j < n; j++) constant = constant && x[j] == x[0];
        if (!constant) change(x, n, &rng);
    }
}

/* ---- closure ---- */

/* In each decoy one sum takes the original's addend instead of its own. */
static void an_edge_between_sub_networks_is_found_and_followed(void **state)
{
    audit_bench b;
    int inputs[3][2];
    open_audit(&b, *state, &deep);
    const amg_node *own = nth(&b, b.e.original, AMG_OP_ADD, 0);
    for (int s = 0; s < 3; s++) {
        if (s == b.e.original) continue;
        amg_node *n = nth(&b, s, AMG_OP_ADD, 0);
        inputs[s][0] = n->inputs[0];
        inputs[s][1] = own->inputs[1];
        n->inputs = inputs[s];
    }
    must_fail(&b, "sub-networks that share more than the input");
    assert_int_equal(b.findings.count, 1);
    assert_int_equal(b.findings.items[0].guess, b.e.original);
    assert_non_null(strstr(b.findings.items[0].text, "outputs"));
    close_audit(&b);
}

/* ---- architecture ---- */

static void an_original_of_its_own_kind_is_found(void **state)
{
    static const char metric[] = "the original stands out by architecture";
    audit_bench b;
    open_audit(&b, *state, &same);
    amg_node *n = nth(&b, b.e.original, AMG_OP_RELU, 1);
    n->op = AMG_OP_TANH;
    must_fail(&b, metric);
    assert_int_equal(find_metric(&b, metric)->guess, b.e.original);
    n->op = AMG_OP_RELU;
    nth(&b, a_decoy(&b), AMG_OP_RELU, 1)->op = AMG_OP_TANH; /* costs a decoy only */
    run_attack(&b, amg_attack_graph);
    assert_verdict(&b, metric, AMG_VERDICT_REPORT);
    assert_int_equal(find_metric(&b, metric)->guess, a_decoy(&b));
    close_audit(&b);
}

/* Decoys that are mutations of the original, each at another place. */
static void an_original_in_the_middle_is_told(void **state)
{
    static const char metric[] = "the original stands out by architecture";
    audit_bench b;
    int place = 4;
    open_audit(&b, *state, &same);
    for (int s = 0; s < 4; s++)
        if (s != b.e.original) nth(&b, s, AMG_OP_RELU, --place)->op = AMG_OP_TANH;
    run_attack(&b, amg_attack_graph);
    const amg_finding *f = find_metric(&b, metric);
    assert_int_equal(f->verdict, AMG_VERDICT_REPORT);
    assert_int_equal(f->guess, b.e.original);
    assert_true(f->value == 1);
    assert_true(f->chance == .5);
    close_audit(&b);
}

static void a_textbook_network_is_recognised(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &same);
    run_attack(&b, amg_attack_graph);
    assert_int_equal(find_metric(&b, textbook)->verdict, AMG_VERDICT_PASS);
    assert_true(find_metric(&b, textbook)->value == .25);
    for (int s = 0; s < 4; s++)
        if (s != b.e.original) input_of(&b, nth(&b, s, AMG_OP_CONV, 0), 1)->dims[0]++;
    run_attack(&b, amg_attack_graph);
    const amg_finding *f = find_metric(&b, textbook);
    assert_int_equal(f->verdict, AMG_VERDICT_FAIL);
    assert_true(f->value == 1 && f->chance == .25);
    assert_int_equal(f->guess, b.e.original);
    assert_non_null(strstr(f->text, "lenet"));
    for (int s = 0; s < 4; s++)
        if (s != b.e.original) input_of(&b, nth(&b, s, AMG_OP_CONV, 0), 1)->dims[0]--;
    input_of(&b, nth(&b, b.e.original, AMG_OP_CONV, 0), 1)->dims[0]++;
    run_attack(&b, amg_attack_graph);
    f = find_metric(&b, textbook);
    assert_int_equal(f->verdict, AMG_VERDICT_PASS);
    assert_true(f->value == 0);
    input_of(&b, nth(&b, b.e.original, AMG_OP_CONV, 0), 1)->dims[0]--;
    close_audit(&b);
}

/* ---- names and order ---- */

static void names_are_found(void **state)
{
    static const char metric[] = "names that say something";
    audit_bench b;
    open_audit(&b, *state, &same);
    amg_node *n = nth(&b, b.e.original, AMG_OP_CONV, 1);
    amg_value *w = input_of(&b, n, 1);
    const char *name = w->name, *path = b.e.job.manifest.files[0].path;
    w->name = "conv1.weight";
    must_fail(&b, metric);
    assert_int_equal(find_metric(&b, metric)->guess, b.e.original);
    w->name = name;
    n->name = "/features/Conv";
    must_fail(&b, metric);
    n->name = "";
    b.e.job.manifest.files[0].path = "data/patients-2024.npy";
    must_fail(&b, metric);
    b.e.job.manifest.files[0].path = path;
    run_attack(&b, amg_attack_graph);
    assert_verdict(&b, metric, AMG_VERDICT_PASS);
    close_audit(&b);
}

static const char order_metric[] = "orders that follow the sub-networks";

/* Parameters are numbered through, sub-network by sub-network. */
static void parameters_in_the_order_of_sub_networks_are_found(void **state)
{
    audit_bench b;
    char names[1024][8];
    open_audit(&b, *state, &same);
    amg_graph *g = graph_of(&b);
    int *order = malloc((size_t)g->num_nodes * sizeof *order), n = 0;
    for (int s = 0; s < g->num_outputs; s++) {
        const int count = amg_graph_canonical_order(g, s, order);
        for (int i = 0; i < count; i++)
            for (int j = 0; j < g->nodes[order[i]].num_inputs; j++) {
                amg_value *v = &g->values[g->nodes[order[i]].inputs[j]];
                if (v->kind != AMG_VALUE_PARAM) continue;
                snprintf(names[n], sizeof names[n], "p%04d", n % 10000);
                v->name = names[n++];
            }
    }
    must_fail(&b, order_metric);
    assert_verdict(&b, "names that say something", AMG_VERDICT_PASS);
    free(order);
    close_audit(&b);
}

/* All nodes of a sub-network before the next one's. */
static void nodes_in_the_order_of_sub_networks_are_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &same);
    amg_graph *g = graph_of(&b);
    const size_t bytes = (size_t)g->num_nodes * sizeof *g->nodes;
    amg_node *nodes = malloc(bytes);
    int *order = malloc((size_t)g->num_nodes * sizeof *order), n = 0;
    for (int s = 0; s < g->num_outputs; s++) {
        const int count = amg_graph_canonical_order(g, s, order);
        for (int i = 0; i < count; i++) nodes[n++] = g->nodes[order[i]];
    }
    assert_int_equal(n, g->num_nodes);
    memcpy(g->nodes, nodes, bytes);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < nodes[i].num_outputs; j++)
            g->values[nodes[i].outputs[j]].producer = i;
    must_fail(&b, order_metric);
    free(order);
    free(nodes);
    close_audit(&b);
}

static void columns_in_an_order_of_their_own_are_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &same);
    amg_head *heads = b.e.job.manifest.heads;
    heads[0].label_column = 1;
    heads[1].label_column = 0;
    must_fail(&b, order_metric);
    close_audit(&b);
}

/* ---- selects ---- */

static int compare_positions(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void selects_that_differ_are_found(void **state)
{
    static const char sets[] = "select sets that differ in size or type";
    static const char cover[] = "positions selected by none or several";
    static const char order[] = "selects in an order of their own";
    audit_bench b;
    open_audit(&b, *state, &same);
    const int own = b.e.original;
    amg_stream *s = &b.e.streams[own];
    s->num_values--;
    must_fail(&b, sets);
    assert_int_equal(find_metric(&b, sets)->guess, own);
    assert_verdict(&b, cover, AMG_VERDICT_FAIL); /* a position is left over */
    s->num_values++;
    const uint32_t first = s->select[0];
    s->select[0] = b.e.streams[a_decoy(&b)].select[0];
    must_fail(&b, cover);
    s->select[0] = first;
    amg_value *index = input_of(&b, nth(&b, own, AMG_OP_GATHER, 0), 1);
    index->dtype = AMG_I32;
    must_fail(&b, sets);
    index->dtype = AMG_I64;
    qsort(s->select, (size_t)s->num_values, sizeof *s->select, compare_positions);
    must_fail(&b, order);
    assert_int_equal(find_metric(&b, order)->guess, own);
    close_audit(&b);
}

/* ---- initial weights ---- */

static const char init_trained[] =
    "weights that look trained in some sub-networks only";
static const char init_laws[] = "laws of initial weights that differ";
static const char init_numbers[] = "numbers of initial weights that differ";
static const char init_equal[] = "equal initial weights";
static const char init_ranks[] = "weights that are extreme tensor after tensor";

static void must_fail_at(audit_bench *b, const char *metric, int subnet)
{
    must_fail(b, metric);
    assert_int_equal(find_metric(b, metric)->guess, subnet);
}

/* Heavy tails, as training makes them. */
static void train_a_little(float *x, int64_t count, amg_rng *rng)
{
    for (int64_t i = 0; i < count; i++) x[i] *= (float)exp(.7 * amg_rng_normal(rng));
}

static void a_pretrained_original_is_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &same);
    change_weights(&b, b.e.original, train_a_little);
    must_fail_at(&b, init_trained, b.e.original);
    for (int s = 0; s < 4; s++)
        if (s != b.e.original) change_weights(&b, s, train_a_little);
    run_attack(&b, amg_attack_graph);
    assert_verdict(&b, init_trained, AMG_VERDICT_PASS); /* all look trained */
    close_audit(&b);
}

static void draw_wider(float *x, int64_t count, amg_rng *rng)
{
    (void)rng;
    for (int64_t i = 0; i < count; i++) x[i] *= 1.7f;
}

static void set_to_zero(float *x, int64_t count, amg_rng *rng)
{
    (void)rng;
    if (count < 256) memset(x, 0, (size_t)count * sizeof *x);
}

static void another_law_is_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &same);
    change_weights(&b, b.e.original, draw_wider);
    must_fail_at(&b, init_laws, b.e.original);
    close_audit(&b);
    amg_dir_remove(b.job);
    assert_int_equal(remove(b.key), 0);
    open_audit(&b, *state, &same);
    change_weights(&b, b.e.original, set_to_zero); /* its biases */
    must_fail_at(&b, init_laws, b.e.original);
    close_audit(&b);
}

static void store_in_half(float *x, int64_t count, amg_rng *rng)
{
    (void)rng;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= UINT32_C(0xFFFFE000); /* the bits that f16 has */
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void weights_once_stored_in_fewer_bits_are_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &same);
    change_weights(&b, b.e.original, store_in_half);
    must_fail_at(&b, init_numbers, b.e.original);
    close_audit(&b);
}

/* Sixteen normals, as PyTorch makes them from uniforms of 24 bits, or as we do. */
static void draw_sixteen(float *x, float scale, bool pytorch, amg_rng *rng)
{
    for (int j = 0; j < 8; j++) {
        const float u = 1 - amg_rng_uniform(rng), v = amg_rng_uniform(rng);
        const float r = sqrtf(-2 * logf(u)), angle = 2 * (float)M_PI * v;
        x[j] = scale * (pytorch ? r * cosf(angle) : (float)amg_rng_normal(rng));
        x[j + 8] = scale * (pytorch ? r * sinf(angle) : (float)amg_rng_normal(rng));
    }
}

/* He's law, fan out, for all convolutions. */
static void draw_convolutions(audit_bench *b, int subnet, bool pytorch)
{
    amg_value *params[512];
    amg_rng rng = amg_rng_init(12, (uint64_t)subnet);
    const int count = params_of(b, subnet, params);
    for (int i = 0; i < count; i++) {
        const int64_t *d = params[i]->dims, n = amg_tensor_count(&params[i]->data);
        if (params[i]->rank != 4) continue;
        const float scale = sqrtf(2.0f / (float)(d[0] * d[2] * d[3]));
        for (int64_t j = 0; j + 16 <= n; j += 16)
            draw_sixteen((float *)params[i]->data.data + j, scale, pytorch, &rng);
    }
}

static void another_generator_is_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &deep);
    for (int s = 0; s < 3; s++) draw_convolutions(&b, s, s == b.e.original);
    must_fail_at(&b, init_numbers, b.e.original);
    for (int s = 0; s < 3; s++) draw_convolutions(&b, s, true);
    run_attack(&b, amg_attack_graph);
    assert_verdict(&b, init_numbers, AMG_VERDICT_PASS);
    close_audit(&b);
}

static void equal_tensors_are_found(void **state)
{
    audit_bench b;
    amg_value *own[64], *other[64];
    open_audit(&b, *state, &same);
    params_of(&b, b.e.original, own);
    params_of(&b, a_decoy(&b), other);
    const float *from = own[0]->data.data;
    float *to = other[0]->data.data;
    const int64_t count = amg_tensor_count(&own[0]->data);
    for (int64_t i = 0; i < count; i++) to[i] = from[count - 1 - i]; /* rows moved */
    must_fail(&b, init_equal);
    close_audit(&b);
}

static void draw_a_little_wider(float *x, int64_t count, amg_rng *rng)
{
    (void)rng;
    for (int64_t i = 0; i < count; i++) x[i] *= 1.02f;
}

/* Too little for any one tensor, but in all of them. */
static void a_small_difference_in_every_tensor_is_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &deep);
    change_weights(&b, b.e.original, draw_a_little_wider);
    must_fail_at(&b, init_ranks, b.e.original);
    close_audit(&b);
}

/* ---- settings ---- */

static void settings_that_differ_are_found(void **state)
{
    audit_bench b;
    open_audit(&b, *state, &deep);
    const int own = b.e.original;

    amg_value *w = input_of(&b, nth(&b, own, AMG_OP_CONV, 3), 1);
    w->role = AMG_ROLE_CONSTANT;
    must_fail_at(&b, "frozen layers that differ", own);
    w->role = AMG_ROLE_TRAINABLE;

    amg_node *norm = nth(&b, own, AMG_OP_BATCH_NORM, 2);
    const amg_attr *attrs = norm->attrs;
    const int num_attrs = norm->num_attrs;
    norm->attrs = (amg_attr[]){amg_flt("epsilon", 1e-5f), amg_flt("momentum", .99f)};
    norm->num_attrs = 2;
    must_fail_at(&b, "norms that differ", own);
    norm->attrs = attrs;
    norm->num_attrs = num_attrs;

    amg_node *dropout = nth(&b, own, AMG_OP_DROPOUT, 0);
    float *ratio = input_of(&b, dropout, 1)->data.data;
    const float before = *ratio;
    *ratio = .3f;
    must_fail_at(&b, "dropout that differs", own);
    *ratio = before;

    amg_value *v = &graph_of(&b)->values[norm->outputs[0]];
    v->dtype = AMG_F16;
    must_fail_at(&b, "number types that differ", own);
    v->dtype = AMG_F32;

    b.e.job.manifest.heads[own].loss = AMG_LOSS_MSE;
    must_fail_at(&b, "losses that differ", own);
    b.e.job.manifest.heads[own].loss = AMG_LOSS_CROSS_ENTROPY;
    b.e.job.manifest.heads[own].class_weights = (const float[]){1};
    must_fail_at(&b, "losses that differ", own);
    b.e.job.manifest.heads[own].class_weights = NULL;

    const char *frozen = input_of(&b, nth(&b, own, AMG_OP_CONV, 0), 1)->name;
    b.e.job.manifest.frozen = &frozen;
    b.e.job.manifest.num_frozen = 1;
    must_fail_at(&b, "frozen layers that differ", own);
    frozen = input_of(&b, norm, 3)->name;
    must_fail_at(&b, "frozen layers that differ", own);
    b.e.job.manifest.num_frozen = 0;

    float *scale = input_of(&b, nth(&b, own, AMG_OP_MUL, 0), 1)->data.data;
    *scale *= 2;
    must_fail_at(&b, "preparation of data that differs", own);
    *scale /= 2;

    run_attack(&b, amg_attack_graph);
    assert_no_failure(&b);
    close_audit(&b);
}

/* ---- labels ---- */

static void label_columns_that_differ_are_found(void **state)
{
    static const char classes[] = "heads with another number of classes";
    static const char balance[] = "p that columns of labels have one class balance";
    static const char even[] = "p that no column of labels is more even than a draw";
    audit_bench b;
    open_audit(&b, *state, &same);
    const int own = b.e.original, num = b.e.num_streams;
    b.e.streams[own].num_classes = 12;
    must_fail_at(&b, classes, own);
    b.e.streams[own].num_classes = 10;
    for (int64_t i = 0; i < b.e.num_rows; i++) /* each class as often */
        b.e.labels[i * num + own] = (int32_t)(i % 10);
    must_fail_at(&b, even, own);
    assert_verdict(&b, balance, AMG_VERDICT_PASS);
    for (int64_t i = 0; i < b.e.num_rows; i++) /* one class three times as often */
        b.e.labels[i * num + own] = (int32_t)(i % 12 < 10 ? i % 12 : 4);
    must_fail_at(&b, balance, own);
    close_audit(&b);
}

/* ---- files ---- */

static void what_must_not_leave_is_found(void **state)
{
    static const char metric[] = "things in the folder that must not leave";
    audit_bench b;
    char path[600];
    open_audit(&b, *state, &same);

    snprintf(path, sizeof path, "%s/data/notes.txt", b.job);
    assert_int_equal(amg_file_write(path, 0644, false, "x", 1, NULL), AMG_OK);
    must_fail(&b, metric);
    assert_non_null(strstr(find_metric(&b, metric)->text, "data/notes.txt"));
    assert_int_equal(remove(path), 0);
    run_attack(&b, amg_attack_graph);
    assert_no_failure(&b);

    /* A producer at the model's end: field 2 of a ModelProto. */
    static const uint8_t producer[] = {0x12, 4, 'm', 'i', 'n', 'e'};
    amg_map map;
    snprintf(path, sizeof path, "%s/model.onnx", b.job);
    assert_int_equal(amg_map_open(path, &map, NULL), AMG_OK);
    uint8_t *model = malloc(map.size + sizeof producer);
    memcpy(model, map.data, map.size);
    memcpy(model + map.size, producer, sizeof producer);
    assert_int_equal(
        amg_file_write(path, 0644, false, model, map.size + sizeof producer, NULL),
        AMG_OK);
    must_fail(&b, metric);
    assert_int_equal(amg_file_write(path, 0644, false, model, map.size, NULL), AMG_OK);
    amg_map_close(&map);
    free(model);

    /* Metadata of the weights; then weights that the model does not have. */
    amg_st_entry entries[256];
    amg_safetensors *st = NULL;
    snprintf(path, sizeof path, "%s/weights.safetensors", b.job);
    assert_int_equal(amg_safetensors_open(path, &st, NULL), AMG_OK);
    const size_t count = amg_safetensors_count(st);
    for (size_t i = 0; i < count; i++) entries[i] = *amg_safetensors_at(st, i);
    const amg_st_pair date = {"date", "2026-01-01"};
    assert_int_equal(amg_safetensors_write_with(path, entries, count, &date, 1, NULL),
                     AMG_OK);
    must_fail(&b, metric);
    amg_tensor moved = entries[0].tensor;
    moved.data = calloc(1, moved.size_bytes);
    entries[0].tensor = moved;
    assert_int_equal(amg_safetensors_write(path, entries, count, NULL), AMG_OK);
    must_fail(&b, metric);
    free(moved.data);
    amg_safetensors_close(st);
    close_audit(&b);
}

/* ---- the tests of counts ---- */

static void counts_are_tested_exactly(void **state)
{
    (void)state;
    /* Fisher: sums of binomial coefficients in Python's integers. Chi-square: tables.
     */
    assert_true(fabs(amg_fisher(8, 10, 1, 6) / (2 * 0.024475524475524476) - 1) < 1e-9);
    assert_true(fabs(amg_fisher(990, 1000, 999, 1000) / 0.01150476750374169 - 1) <
                1e-6);
    assert_true(amg_fisher(5, 10, 5, 10) == 1);
    assert_true(fabs(amg_chi_square_tail(16.919, 9) / .05 - 1) < .02);
    assert_true(fabs(amg_chi_square_tail(27.877, 9) / .001 - 1) < .1);
    const int mixed[] = {0, 1, 1, 0, 1, 0, 0, 1}, sorted[] = {0, 0, 0, 0, 1, 1, 1, 1};
    double sums[2], sizes[2];
    assert_true(fabs(amg_kruskal_wallis(mixed, 8, 2, sums, sizes) - 1) < .1);
    assert_true(fabs(amg_kruskal_wallis(sorted, 8, 2, sums, sizes) / .0209 - 1) < .1);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(clean_jobs_have_no_failure),
        IN_FOLDER(clean_networks_of_the_zoo_have_no_failure),
        IN_FOLDER(clean_text_jobs_have_no_failure),
        IN_FOLDER(an_edge_between_sub_networks_is_found_and_followed),
        IN_FOLDER(an_original_of_its_own_kind_is_found),
        IN_FOLDER(an_original_in_the_middle_is_told),
        IN_FOLDER(a_textbook_network_is_recognised),
        IN_FOLDER(names_are_found),
        IN_FOLDER(parameters_in_the_order_of_sub_networks_are_found),
        IN_FOLDER(nodes_in_the_order_of_sub_networks_are_found),
        IN_FOLDER(columns_in_an_order_of_their_own_are_found),
        IN_FOLDER(selects_that_differ_are_found),
        IN_FOLDER(a_pretrained_original_is_found),
        IN_FOLDER(another_law_is_found),
        IN_FOLDER(weights_once_stored_in_fewer_bits_are_found),
        IN_FOLDER(another_generator_is_found),
        IN_FOLDER(equal_tensors_are_found),
        IN_FOLDER(a_small_difference_in_every_tensor_is_found),
        IN_FOLDER(settings_that_differ_are_found),
        IN_FOLDER(label_columns_that_differ_are_found),
        IN_FOLDER(what_must_not_leave_is_found),
        cmocka_unit_test(counts_are_tested_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
