/* Two jobs of the same data, laid side by side: the same folder made twice passes;
 * another key, other noise or other weights give the original away, and are told. */
#include "fixture_job.h"

static void compare(audit_bench *a, const audit_bench *b)
{
    a->options.other = b->job;
    run_attack(a, amg_attack_reupload);
}

static const char files[] = "files that differ";
static const char positions[] = "AUC of the original's positions";
static const char streams[] = "the original told by its positions in both";
static const char weights[] = "the original told by its initial weights in both";

static void the_same_job_made_twice_passes(void **state)
{
    audit_bench a, b;
    open_audit(&a, *state, &(job_recipe){.name = "one"});
    make_job(&b, *state, &(job_recipe){.name = "two"});
    compare(&a, &b);
    assert_verdict(&a, files, AMG_VERDICT_PASS);
    assert_int_equal(a.findings.count, 1);
    close_audit(&a);
}

/* Positions move, noise is drawn anew: the original's values are the same. */
static void paper_mode_with_another_key_shows_the_original(void **state)
{
    audit_bench a, b;
    open_audit(&a, *state, &(job_recipe){.name = "one", .paper = true, .decoys = 2});
    make_job(&b, *state,
             &(job_recipe){.name = "two", .paper = true, .decoys = 2, .secret = 1});
    compare(&a, &b);
    assert_verdict(&a, files, AMG_VERDICT_FAIL);
    assert_verdict(&a, positions, AMG_VERDICT_FAIL);
    assert_true(find_metric(&a, positions)->value > .999);
    assert_verdict(&a, streams, AMG_VERDICT_FAIL);
    assert_int_equal(find_metric(&a, streams)->guess, a.e.original);
    close_audit(&a);
}

/* Other covers from the same pool, at other positions. */
static void streams_with_another_key_show_the_original(void **state)
{
    audit_bench a, b;
    open_audit(&a, *state, &(job_recipe){.name = "one"});
    make_job(&b, *state, &(job_recipe){.name = "two", .secret = 1});
    compare(&a, &b);
    assert_verdict(&a, files, AMG_VERDICT_FAIL);
    assert_verdict(&a, streams, AMG_VERDICT_FAIL);
    assert_int_equal(find_metric(&a, streams)->guess, a.e.original);
    assert_true(find_metric(&a, positions)->value > .999);
    /* The original starts from the same weights, its class rows moved; decoys do not.
     */
    assert_verdict(&a, weights, AMG_VERDICT_FAIL);
    assert_int_equal(find_metric(&a, weights)->guess, a.e.original);
    close_audit(&a);
}

/* The key's decoys and covers again, but an original that was initialised anew. */
static void other_weights_with_the_same_key_show_the_original(void **state)
{
    audit_bench a, b;
    open_audit(&a, *state, &(job_recipe){.name = "one"});
    make_job(&b, *state, &(job_recipe){.name = "two", .init = 1});
    compare(&a, &b);
    assert_verdict(&a, files, AMG_VERDICT_FAIL);
    assert_verdict(&a, streams, AMG_VERDICT_PASS); /* all data are the same */
    assert_verdict(&a, weights, AMG_VERDICT_FAIL);
    assert_int_equal(find_metric(&a, weights)->guess, a.e.original);
    close_audit(&a);
}

/* Fresh noise at the same positions: what changes is not the owner's. */
static void fresh_noise_at_the_same_positions_shows_the_original(void **state)
{
    audit_bench a, b;
    open_audit(&a, *state, &(job_recipe){.name = "one", .paper = true, .decoys = 2});
    make_job(&b, *state,
             &(job_recipe){.name = "two", .paper = true, .decoys = 2, .init = 1});
    /* In memory: the second job has the first one's rows but for the noise. */
    amg_rng rng = amg_rng_init(5, 5);
    for (int64_t i = 0; i < a.e.num_rows * a.e.num_positions; i++)
        if (!a.e.is_own[i % a.e.num_positions]) a.e.x[i] = (uint8_t)amg_rng_u32(&rng);
    compare(&a, &b);
    assert_true(find_metric(&a, positions)->value > .999);
    assert_verdict(&a, positions, AMG_VERDICT_FAIL);
    close_audit(&a);
}

static void without_the_key_there_is_a_guess(void **state)
{
    audit_bench a, b;
    make_job(&a, *state, &(job_recipe){.name = "one"});
    open_evidence(&a, true);
    const int original = a.e.original;
    amg_evidence_close(&a.e);
    open_evidence(&a, false);
    make_job(&b, *state, &(job_recipe){.name = "two", .secret = 1});
    compare(&a, &b);
    assert_verdict(&a, files, AMG_VERDICT_FAIL);
    assert_verdict(&a, streams, AMG_VERDICT_REPORT);
    assert_int_equal(find_metric(&a, streams)->guess, original);
    assert_true(isnan(find_metric(&a, streams)->value));
    close_audit(&a);
}

/* Tokens have another numbering under another key. */
static void texts_are_compared_by_their_patterns(void **state)
{
    const text_source like = {
        .seed = 4, .length = 13, .vocab = 60, .pad = AMG_NO_TOKEN};
    char first_job[512];
    audit_bench a = {0};
    for (int i = 0; i < 2; i++) {
        text_bench t;
        amg_obfuscate_result r;
        open_text_bench(&t, *state, like, 200, 10, 700);
        t.options.num_decoys = 2;
        snprintf(t.job, sizeof t.job, "%s/job%d", (char *)*state, i);
        snprintf(t.key, sizeof t.key, "%s/key%d", (char *)*state, i);
        if (i == 1)
            t.options.seed_hex = "00000000000000000000000000000000"
                                 "00000000000000000000000000000009";
        write_zoo(t.model, (amg_zoo_options){.name = "gpt",
                                             .vocab = 60,
                                             .seq = 12,
                                             .width_model = 32,
                                             .heads = 4,
                                             .dropout = NAN,
                                             .pad = -1,
                                             .seed = 7});
        if (amg_obfuscate(&t.options, NULL, &r, &t.err))
            fail_msg("%s: %s", t.err.where, t.err.what);
        assert_true(r.tokens_permuted);
        if (i == 0) snprintf(first_job, sizeof first_job, "%s", t.job);
        snprintf(a.job, sizeof a.job, "%s", t.job); /* the second one's, at last */
        snprintf(a.key, sizeof a.key, "%s", t.key);
        close_text_bench(&t);
    }
    open_evidence(&a, true);
    a.options.other = first_job;
    run_attack(&a, amg_attack_reupload);
    assert_verdict(&a, streams, AMG_VERDICT_FAIL);
    assert_int_equal(find_metric(&a, streams)->guess, a.e.original);
    close_audit(&a);
}

static void without_another_upload_it_is_skipped(void **state)
{
    audit_bench a;
    open_audit(&a, *state, &(job_recipe){0});
    run_attack(&a, amg_attack_reupload);
    assert_int_equal(a.findings.count, 1);
    assert_verdict(&a, "", AMG_VERDICT_SKIPPED);
    amg_error err = {0};
    a.options.other = "/nowhere/job";
    assert_int_equal(amg_attack_reupload(&a.task, &err), AMG_NOT_FOUND);
    close_audit(&a);
}

int main(void)
{
#define IN_FOLDER(t) cmocka_unit_test_setup_teardown(t, folder_setup, folder_teardown)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(the_same_job_made_twice_passes),
        IN_FOLDER(paper_mode_with_another_key_shows_the_original),
        IN_FOLDER(streams_with_another_key_show_the_original),
        IN_FOLDER(other_weights_with_the_same_key_show_the_original),
        IN_FOLDER(fresh_noise_at_the_same_positions_shows_the_original),
        IN_FOLDER(without_the_key_there_is_a_guess),
        IN_FOLDER(texts_are_compared_by_their_patterns),
        IN_FOLDER(without_another_upload_it_is_skipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
