/* Byte pair encoding: life of its tables and workspaces, and decoding. Consumes tokens,
 * produces bytes; parsing is in bpe_parse.c, encoding in bpe_encode.c and behind. */
#include "base/alloc.h"
#include "text/bpe_private.h"

static void free_pool(amg_bpe_pool *pool)
{
    while (pool->free != NULL) {
        amg_bpe_work *work = pool->free;
        pool->free = work->next;
        amg_bpe_work_free(work);
    }
    pthread_mutex_destroy(&pool->lock);
    amg_free(pool);
}

void amg_bpe_free(amg_bpe *b)
{
    if (b == NULL) return;
    if (b->pool != NULL) free_pool(b->pool);
    for (int i = 0; i < b->num_steps; i++) pcre2_code_free(b->steps[i].pattern);
    pcre2_general_context_free(b->memory);
    amg_spans_clear(&b->vocab);
    amg_chars_clear(&b->json);
    amg_free(b->vocab_ids);
    amg_free(b->token_bytes);
    amg_free(b->begins);
    amg_free(b->merges.slots);
    amg_free(b->added);
    amg_free(b);
}

const amg_chars *amg_bpe_json(const amg_bpe *b) { return &b->json; }
int64_t amg_bpe_size(const amg_bpe *b) { return b->size; }
int64_t amg_bpe_eos(const amg_bpe *b) { return b->eos; }
int64_t amg_bpe_pad(const amg_bpe *b) { return b->pad; }
int64_t amg_bpe_unknown(const amg_bpe *b) { return b->unknown; }

amg_status amg_bpe_no_memory(const char *name, amg_error *err)
{
    return amg_fail(err, AMG_NO_MEMORY, -1, name, "no memory for its tokens");
}

/* GPT-2 writes printable bytes of Latin-1 as themselves, the others, in order, as
 * U+0100 and on. */
int amg_bpe_byte_of(uint32_t c)
{
    if ((c >= '!' && c <= '~') || (c >= 0xa1 && c <= 0xff && c != 0xad)) return (int)c;
    if (c < 0x100) return -1;
    const uint32_t n = c - 0x100;
    if (n <= 0x20) return (int)n;
    if (n <= 0x42) return (int)(n - 0x21 + 0x7f);
    return n == 0x43 ? 0xad : -1;
}

bool amg_bpe_decode(const amg_bpe *b, const int32_t *ids, int64_t count, amg_chars *out)
{
    for (int64_t i = 0; i < count; i++) {
        const uint64_t begin = b->begins[ids[i]], end = b->begins[ids[i] + 1];
        if (!amg_chars_append(out, b->token_bytes + begin, (size_t)(end - begin)))
            return false;
    }
    return true;
}
