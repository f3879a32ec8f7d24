/* What all sources share: closing, and the order of samples in an epoch. */
#include "engine/source.h"

#include <string.h>

#include "base/rng.h"

/* "order" in ASCII: keeps these streams apart from every other use of the seed. */
#define ORDER_STREAM (UINT64_C(0x6f72646572) << 24)

void amg_source_close(amg_source *s)
{
    if (s->close) s->close(s);
    memset(s, 0, sizeof *s);
}

void amg_epoch_order(uint64_t seed, int64_t epoch, int64_t n, int64_t *order)
{
    amg_rng rng = amg_rng_init(seed, ORDER_STREAM + (uint64_t)epoch);
    amg_rng_permutation(&rng, n, order);
}
