"""Time of a training step of a language model in PyTorch as its users write it: the model of
tests/interop/twins.py (nn.TransformerEncoder; F.scaled_dot_product_attention), cross
entropy, clipping and AdamW, on random tokens. Prints one JSON line, as bench_step does.

    torch_text.py MODEL BATCH WARM-UP STEPS THREADS OPTION=NUMBER...

OPTIONs are those of twins.build_text: vocab, seq, d_model and so on.
"""

import json
import os
import resource
import statistics
import sys
import time

import torch

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "interop"))
import twins  # noqa: E402


def main():
    batch, warm_up, steps, threads = map(int, sys.argv[2:6])
    options = {name: int(value) for name, value in (a.split("=") for a in sys.argv[6:])}
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    model = twins.build_text(sys.argv[1], **options).train()
    tokens, targets = torch.randint(options["vocab"], (2, batch, options["seq"]))
    loss_of = torch.nn.CrossEntropyLoss()
    adamw = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01)
    times = []
    for _ in range(warm_up + steps):
        start = time.perf_counter()
        adamw.zero_grad()
        loss = loss_of(model(tokens).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        value = loss.item()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({
        "torch": torch.__version__, "batch": batch, "threads": torch.get_num_threads(),
        "ms": round(statistics.median(times[warm_up:]), 2),
        "best_ms": round(min(times[warm_up:]), 2),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": value}))


main()
