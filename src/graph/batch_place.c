#include "graph/batch_place.h"

#include "base/checked.h"
#include "graph/infer.h"

int64_t amg_batch_samples(const amg_value *x, const int64_t *target, int rank)
{
    int64_t sample, all = 1;
    bool batch;
    if (!amg_dims_product(x->dims, x->rank, &sample, &batch) || !batch || sample == 0)
        return 0;
    for (int i = 0; i < rank; i++)
        if (target[i] < 1 || !amg_mul_i64(all, target[i], &all)) return 0;
    return all % sample == 0 ? all / sample : 0;
}

int amg_batch_place(const amg_value *x, int64_t samples, const int64_t *target,
                    int rank)
{
    int64_t before = 1, reached = 1;
    int merged = -1, found[2] = {-1, -1}, count[2] = {0, 0}, d = 0;
    while (x->dims[d] >= 0) before *= x->dims[d++];
    const int64_t behind = before * -x->dims[d];
    for (int i = 0; i < rank; reached *= target[i++]) {
        const bool alone = target[i] == samples;
        if (reached >= before && reached <= behind && target[i] % samples == 0 &&
            count[alone]++ == 0)
            found[alone] = i;
        if (merged < 0 && before % reached == 0 &&
            reached * target[i] % (before * samples) == 0)
            merged = i;
    }
    const bool alone = count[true] > 0;
    if (behind > before && count[alone] > 1) return -1;
    return count[alone] ? found[alone] : merged;
}
