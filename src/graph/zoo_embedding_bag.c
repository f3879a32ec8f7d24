/* The text classifier of torchtext's tutorial: nn.EmbeddingBag, the mean of a
 * document's embeddings (padding_idx, where there is a pad), and a linear layer; both
 * matrices from U(-0.5, 0.5), the bias 0. Padding is no part of the mean, so its row
 * never trains. */
#include "graph/zoo_text_layers.h"

int amg_zoo_embedding_bag(amg_zoo_net *net, int tokens)
{
    const amg_init_law uniform = {.kind = AMG_INIT_UNIFORM, .scale = 0.5};
    net->laws = (amg_zoo_laws){.linear_weight = AMG_INIT_UNIFORM,
                               .linear_bias = AMG_INIT_ZERO,
                               .linear_scale = 0.5};
    int table = amg_zoo_table(net, "embedding", uniform);
    int x = amg_zoo_lookup(net, "embedding", table, tokens);
    x = amg_zoo_mean_of_tokens(net, x, amg_zoo_kept_tokens(net, tokens));
    return amg_zoo_logits(net, "fc", x);
}
