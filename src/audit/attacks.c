/* The audit's driver: opens the evidence once, runs the attacks that were asked for in
 * the table's order and keeps what each took. What an attack measures is its own file's
 * matter; what a report looks like, report_*.c's. Wants the job and perhaps the key;
 * gives findings and pictures. */
#include "audit/attack.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "audit/pictures.h"
#include "base/progress.h"
#include "base/rng.h"
#include "engine/meter.h"

static const struct {
    const char *name;
    const char *what;
    amg_attack_fn run;
    bool by_request; /* too dear to run unless it is named */
    bool needs_other;
} table[] = {
    {"lattice", "values that lie off the data's grid, range or type",
     amg_attack_lattice, false, false},
    {"marginal", "mean, variance and histogram of each position", amg_attack_marginal,
     false, false},
    {"corr", "positions that go together, and the image they give", amg_attack_corr,
     false, false},
    {"cluster", "positions sorted into candidates by correlation", amg_attack_cluster,
     false, false},
    {"naturalness", "which candidate looks most, or least, like real data",
     amg_attack_naturalness, false, false},
    {"c2st", "a classifier that learns one candidate against another", amg_attack_c2st,
     false, false},
    {"shadow", "a classifier trained on many jobs made with other keys",
     amg_attack_shadow, true, false},
    {"training", "which candidate trains differently from the rest",
     amg_attack_training, false, false},
    {"lookup", "samples known from elsewhere (--aux), and repeated ones",
     amg_attack_lookup, false, false},
    {"graph", "sizes, names, order and initial weights of sub-networks",
     amg_attack_graph, false, false},
    {"reupload", "what two uploads of the same data show (--other)",
     amg_attack_reupload, false, true},
    {"symmetry", "mixed values put back by statistics of public data (--aux)",
     amg_attack_symmetry, false, false},
};
enum { NUM_ATTACKS = sizeof table / sizeof *table };
_Static_assert(NUM_ATTACKS <= AMG_MAX_ATTACKS, "the report has a time for each");

const char *amg_audit_attack_name(int i, const char **what)
{
    if (i < 0 || i >= NUM_ATTACKS) return NULL;
    if (what) *what = table[i].what;
    return table[i].name;
}

static amg_status unknown_attack(const char *name, size_t length, amg_error *err)
{
    char names[256];
    size_t n = 0;
    for (int i = 0; i < NUM_ATTACKS; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "",
                              table[i].name);
    amg_fail(err, AMG_INVALID, -1, "attacks", "'%.*s' is no attack",
             length < 64 ? (int)length : 64, name);
    amg_hint(err, "the attacks are %s; all: each of them", names);
    return AMG_INVALID;
}

/* One name of the list, or "all". */
static bool choose(const char *name, size_t length, bool wanted[NUM_ATTACKS])
{
    const bool all = length == 3 && !strncmp(name, "all", 3);
    bool found = all;
    for (int i = 0; i < NUM_ATTACKS; i++)
        if (all ||
            (strlen(table[i].name) == length && !strncmp(table[i].name, name, length)))
            wanted[i] = found = true;
    return found;
}

static amg_status choose_attacks(const amg_audit_options *o, bool wanted[NUM_ATTACKS],
                                 amg_error *err)
{
    for (int i = 0; i < NUM_ATTACKS; i++)
        wanted[i] =
            !o->attacks && !table[i].by_request && (o->other || !table[i].needs_other);
    for (const char *name = o->attacks; name;) {
        const size_t length = strcspn(name, ",");
        if (!choose(name, length, wanted)) return unknown_attack(name, length, err);
        name = name[length] ? name + length + 1 : NULL;
    }
    return AMG_OK;
}

/* What is told while an attack runs, under the attack's name. */
typedef struct {
    const amg_progress *progress; /* may be NULL */
    const char *name;
} teller;

static bool tell(void *context, const amg_progress_event *event)
{
    const teller *t = context;
    amg_progress_event own = *event;
    own.stage = t->name;
    return !t->progress || !t->progress->report ||
           t->progress->report(t->progress->context, &own);
}

static double seconds_since(int64_t start_ns)
{
    return 1e-9 * (double)(amg_now_ns() - start_ns);
}

static amg_status run_attacks(const amg_evidence *e, const amg_audit_options *o,
                              const bool wanted[NUM_ATTACKS],
                              const amg_progress *progress, amg_audit_report *report,
                              amg_error *err)
{
    amg_neighbours neighbours = {0};
    amg_status st = AMG_OK;
    for (int i = 0; i < NUM_ATTACKS && !st; i++) {
        const bool idle = table[i].run == amg_attack_symmetry && !e->job.manifest.mixed;
        if (!wanted[i] || (idle && !o->attacks)) continue;
        /* A seed of its own: the attacks' draws neither overlap nor depend on which
         * others run. */
        amg_rng rng = amg_rng_init(o->seed, (uint64_t)i);
        teller t = {.progress = progress, .name = table[i].name};
        const amg_progress told = {.report = tell, .context = &t};
        amg_attack_task task = {.evidence = e,
                                .options = o,
                                .progress = &told,
                                .findings = &report->findings,
                                .neighbours = &neighbours,
                                .seed = amg_rng_u64(&rng)};
        const int64_t start = amg_now_ns();
        st = amg_tick(&told, t.name, 0, 0, err); /* it begins */
        if (!st) st = table[i].run(&task, err);
        report->times[report->num_times++] =
            (amg_audit_time){.attack = table[i].name, .seconds = seconds_since(start)};
    }
    amg_neighbours_clear(&neighbours);
    return st;
}

static size_t peak_memory(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) ? 0 : (size_t)usage.ru_maxrss * 1024;
}

amg_status amg_audit_run(const amg_audit_options *options, const amg_progress *progress,
                         amg_audit_report *out, amg_error *err)
{
    const int64_t start = amg_now_ns();
    bool wanted[NUM_ATTACKS];
    amg_evidence e = {0};
    amg_audit_report report = {0};
    const amg_evidence_options evidence = {.job = options->job,
                                           .key = options->key,
                                           .passphrase = options->passphrase,
                                           .max_rows = options->max_rows,
                                           .seed = options->seed};
    amg_status st = choose_attacks(options, wanted, err);
    if (!st) st = amg_evidence_open(&evidence, &e, err);
    if (!st) st = amg_audit_draw(&e, &report.findings, err);
    if (!st) st = run_attacks(&e, options, wanted, progress, &report, err);
    if (!st) {
        report.num_streams = e.num_streams;
        report.original = e.has_truth ? e.original : -1;
        report.num_rows = e.num_rows;
        report.total_rows = e.total_rows;
        report.paper_mode = e.paper_mode;
        for (int i = 0; i < report.findings.count; i++)
            report.num_failed += report.findings.items[i].verdict == AMG_VERDICT_FAIL;
        report.peak_bytes = peak_memory();
        report.seconds = seconds_since(start);
        *out = report;
    } else {
        amg_audit_report_clear(&report);
    }
    amg_evidence_close(&e);
    return st;
}
