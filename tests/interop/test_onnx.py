"""ONNX files that Amalgam writes, before strangers: onnx.checker and onnxruntime.

    python test_onnx.py BUILD [model ...]

zoo    every model, for images and for text: checked, and run in onnxruntime; outputs equal
       those of the PyTorch twin and of the engine (relative L2 <= 1e-5)
cycle  zoo -> obfuscate -> amalgam-train -> extract: the job's model.onnx before training (every
       head, uint8 input) and the extracted model are checked and run in onnxruntime, equal to
       the engine; the extracted weights are trained ones, under the original's names

onnxruntime runs without its graph optimizations, as the file says.
"""

import json

import numpy as np
import onnx
import onnxruntime
import safetensors.numpy
import torch

import harness
import twins
from harness import relative

OUTPUT = 1e-5
CLASSES, BATCH = 10, 4
SMALL, LARGE = (3, 32, 32), (3, 224, 224)
ZOO = [(name, SMALL) for name in twins.ZOO] + [("resnet18", LARGE),
                                                  ("mobilenet_v2", LARGE)]
# With their own widths, and with others; with padding and without.
TEXT = [("transformer_lm", {"vocab": 300}),
        ("transformer_lm", {"vocab": 90, "seq": 7, "d_model": 24, "heads": 3, "layers": 1,
                            "hidden": 40}),
        ("gpt", {"vocab": 120, "seq": 32, "layers": 2}),
        ("gpt", {"vocab": 90, "seq": 9, "d_model": 24, "heads": 3, "layers": 1, "hidden": 40}),
        ("text_cnn", {"vocab": 90}), ("text_cnn", {"vocab": 90, "seq": 9, "pad": 3}),
        ("embedding_bag", {"vocab": 90}), ("embedding_bag", {"vocab": 90, "seq": 9, "pad": 0}),
        ("lstm", {"vocab": 90}), ("lstm", {"vocab": 90, "seq": 9, "layers": 2, "pad": 89})]
#         model, further options of obfuscate
CYCLES = [("lenet", ["--decoys", 2]), ("resnet18", ["--decoys", 1]),
          ("lenet", ["--decoys", 1, "--noise", "gaussian", "--amount", 0.5])]


def check_file(h, what, path):
    """onnx.checker with shape inference."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        h.expect(f"{what}: onnx.checker", True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        h.expect(f"{what}: onnx.checker", False, str(error).strip().splitlines()[0])


def run_file(path, x):
    """{output name: array} from onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options,
                                           providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: x})))


def check_zoo(h, name, shape):
    title = f"{name} {'x'.join(map(str, shape))}"
    path = h.zoo(name, shape, CLASSES)
    check_file(h, title, path)
    x, _ = harness.images_of(shape, BATCH)
    found = run_file(path, x)["logits"]
    twin = twins.load_weights(twins.build(name, shape, CLASSES),
                              harness.initializers(path)).eval()
    with torch.no_grad():
        expected = twin(torch.from_numpy(x)).numpy()
    h.check(f"{title}: onnxruntime and PyTorch", relative(found, expected), OUTPUT)
    h.check(f"{title}: onnxruntime and the engine",
            relative(h.engine(path, x[None])["eval.logits"], found), OUTPUT)


def check_text_zoo(h, name, options):
    title = " ".join([name, *(f"{k} {v}" for k, v in options.items())])
    path = h.zoo_text(name, options)
    check_file(h, title, path)
    twin = twins.load_weights(twins.build_text(name, **options),
                              harness.initializers(path)).eval()
    seq = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    x = harness.tokens_of(BATCH, seq, options["vocab"], options.get("pad"))
    found = run_file(path, x)["logits"]
    with torch.no_grad():
        expected = twin(torch.from_numpy(x)).numpy()
    h.check(f"{title}: onnxruntime and PyTorch", relative(found, expected), OUTPUT)
    h.check(f"{title}: onnxruntime and the engine",
            relative(h.engine(path, x[None])["eval.logits"], found), OUTPUT)
    other = x.copy()
    other[0, 0] = (other[0, 0] + 1) % options["vocab"]
    h.above(f"{title}: control, another token", relative(run_file(path, other)["logits"], found),
            OUTPUT)


def write_data(h, images, labels):
    """DATA of npy files."""
    x, y = h.path(".npy"), h.path(".npy")
    np.save(x, images)
    np.save(y, labels)
    return f"{x},{y}"


def check_job_model(h, title, job):
    """The augmented model on the job's own first samples."""
    manifest = json.loads((job / "job.json").read_text())
    x = np.load(job / manifest["train"]["shards"][0]["x"])[:BATCH]
    check_file(h, f"{title}: job's model", job / "model.onnx")
    found = run_file(job / "model.onnx", x)
    engine = h.engine(job / "model.onnx", x[None])
    for head in manifest["heads"]:
        h.check(f"{title}: {x.dtype} job, head {head['output']}",
                relative(engine[f"eval.{head['output']}"], found[head["output"]]), OUTPUT)


def check_cycle(h, name, options):
    title = f"{name} {' '.join(map(str, options))}"
    images, labels = harness.cifar(96)
    train, pool = (write_data(h, images[s], labels[s])
                   for s in (slice(0, 24), slice(24, 96)))
    if "--noise" not in options:
        options = [*options, "--decoys-from", pool]
    model, job, key = h.zoo(name, SMALL, CLASSES), h.path(".job"), h.path(".key")
    h.program("amalgam", "obfuscate", "--model", model, "--train", train, *options,
              "--key", key, "--quiet", "-o", job)
    check_job_model(h, title, job)
    h.program("amalgam-train", job, "--batch", 8, "--epochs", 2, "--lr", 0.01,
              "--momentum", 0.9, "--quiet")
    trained, weights = h.path(".onnx"), h.path(".safetensors")
    h.program("amalgam", "extract", "--key", key, "--weights",
              job / "out" / "weights.safetensors", "-o", trained, "--safetensors", weights)
    check_file(h, f"{title}: extracted", trained)
    x = harness.normalize(images[:BATCH])
    found = run_file(trained, x)["logits"]
    h.check(f"{title}: extracted, onnxruntime and the engine",
            relative(h.engine(trained, x[None])["eval.logits"], found), OUTPUT)
    arrays = safetensors.numpy.load_file(weights)
    twin = twins.load_weights(twins.build(name, SMALL, CLASSES), arrays).eval()
    with torch.no_grad():
        expected = twin(torch.from_numpy(x)).numpy()
    h.check(f"{title}: extracted, onnxruntime and PyTorch", relative(found, expected), OUTPUT)
    h.above(f"{title}: extracted, distance to the untrained",
            relative(found, run_file(model, x)["logits"]), OUTPUT)


def functions_model():
    """Nested functions with references to attributes and a default."""
    node = onnx.helper.make_node
    alpha = node("LeakyRelu", ["v"], ["leaky"])
    alpha.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT,
                                               ref_attr_name="slope"))
    leaky = onnx.helper.make_function(
        "own", "Leaky", ["v", "shift"], ["out"],
        [alpha, node("Add", ["leaky", "shift"], ["out"])],
        [onnx.helper.make_opsetid("", 17)], [],
        [onnx.helper.make_attribute("slope", 0.25)])
    outer = onnx.helper.make_function(
        "own", "Outer", ["v", "w"], ["out"],
        [node("MatMul", ["v", "w"], ["m"]),
         node("Leaky", ["m", "m"], ["once"], domain="own"),
         node("Leaky", ["once", "m"], ["out"], domain="own", slope=0.5)],
        [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)])
    weights = np.random.default_rng(5).normal(0, 1, (6, 6)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [node("Outer", ["x", "w"], ["h"], domain="own"),
         node("Outer", ["h", "w"], ["y"], domain="own")], "functions",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 6])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 6])],
        [onnx.numpy_helper.from_array(weights, "w")])
    return onnx.helper.make_model(graph, ir_version=9, functions=[leaky, outer], opset_imports=[
        onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("own", 1)])


def check_functions(h):
    """Calls of a file's own functions, by the engine and onnxruntime."""
    path = h.path(".onnx")
    onnx.save(functions_model(), path)
    x = np.random.default_rng(6).normal(0, 1, (BATCH, 6)).astype(np.float32)
    h.check("functions: onnxruntime and the engine",
            relative(h.engine(path, x[None])["eval.y"], run_file(path, x)["y"]), OUTPUT)


def check_controls(h):
    """A weight that is 1 % off and a file without its last node must be noticed."""
    path = h.zoo("lenet", SMALL, CLASSES)
    x, _ = harness.images_of(SMALL, BATCH)
    expected = run_file(path, x)["logits"]
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if t.name == "conv2.weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[7] *= 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, path)
    h.above("control: one weight 1 % off",
            relative(h.engine(path, x[None])["eval.logits"], expected), OUTPUT)
    del model.graph.node[-1]
    try:
        onnx.checker.check_model(model, full_check=True)
        h.expect("control: onnx.checker refuses a missing node", False)
    except onnx.checker.ValidationError:
        h.expect("control: onnx.checker refuses a missing node", True)


def main(h):
    torch.set_num_threads(2)
    for name, shape in ZOO:
        if h.wants(name):
            check_zoo(h, name, shape)
    for name, options in TEXT:
        if h.wants(name):
            check_text_zoo(h, name, options)
    for name, options in CYCLES:
        if h.wants("cycle"):
            check_cycle(h, name, options)
    if h.wants("functions"):
        check_functions(h)
    if h.wants("control"):
        check_controls(h)


harness.run(main)
