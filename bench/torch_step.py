"""Time of a training step of a zoo model in PyTorch: forward, cross entropy, backward, SGD
with momentum, on data made up here. Prints one JSON line, as bench_step does.

    torch_step.py MODEL nchw|channels_last BATCH WARM-UP STEPS THREADS [f32|bf16]
    torch_step.py MODEL export PATH.onnx

MODEL: one of the zoo, or vit (patches of 4 x 4, 6 layers of width 192 with 3 heads). bf16: under
autocast.
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
import models  # noqa: E402
import twins  # noqa: E402


def build(name):
    torch.manual_seed(1)
    if name == "vit":
        return models.VisionTransformer(32, 4, 6, 192, 3, 768).train()
    return twins.build(name, (3, 32, 32), 10).train()


def export(name, path):
    torch.onnx.export(build(name), torch.zeros(2, 3, 32, 32), path, opset_version=17, dynamo=False,
                      training=torch.onnx.TrainingMode.TRAINING, do_constant_folding=False,
                      input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "n"}})


def main():
    name, layout = sys.argv[1:3]
    if layout == "export":
        export(name, sys.argv[3])
        return
    batch, warm_up, steps, threads = map(int, sys.argv[3:7])
    bf16 = sys.argv[7:] == ["bf16"]
    torch.set_num_threads(threads)
    model = build(name)
    x, labels = torch.rand(batch, 3, 32, 32), torch.randint(10, (batch,))
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        x = x.to(memory_format=torch.channels_last)
    loss_of = torch.nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    times = []
    for _ in range(warm_up + steps):
        start = time.perf_counter()
        sgd.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = loss_of(model(x), labels)
        loss.backward()
        sgd.step()
        value = loss.item()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps({
        "torch": torch.__version__, "batch": batch, "threads": torch.get_num_threads(),
        "ms": round(statistics.median(times[warm_up:]), 2),
        "best_ms": round(min(times[warm_up:]), 2),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": value}))


main()
