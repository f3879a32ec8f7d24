/* What the tests of the model augmenter and the extractor share: a whole job in memory.
 */
#ifndef AMG_TESTS_OBFUSCATE_JOB_FIXTURE_H
#define AMG_TESTS_OBFUSCATE_JOB_FIXTURE_H

#include "arch_fixture.h"
#include "base/alloc.h"
#include "obfuscate/augment_model.h"

enum { JOB_DECOYS = 2 };

typedef struct {
    amg_secret *secret;
    amg_graph *original;
    amg_graph *subnets[JOB_DECOYS + 1]; /* the original's slot: original */
    amg_obf_plan plan;
    amg_key_payload payload; /* original without weights, as a key file gives it */
    amg_graph *job;
} job_fixture;

static inline void open_job(job_fixture *f, unsigned secret, const char *model,
                            amg_decoy_arch arch)
{
    *f = (job_fixture){.secret = numbered_secret(secret), .original = zoo(model)};
    amg_error err = {0};
    amg_plan_shape shape = {.num_decoys = JOB_DECOYS,
                            .dims = {3, 32, 32},
                            .dtype = AMG_U8,
                            .num_classes = 10,
                            .cover_classes = 10,
                            .permute_labels = true};
    if (amg_obf_plan_derive(f->secret, &shape, &f->plan, &err))
        fail_msg("%s", err.what);
    for (int s = 0, index = 0; s <= JOB_DECOYS; s++) {
        f->subnets[s] = f->original;
        if (s == f->plan.original) continue;
        if (amg_decoy_make(f->secret, f->original, ++index, JOB_DECOYS, 10,
                           &(amg_decoy_options){.arch = arch}, &f->subnets[s], &err))
            fail_msg("%s: %s", err.where, err.what);
    }
    amg_key_payload p = {.shape = shape,
                         .preprocess = {.data_dtype = AMG_U8,
                                        .num_channels = 3,
                                        .mean = {.5f, .4f, .3f},
                                        .std = {.2f, .2f, .3f}},
                         .original = f->original};
    memset(p.job_sha256, '0', 64);
    amg_job_network networks[JOB_DECOYS + 1];
    amg_job_names names[JOB_DECOYS + 1];
    for (int s = 0; s <= JOB_DECOYS; s++)
        networks[s] = (amg_job_network){f->subnets[s], &p.preprocess, &p.shape};
    if (amg_augment_model(f->secret, &f->plan, networks, &f->job, names, NULL, &err))
        fail_msg("%s: %s", err.where, err.what);
    for (int s = 0; s <= JOB_DECOYS; s++)
        if (s == f->plan.original)
            p.names = names[s];
        else
            amg_job_names_clear(&names[s]);
    uint8_t *bytes = NULL;
    size_t size;
    assert_int_equal(amg_key_payload_pack(&p, &bytes, &size, NULL), AMG_OK);
    if (amg_key_payload_parse(bytes, size, &f->payload, &err)) fail_msg("%s", err.what);
    amg_free(bytes);
    p.original = NULL;
    amg_key_payload_clear(&p);
}

static inline void close_job(job_fixture *f)
{
    for (int s = 0; s <= JOB_DECOYS; s++)
        if (f->subnets[s] != f->original) amg_graph_free(f->subnets[s]);
    amg_key_payload_clear(&f->payload);
    amg_obf_plan_clear(&f->plan);
    amg_graph_free(f->job);
    amg_graph_free(f->original);
    amg_secret_free(f->secret);
}

#endif
