/* Rebuilds samples from found positions and compares them with the original's: what a
 * score of positions means to the eye. Consumes positions that an attack found, adds a
 * finding and a picture. Looks at the truth to compare only. */
#include "audit/rebuild.h"

#include <math.h>
#include <string.h>

#include "audit/pictures.h"
#include "audit/positions.h"
#include "audit/stats.h"
#include "base/alloc.h"

enum { COMPARED_ROWS = 32 };

int amg_rebuild_stream(const amg_evidence *e, const uint8_t *found)
{
    int best = -1;
    double most = 0;
    for (int s = 0; s < e->num_streams; s++) {
        const amg_stream *stream = &e->streams[s];
        int64_t both = 0;
        for (int64_t i = 0; i < stream->num_values; i++)
            both += found[stream->select[i]] != 0;
        const double share = (double)both / (double)stream->num_values;
        if (share <= most) continue;
        most = share;
        best = s;
    }
    return best;
}

/* Missing values are the mean of those that were found. */
static void rebuild(const amg_evidence *e, int stream, const uint8_t *found,
                    int64_t row, float *out)
{
    const amg_stream *s = &e->streams[stream];
    double sum = 0;
    int64_t known = 0;
    amg_evidence_sample(e, stream, row, out);
    for (int64_t i = 0; i < s->num_values; i++) {
        if (!found[s->select[i]]) continue;
        sum += (double)out[i];
        known++;
    }
    const float grey = known ? (float)(sum / (double)known) : 0;
    for (int64_t i = 0; i < s->num_values; i++)
        if (!found[s->select[i]]) out[i] = grey;
}

/* Means over some rows, spread evenly. psnr: the mean of finite ones, *exact counts the
 * others. */
typedef struct {
    int64_t rows, exact;
    double ssim, psnr, first_ssim;
} likeness;

static void compare(const amg_evidence *e, int stream, const uint8_t *found,
                    float *rebuilt, float *own, likeness *l)
{
    const int64_t *dims = e->streams[stream].dims;
    l->rows = e->num_rows < COMPARED_ROWS ? e->num_rows : COMPARED_ROWS;
    for (int64_t i = 0; i < l->rows; i++) {
        const int64_t row = i * e->num_rows / l->rows;
        float low, range;
        amg_picture_range(e, row, &low, &range);
        rebuild(e, stream, found, row, rebuilt);
        amg_evidence_original(e, row, own);
        const double ssim = amg_ssim(rebuilt, own, dims, (double)range);
        const double psnr = amg_psnr(rebuilt, own, dims, (double)range);
        l->ssim += ssim / (double)l->rows;
        if (i == 0) l->first_ssim = ssim;
        if (isinf(psnr))
            l->exact++;
        else
            l->psnr += psnr;
    }
    if (l->exact < l->rows) l->psnr /= (double)(l->rows - l->exact);
}

static amg_status report(const amg_attack_task *task, const char *attack,
                         const likeness *l, amg_error *err)
{
    amg_finding f = amg_finding_new(attack, "SSIM of the rebuilt image");
    f.value = l->ssim;
    if (l->exact == l->rows)
        return amg_findings_add(
            task->findings, &f, err,
            "Samples rebuilt from what this attack found are yours, "
            "byte for byte (%lld compared).",
            (long long)l->rows);
    return amg_findings_add(
        task->findings, &f, err,
        "Samples rebuilt from what this attack found are like yours "
        "to %.2f (structural similarity; 1: the same, 0: nothing in "
        "common; peak signal to noise %.1f dB).",
        l->ssim, l->psnr);
}

amg_status amg_rebuild_report(const amg_attack_task *task, const char *attack,
                              const char *title, int stream, const uint8_t *found,
                              amg_error *err)
{
    const amg_evidence *e = task->evidence;
    if (!e->is_image || !e->has_truth || stream < 0) return AMG_OK;
    const amg_stream *s = &e->streams[stream];
    if (memcmp(s->dims, e->streams[e->original].dims, sizeof s->dims) != 0)
        return AMG_OK;
    const size_t values = (size_t)s->num_values;
    float *rebuilt = amg_malloc(values * sizeof *rebuilt);
    float *own = amg_malloc(values * sizeof *own);
    likeness l = {0};
    amg_status st =
        rebuilt && own ? AMG_OK : amg_fail(err, AMG_NO_MEMORY, -1, attack, "no memory");
    if (!st) {
        compare(e, stream, found, rebuilt, own, &l);
        st = report(task, attack, &l, err);
    }
    if (!st) {
        const amg_picture picture = {
            .title = title, .stream = stream, .ssim = l.first_ssim};
        rebuild(e, stream, found, 0, rebuilt);
        st = amg_picture_add(e, 0, s->dims, rebuilt, picture, task->findings, err);
    }
    amg_free(rebuilt);
    amg_free(own);
    return st;
}
