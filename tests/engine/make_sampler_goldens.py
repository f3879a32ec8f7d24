"""Makes sampler_goldens.h: probabilities of the next token after temperature, top-k and top-p, each written
out in PyTorch as Hugging Face's logits processors do it.

    python tests/engine/make_sampler_goldens.py > tests/engine/sampler_goldens.h
"""
import torch

CASES = [  # tokens, scale of the logits, temperature, top-k, top-p, token never drawn (-1: none)
    (7, 2.0, 1.0, 0, 1.0, -1),
    (12, 2.0, 0.7, 0, 1.0, 3),
    (12, 2.0, 1.3, 4, 1.0, -1),
    (12, 2.0, 1.0, 0, 0.8, -1),
    (12, 2.0, 0.8, 6, 0.75, 0),
    (12, 30.0, 1.0, 0, 0.5, -1),  # one token has nearly everything
    (12, 0.0, 1.0, 5, 1.0, -1),  # all equal: the first five
]


def probabilities(logits, temperature, top_k, top_p, never):
    scores = logits.double() / temperature
    if never >= 0:
        scores[never] = -torch.inf
    if top_k:
        kept = scores.sort(descending=True, stable=True).indices[:top_k]
        mask = torch.ones_like(scores, dtype=torch.bool)
        mask[kept] = False
        scores[mask] = -torch.inf
    if top_p < 1:
        ordered, order = scores.sort(descending=True, stable=True)
        beyond = ordered.softmax(-1).cumsum(-1) > top_p
        beyond[1:] = beyond[:-1].clone()
        beyond[0] = False
        scores[order[beyond]] = -torch.inf
    return scores.softmax(-1)


torch.manual_seed(1)
print("/* Made by make_sampler_goldens.py with PyTorch %s. */" % torch.__version__.split("+")[0])
print("static const sampler_golden goldens[] = {")
for tokens, scale, temperature, top_k, top_p, never in CASES:
    x = torch.randn(tokens) * scale
    print("    {%d, %g, %d, %g, %d," % (tokens, temperature, top_k, top_p, never))
    print("     {%s}," % ", ".join("%.9ef" % v for v in x.tolist()))
    print("     {%s}}," % ", ".join("%.17e" % v for v in probabilities(x, temperature, top_k, top_p, never).tolist()))
print("};")
