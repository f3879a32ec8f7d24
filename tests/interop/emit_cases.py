"""Small ONNX graphs for test_emit.py: each operator's corners, and the groups of nodes that
become one PyTorch function. Reference: onnxruntime.

    for case in CASES: case.name, case.model() -> onnx.ModelProto, case.x() -> input array,
                       case.form: text that model.py must contain ("" if none is asked for)
"""
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
RUNTIME_OPSET = 26  # the newest that onnxruntime has


class Case:
    """One graph: x -> nodes -> y. weights: {name: shape or array}; a shape is filled at
    random. nodes: (op, inputs, outputs, attributes). reference: nodes that give the same y in
    onnxruntime, where it has not these, or not their opset."""

    def __init__(self, name, nodes, x, weights=None, form="", opset=OPSET, positive=False,
                 integers=None, reference=None):
        self.name, self.nodes, self.shape, self.form, self.opset = name, nodes, x, form, opset
        self.positive, self.integers, self.reference = positive, integers, reference
        rng = np.random.default_rng(3)
        self.weights = {
            n: w if isinstance(w, np.ndarray)
            else (rng.uniform(0.2, 1, w) if "var" in n else rng.normal(0, 0.5, w))
            .astype(np.float32)
            for n, w in (weights or {}).items()}

    def x(self):
        rng = np.random.default_rng(4)
        if self.integers:
            return rng.integers(0, self.integers, self.shape).astype(np.int64)
        values = rng.uniform(0.1, 2, self.shape) if self.positive else rng.normal(
            0, 2, self.shape)
        return values.astype(np.float32)

    def model(self, nodes=None):
        opset = min(self.opset, RUNTIME_OPSET) if nodes else self.opset
        nodes = [helper.make_node(op, ins.split(",") if ins else [], outs.split(","), **attrs)
                 for op, ins, outs, attrs in nodes or self.nodes]
        kind = TensorProto.INT64 if self.integers else TensorProto.FLOAT
        graph = helper.make_graph(
            nodes, "case",
            [helper.make_tensor_value_info("x", kind, ["N", *self.shape[1:]])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(w, n) for n, w in self.weights.items()])
        return helper.make_model(graph, ir_version=8,
                                 opset_imports=[helper.make_opsetid("", opset)])


def ints(*values):
    return np.array(values, np.int64)


def number(value):
    return np.array(value, np.float32)


IMAGE = (2, 4, 9, 7)
ANGLES = np.linspace(0.1, 0.9, 12, dtype=np.float32).reshape(4, 3)
CONV = {"w": (6, 4, 3, 3), "b": (6,)}
WINDOW = {"kernel_shape": [3, 3]}


def conv(name, form, weights=None, **attributes):
    return Case(f"Conv {name}", [("Conv", "x,w,b", "y", attributes)], IMAGE, weights or CONV, form)


def pool(op, name, form, x=IMAGE, **attributes):
    return Case(f"{op} {name}", [(op, "x", "y", attributes)], x, None, form)


def unary(op, form, positive=False, opset=OPSET, **attributes):
    return Case(f"{op} {attributes or ''}", [(op, "x", "y", attributes)], (2, 3, 5), None, form,
                positive=positive, opset=opset)


def move(name, nodes, x, weights, form=""):
    return Case(name, nodes, x, weights, form)


def resize(name, form, weights, inputs, **attributes):
    return Case(f"Resize {name}", [("Resize", inputs, "y", attributes)], (2, 3, 4, 6), weights,
                form)


def recurrent(op, gates, bias, directions):
    weights = {"w": (directions, gates * 5, 3), "r": (directions, gates * 5, 5)}
    if bias:
        weights["b"] = (directions, 2 * gates * 5)
    attributes = {"hidden_size": 5}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if op == "GRU":
        attributes["linear_before_reset"] = 1
    nodes = [("Transpose", "x", "t", {"perm": [1, 0, 2]}),
             (op, "t,w,r,b" if bias else "t,w,r", "y_all", attributes),
             ("Transpose", "y_all", "y", {"perm": [2, 0, 1, 3]})]
    title = f"{op} {'with' if bias else 'without'} bias, {directions} directions"
    return Case(title, nodes, (2, 7, 3), weights, f"{op.lower()}(")


def norm_parts(square):
    return [("ReduceMean", "x", "m", {"axes": [-1]}), ("Sub", "x,m", "d", {}), *square,
            ("ReduceMean", "q", "var", {"axes": [-1]}), ("Add", "var,eps", "e", {}),
            ("Sqrt", "e", "s", {}), ("Div", "d,s", "n", {}), ("Mul", "n,w", "g", {}),
            ("Add", "g,b", "z", {}), ("Flatten", "z", "f", {}), ("Gemm", "f,k", "y", {"transB": 1})]


def attention_cases():
    """F.scaled_dot_product_attention of [N,L,H*d] by heads, as exporters write it: the keys'
    transpositions are one."""
    causal = np.triu(np.full((5, 5), -np.inf, np.float32), 1)
    window = causal + np.tril(np.full((5, 5), -np.inf, np.float32), -3)
    weights = {"s": number(16 ** -0.25), "by_head": ints(-1, 5, 2, 16), "p": number(0.25)}

    def nodes(softmax, *more):
        return [("Reshape", "x,by_head", "h", {}), ("Transpose", "h", "v", {"perm": [0, 2, 1, 3]}),
                ("Mul", "v,s", "q", {}), ("Transpose", "h", "t", {"perm": [0, 2, 3, 1]}),
                ("Mul", "t,s", "k", {}), ("MatMul", "q,k", "scores", {}),
                ("Add", "scores,mask", "masked", {}),
                ("Softmax", softmax, "a", {"axis": -1}), *more]

    drop = [("Dropout", "a,p", "d", {}), ("MatMul", "d,v", "y", {})]
    plain = [("MatMul", "a,v", "y", {})]
    call = "y = attention(v, h.permute(0, 2, 1, 3), v"
    return [Case(f"attention, {name}", nodes(softmax, *end), (2, 5, 32),
                 {**weights, "mask": mask}, form)
            for name, mask, softmax, end, form in (
                ("no mask", causal, "scores", plain, f"{call})"),
                ("causal", causal, "masked", plain, f"{call}, causal=True)"),
                ("another mask", window, "masked", plain, f"{call}, mask=self.c"),
                ("causal with dropout", causal, "masked", drop, "causal=True"),
                ("dropout alone", causal, "scores", drop, "dropout=0.25 if self.training else"))]


NORM = {"w": (6,), "b": (6,), "k": (3, 24), "eps": number(1e-5), "two": number(2)}
LINEAR = {"w": (5, 6), "b": (5,), "flat": ints(-1, 6), "back": ints(-1, 4, 5)}
BAG = [("Equal", "x,pad", "is_pad", {}), ("Cast", "is_pad", "number", {"to": TensorProto.FLOAT}),
       ("Sub", "one,number", "kept", {}), ("ReduceSum", "kept,axis", "count", {"keepdims": 1}),
       ("Clip", "count,least", "divisor", {}), ("Div", "kept,divisor", "share", {}),
       ("Reshape", "share,row", "shares", {}), ("Gather", "w,x", "looked_up", {}),
       ("MatMul", "shares,looked_up", "mean", {}), ("Reshape", "mean,flat", "y", {})]
BAG_WEIGHTS = {"pad": np.array(1, np.int64), "one": number(1), "least": number(1), "axis": ints(1),
               "row": ints(-1, 1, 5), "flat": ints(-1, 4), "w": (3, 4)}
GELU = {"r": number(2 ** 0.5), "one": number(1), "half": number(0.5)}

CASES = [
    conv("plain", "F.conv2d(x, self.w, self.b)"),
    conv("even pads", "padding=(1, 2)", pads=[1, 2, 1, 2], strides=[2, 1]),
    conv("uneven pads", "F.pad(x, (2, 1, 0, 3))", pads=[0, 2, 3, 1]),
    conv("dilation", "dilation=(2, 1)", dilations=[2, 1], pads=[2, 1, 2, 1]),
    conv("SAME_UPPER", "F.pad(x, (", auto_pad="SAME_UPPER", strides=[2, 2],
         weights={"w": (6, 4, 2, 2), "b": (6,)}),
    conv("SAME_LOWER", "", auto_pad="SAME_LOWER", strides=[2, 2],
         weights={"w": (6, 4, 2, 2), "b": (6,)}),
    conv("groups", "groups=2", weights={"w": (6, 2, 3, 3), "b": (6,)}, group=2),
    Case("Conv no bias", [("Conv", "x,w", "y", {})], IMAGE, {"w": (6, 4, 3, 3)},
         "F.conv2d(x, self.w)"),
    Case("ConvTranspose stride", [("ConvTranspose", "x,w,b", "y", {"strides": [2, 2]})], IMAGE,
         {"w": (4, 6, 2, 2), "b": (6,)}, "F.conv_transpose2d(x, self.w, self.b, stride=(2, 2))"),
    Case("ConvTranspose all", [("ConvTranspose", "x,w,b", "y", {
        "strides": [2, 3], "pads": [1, 0, 1, 0], "output_padding": [1, 2], "group": 2,
        "dilations": [1, 2]})], IMAGE, {"w": (4, 3, 3, 3), "b": (6,)}, "output_padding=(1, 2)"),
    Case("ConvTranspose uneven pads", [("ConvTranspose", "x,w", "y", {
        "strides": [2, 2], "pads": [0, 1, 1, 0]})], IMAGE, {"w": (4, 6, 3, 3)}, "F.pad("),
    pool("MaxPool", "plain", "F.max_pool2d(x, (3, 3), (2, 2))", strides=[2, 2], **WINDOW),
    pool("MaxPool", "pads", "padding=(1, 1)", strides=[2, 2], pads=[1, 1, 1, 1], **WINDOW),
    pool("MaxPool", "uneven pads", "F.pad(", strides=[2, 2], pads=[0, 1, 2, 0], **WINDOW),
    pool("MaxPool", "ceil_mode", "ceil_mode=True", (2, 4, 8, 6), strides=[2, 2], ceil_mode=1,
         **WINDOW),
    pool("AveragePool", "plain", "F.avg_pool2d(x, (2, 2), (2, 2))", kernel_shape=[2, 2],
         strides=[2, 2]),
    pool("AveragePool", "pads excluded", "count_include_pad=False", pads=[1, 1, 1, 1],
         strides=[2, 2], **WINDOW),
    pool("AveragePool", "pads included", "padding=(1, 1))", pads=[1, 1, 1, 1], strides=[2, 2],
         count_include_pad=1, **WINDOW),
    pool("AveragePool", "uneven pads excluded", "torch.ones_like", pads=[0, 1, 1, 0],
         strides=[2, 2], **WINDOW),
    pool("AveragePool", "uneven pads included", "torch.ones_like", pads=[0, 1, 1, 0],
         strides=[2, 2], count_include_pad=1, **WINDOW),
    pool("AveragePool", "ceil_mode", "ceil_mode=True", (2, 4, 8, 6), strides=[2, 2],
         ceil_mode=1, **WINDOW),
    pool("GlobalAveragePool", "", "F.adaptive_avg_pool2d(x, 1)"),
    Case("BatchNormalization", [("BatchNormalization", "x,w,b,mean,var", "y",
                                 {"epsilon": 1e-3, "momentum": 0.99})], IMAGE,
         {"w": (4,), "b": (4,), "mean": (4,), "var": (4,)},
         "batch_norm(x, self.mean, self.var, self.w, self.b, self.training, 0.01, 0.001)"),
    Case("BatchNormalization 2-d", [("BatchNormalization", "x,w,b,mean,var", "y", {})], (8, 4),
         {"w": (4,), "b": (4,), "mean": (4,), "var": (4,)}, "self.training, 0.1, 1e-05)"),
    Case("LayerNormalization", [("LayerNormalization", "x,w,b", "y", {"axis": -2})], (2, 3, 4, 5),
         {"w": (4, 5), "b": (4, 5)}, "F.layer_norm(x, (4, 5), self.w, self.b, 1e-05)"),
    Case("LayerNormalization no bias", [("LayerNormalization", "x,w", "y", {})], (2, 3, 5),
         {"w": (5,)}, "F.layer_norm(x, (5,), self.w, None, 1e-05)"),
    Case("InstanceNormalization", [("InstanceNormalization", "x,w,b", "y", {})], IMAGE,
         {"w": (4,), "b": (4,)}, "F.instance_norm("),
    Case("GroupNormalization", [("GroupNormalization", "x,w,b", "y", {"num_groups": 2})], IMAGE,
         {"w": (4,), "b": (4,)}, "F.group_norm(x, 2, self.w, self.b, 1e-05)", opset=21),
    Case("Gemm transB", [("Gemm", "x,w,b", "y", {"transB": 1})], (3, 6), {"w": (5, 6), "b": (5,)},
         "F.linear(x, self.w, self.b)"),
    Case("Gemm", [("Gemm", "x,w,b", "y", {})], (3, 6), {"w": (6, 5), "b": (5,)},
         "torch.addmm(self.b, x, self.w)"),
    Case("Gemm no bias", [("Gemm", "x,w", "y", {"transB": 1})], (3, 6), {"w": (5, 6)},
         "F.linear(x, self.w)"),
    Case("linear layer of three dims", [
        ("Reshape", "x,flat", "t", {}), ("Gemm", "t,w,b", "u", {"transB": 1}),
        ("Reshape", "u,back", "y", {})], (2, 4, 6), LINEAR, "y = F.linear(x, self.w, self.b)"),
    Case("MatMul of activations", [
        ("Transpose", "x", "t", {"perm": [0, 2, 1]}), ("MatMul", "x,t", "y", {})], (2, 4, 6), None,
        "torch.matmul(x, t)"),
    Case("MatMul by a parameter", [("MatMul", "x,w", "y", {})], (2, 4, 6), {"w": (6, 5)}),
    Case("Add, Sub, Mul, Div", [
        ("Mul", "x,a", "t", {}), ("Sub", "t,mean3", "u", {}), ("Div", "u,std3", "v", {}),
        ("Add", "v,x", "y", {})], (2, 3, 4, 4),
        {"a": number(1 / 255), "mean3": np.array([.1, .2, .3], np.float32).reshape(1, 3, 1, 1),
         "std3": np.array([.5, .6, .7], np.float32).reshape(1, 3, 1, 1)}, "x * 0.003921569"),
    unary("Relu", "F.relu(x)"), unary("LeakyRelu", "F.leaky_relu(x, 0.2)", alpha=0.2),
    unary("Sigmoid", "torch.sigmoid(x)"), unary("Tanh", "torch.tanh(x)"),
    unary("Elu", "F.elu(x, 0.5)", alpha=0.5), unary("Selu", "F.selu(x)"),
    unary("Selu", "2.0 * F.elu(x, 1.5)", alpha=1.5, gamma=2.0),
    unary("Softplus", "F.softplus(x)"), unary("HardSwish", "F.hardswish(x)"),
    unary("HardSigmoid", "F.hardsigmoid(x)", alpha=1 / 6),
    unary("HardSigmoid", "torch.clamp(0.3 * x + 0.4, 0.0, 1.0)", alpha=0.3, beta=0.4),
    unary("Erf", "torch.erf(x)"), unary("Exp", "torch.exp(x)"), unary("Neg", "-x"),
    unary("Abs", "torch.abs(x)"), unary("Log", "torch.log(x)", True),
    unary("Sqrt", "torch.sqrt(x)", True), unary("Reciprocal", "torch.reciprocal(x)", True),
    unary("Gelu", "F.gelu(x)", opset=20),
    unary("Celu", "F.celu(x, 0.3)", alpha=0.3), unary("Elu", "F.elu(x, -0.5)", alpha=-0.5),
    unary("Mish", "F.mish(x)", opset=18), unary("Softsign", "F.softsign(x)"),
    unary("LeakyRelu", "F.leaky_relu(x, -0.4)", alpha=-0.4),
    unary("ThresholdedRelu", "F.threshold(x, 1.0, 0.0)"),
    unary("ThresholdedRelu", "F.threshold(x, -2.0, 0.0)", alpha=-2.0),
    unary("Shrink", "F.hardshrink(x, 1.5)", lambd=1.5),
    unary("Shrink", "F.softshrink(x, 1.5)", lambd=1.5, bias=1.5),
    unary("Shrink", "torch.where(x < -1.0, x + 0.25, torch.where(x > 1.0", lambd=1.0, bias=0.25),
    *(unary(op, f"torch.{op.lower()}(x)")
      for op in ("Sign", "Floor", "Ceil", "Round", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh",
                 "Asinh")),
    *(Case(op, [("Softsign", "x", "t", {}), (op, "t", "y", {})], (2, 3, 5), None,
           f"torch.{op.lower()}(t)") for op in ("Asin", "Acos", "Atanh")),
    Case("Acosh", [("Add", "x,one", "t", {}), ("Acosh", "t", "y", {})], (2, 3, 5),
         {"one": number(1)}, "torch.acosh(t)", positive=True),
    Case("Round to even", [("Mul", "x,steps", "t", {}), ("Ceil", "t", "u", {}),
                           ("Mul", "u,half", "v", {}), ("Round", "v", "y", {})], (2, 3, 5),
         {"steps": number(2), "half": number(0.5)}, "torch.round(v)"),
    unary("Gelu", 'F.gelu(x, approximate="tanh")', opset=20, approximate="tanh"),
    unary("Softmax", "torch.softmax(x, dim=1)", axis=1),
    unary("LogSoftmax", "torch.log_softmax(x, dim=-1)"),
    Case("Clip 0 to 6", [("Clip", "x,lo,hi", "y", {})], (2, 9), {"lo": number(0), "hi": number(6)},
         "F.relu6(x)"),
    Case("Clip", [("Clip", "x,lo,hi", "y", {})], (2, 9), {"lo": number(-1), "hi": number(.5)},
         "F.hardtanh(x, -1.0, 0.5)"),
    Case("Clip below", [("Clip", "x,lo", "y", {})], (2, 9), {"lo": number(-.5)},
         "torch.clamp(x, min=-0.5)"),
    Case("Pow", [("Pow", "x,p", "y", {})], (2, 9), {"p": number(2)}, "torch.pow(x, 2.0)"),
    Case("PRelu one", [("PRelu", "x,w", "y", {})], IMAGE, {"w": (1,)}, "F.prelu(x, self.w)"),
    Case("PRelu channels", [("PRelu", "x,w", "y", {})], IMAGE, {"w": (4, 1, 1)},
         "F.prelu(x, self.w.reshape(-1))"),
    Case("PRelu of pixels", [("PRelu", "x,w", "y", {})], IMAGE, {"w": (9, 7)},
         "torch.where(x > 0, x, x * self.w)"),
    Case("PRelu of data", [("Sigmoid", "x", "s", {}), ("PRelu", "x,s", "y", {})], IMAGE, None,
         "torch.where(x > 0, x, x * s)"),
    Case("Clip of crossed bounds", [("Clip", "x,lo,hi", "y", {})], (2, 9),
         {"lo": number(1), "hi": number(-.5)}, "torch.clamp(x, min=1.0, max=-0.5)"),
    Case("Clip without bounds", [("Clip", "x", "t", {}), ("Neg", "t", "y", {})], (2, 9), None),
    Case("Clip by the mean", [("ReduceMean", "x", "m", {"keepdims": 0}), ("Clip", "x,m", "y", {})],
         (2, 9), None, "torch.maximum(x, m)"),
    Case("Clip of computed bounds", [("Cast", "lo", "c", {"to": TensorProto.FLOAT}),
                                     ("Clip", "x,c", "y", {})], (2, 9),
         {"lo": np.array(-1, np.int64)}, "torch.clamp(x, min=-1.0)"),
    *(Case(f"{op} of three", [(op, "x,w,v", "y", {})], (2, 3, 5), {"w": (3, 1), "v": (5,)},
           f"torch.{name}(") for op, name in (("Max", "maximum"), ("Min", "minimum"))),
    Case("Max of one", [("Max", "x", "t", {}), ("Neg", "t", "y", {})], (2, 9), None, "y = -x"),
    Case("Sum of three", [("Sum", "x,w,x", "y", {})], (2, 3, 5), {"w": (3, 1)}, "y_sum1 + x"),
    Case("Mean of three", [("Mean", "x,w,x", "y", {})], (2, 3, 5), {"w": (3, 1)}, " / 3.0"),
    Case("Swish", [("Swish", "x", "y", {})], (2, 3, 5), None, "F.silu(x)", opset=24),
    Case("Swish of 2", [("Swish", "x", "y", {"alpha": 2.0})], (2, 3, 5), None,
         "torch.sigmoid(", opset=24),
    Case("Pow by a tensor", [("Pow", "x,w", "y", {})], (2, 3, 5), {"w": (3, 1)},
         "torch.pow(x, self.c", positive=True),
    Case("Pow by whole numbers", [("Pow", "x,w", "y", {})], (2, 3), {"w": ints(2, 0, 3)},
         "torch.pow(x, self.c"),
    Case("Mod of floats", [("Mod", "x,w", "y", {"fmod": 1})], (2, 3, 5), {"w": (3, 1)},
         "torch.fmod(x, self.c"),
    Case("Xor, IsNaN and IsInf", [
        ("Log", "x", "l", {}), ("IsNaN", "l", "n", {}), ("Mul", "x,big", "b", {}),
        ("Exp", "b", "e", {}), ("IsInf", "e", "i", {}),
        ("IsInf", "b", "never", {"detect_negative": 0}), ("Xor", "n,i", "o", {}),
        ("Xor", "o,never", "p", {}), ("Where", "p,x,w", "y", {})], (2, 3, 5),
        {"big": number(60), "w": (3, 1)}, "torch.logical_xor("),
    Case("whole numbers", [
        ("Mul", "x,two", "a", {}), ("Sub", "a,five", "b", {}), ("Mod", "b,three", "v3", {}),
        ("Abs", "b", "d", {}), ("Div", "d,two", "v5", {}), ("Max", "v3,v5", "f", {}),
        ("Min", "f,five", "g", {}), ("Add", "g,x", "h", {}), ("Neg", "h", "i", {}),
        ("Sign", "b", "s", {}), ("Mul", "i,s", "j", {}),
        ("Cast", "j", "k", {"to": TensorProto.FLOAT}), ("Mul", "k,w", "y", {})], (2, 5),
        {"two": np.array(2, np.int64), "five": np.array(5, np.int64), "w": (1, 5),
         "three": np.array(3, np.int64)}, "torch.remainder(b, self.c", integers=9),
    Case("casts", [
        ("Cast", "x", "a", {"to": TensorProto.INT64}), ("Cast", "a", "b", {"to": TensorProto.BOOL}),
        ("Cast", "b", "v3", {"to": TensorProto.INT32}), ("Cast", "v3", "d", {"to": TensorProto.UINT8}),
        ("Cast", "d", "v5", {"to": TensorProto.FLOAT}), ("Mul", "v5,x", "y", {})], (2, 9), None,
         "x.to(torch.int64)"),
    Case("mish in parts", [("Softplus", "x", "s", {}), ("Tanh", "s", "t", {}),
                           ("Mul", "x,t", "y", {})], (2, 9), None, "y = F.mish(x)"),
    Case("gelu by tanh in parts", [
        ("Mul", "x,x", "s", {}), ("Mul", "x,s", "q", {}), ("Mul", "cube,q", "r", {}),
        ("Add", "x,r", "u", {}), ("Mul", "root,u", "v", {}), ("Tanh", "v", "t", {}),
        ("Add", "one,t", "o", {}), ("Mul", "x,o", "p", {}), ("Mul", "half,p", "y", {})], (2, 9),
        {"cube": number(0.044715), "root": number((2 / np.pi) ** 0.5), "one": number(1),
         "half": number(0.5)}, 'y = F.gelu(x, approximate="tanh")'),
    Case("gelu by tanh of another cube", [
        ("Mul", "x,x", "s", {}), ("Mul", "x,s", "q", {}), ("Mul", "cube,q", "r", {}),
        ("Add", "x,r", "u", {}), ("Mul", "root,u", "v", {}), ("Tanh", "v", "t", {}),
        ("Add", "one,t", "o", {}), ("Mul", "x,o", "p", {}), ("Mul", "half,p", "y", {})], (2, 9),
        {"cube": number(0.05), "root": number((2 / np.pi) ** 0.5), "one": number(1),
         "half": number(0.5)}, "torch.tanh("),
    Case("logsigmoid in parts", [("Sigmoid", "x", "s", {}), ("Log", "s", "y", {})], (2, 9), None,
         "y = F.logsigmoid(x)"),
    Case("log1p", [("Add", "one,x", "s", {}), ("Log", "s", "y", {})], (2, 9), {"one": number(1)},
         "y = torch.log1p(x)", positive=True),
    Case("log of more", [("Add", "x,one", "s", {}), ("Log", "s", "y", {})], (2, 9),
         {"one": number(1)}, "y = torch.log(s)", positive=True),
    Case("rsqrt", [("Sqrt", "x", "s", {}), ("Div", "one,s", "y", {})], (2, 9), {"one": number(1)},
         "y = torch.rsqrt(x)", positive=True),
    Case("glu", [("Split", "x", "a,b", {"axis": -1}), ("Sigmoid", "b", "s", {}),
                 ("Mul", "a,s", "y", {})], (2, 3, 8), None, "y = F.glu(x, -1)"),
    Case("glu the other way", [("Split", "x", "a,b", {"axis": -1}), ("Sigmoid", "a", "s", {}),
                               ("Mul", "b,s", "y", {})], (2, 3, 8), None, "torch.sigmoid(a)"),
    Case("ReduceMean", [("ReduceMean", "x", "y", {"axes": [-1, -2], "keepdims": 0})], IMAGE, None,
         "x.mean((2, 3))"),
    Case("ReduceMean kept", [("ReduceMean", "x", "y", {"axes": [1]})], IMAGE, None,
         "x.mean((1,), keepdim=True)"),
    Case("ReduceSum", [("ReduceSum", "x,axes", "y", {"keepdims": 0})], IMAGE, {"axes": ints(-1)},
         "x.sum((3,))"),
    Case("Range of the samples", [("Shape", "x", "s", {}), ("Gather", "s,zero", "n", {}),
                                  ("Range", "zero,n,one", "r", {}), ("Cast", "r", "f", {"to": TensorProto.FLOAT}),
                                  ("Reshape", "f,column", "by", {}), ("Mul", "x,by", "y", {})], (3, 5),
         {"zero": np.array(0), "one": np.array(1), "column": ints(-1, 1)}, "torch.arange(x.shape[0], dtype=torch.int64, "),
    Case("ReduceSum of int32", [("Cast", "x", "i", {"to": TensorProto.INT32}), ("ReduceSum", "i,axes", "s", {}),
                                ("Mod", "s,two", "m", {}), ("Cast", "m", "y", {"to": TensorProto.FLOAT})], IMAGE,
         {"axes": ints(-1), "two": np.array(2, np.int32)}, "sum((3,), dtype=torch.int32, keepdim=True)"),
    *(Case(f"{op} {attrs}", [(op, "x", "y", attrs)], IMAGE, None, form, positive=op == "ReduceLogSum")
      for op, form in (
          ("ReduceMax", "x.amax("), ("ReduceMin", "x.amin("), ("ReduceProd", ".prod("),
          ("ReduceL1", "x.abs().sum("), ("ReduceL2", "torch.linalg.vector_norm(x, 2, "),
          ("ReduceLogSum", ".log()"), ("ReduceLogSumExp", "torch.logsumexp(x, "),
          ("ReduceSumSquare", "x.square().sum("))
      for attrs in ({"axes": [-1, 2]}, {"axes": [1], "keepdims": 0})),
    *(Case(f"CumSum {attrs}", [("CumSum", "x,a", "y", attrs)], (2, 3, 5), {"a": np.array(-2)}, form)
      for attrs, form in (({}, "x.cumsum(1)"), ({"reverse": 1}, "x.flip(1).cumsum(1).flip(1)"),
                          ({"exclusive": 1}, "F.pad(x, (0, 0, 1, -1)).cumsum(1)"),
                          ({"exclusive": 1, "reverse": 1}, ".flip(1)"))),
    *(Case(f"CumProd {attrs}", [("CumProd", "x,a", "y", attrs)], (2, 3, 5), {"a": np.array(-2)}, form,
           opset=26)
      for attrs, form in (({}, "x.cumprod(1)"), ({"reverse": 1}, "x.flip(1).cumprod(1).flip(1)"),
                          ({"exclusive": 1}, "F.pad(x, (0, 0, 1, -1), value=1).cumprod(1)"),
                          ({"exclusive": 1, "reverse": 1}, ".flip(1)"))),
    Case("ReverseSequence", [
        ("ReduceSum", "x,a", "s", {"keepdims": 0}), ("ArgMax", "s", "l", {"axis": 1, "keepdims": 0}),
        ("ReverseSequence", "x,l", "r", {"batch_axis": 0, "time_axis": 1}), ("Tanh", "r", "y", {})],
        (4, 5, 3), {"a": ints(2)}, "torch.where("),
    *(Case(f"{op} {attrs}", [(op, "x", "i", attrs), ("Cast", "i", "y", {"to": TensorProto.FLOAT})],
           (2, 3, 5), None, form)
      for op, attrs, form in (
          ("ArgMax", {"axis": -1, "keepdims": 0}, "torch.argmax(x, 2)"),
          ("ArgMin", {"axis": 1}, "torch.argmin(x, 1, keepdim=True)"),
          ("ArgMax", {"axis": 1, "select_last_index": 1}, "x.flip(1)"))),
    *(Case(f"{op} of {kind}", [
        ("Cast", "x", "w", {"to": kind}), (op, "w" + rest, "r", {}),
        ("Cast", "r", "f", {"to": TensorProto.FLOAT}), ("Mul", "x,f", "y", {})],
        (2, 3, 5), {"a": ints(1)} if rest else None, form, opset=20)
      for op, kind, rest, form in (
          ("ReduceSum", TensorProto.INT64, ",a", ".sum((1,), keepdim=True)"),
          ("ReduceMax", TensorProto.BOOL, ",a", ".amax("),
          ("ReduceProd", TensorProto.INT64, ",a", ".prod("))),
    *(Case(f"Pad {mode} of whole numbers", [
        ("Cast", "x", "w", {"to": TensorProto.INT64}), ("Pad", "w,p" + value, "r", {"mode": mode}),
        ("Cast", "r", "y", {"to": TensorProto.FLOAT})], (2, 3, 5),
        {"p": ints(0, 1, 2, 0, 0, 1), **({"v": np.array(50256)} if value else {})}, form)
      for mode, value, form in (("constant", ",v", "value=50256"),
                                ("edge", "", "torch.index_select("))),
    Case("TopK of whole numbers", [
        ("Cast", "x", "w", {"to": TensorProto.INT64}), ("TopK", "w,k", "v,i", {}),
        ("Cast", "v", "y", {"to": TensorProto.FLOAT})], (2, 3, 5), {"k": ints(2)}, "torch.topk("),
    Case("TopK", [("TopK", "x,k", "y,i", {"axis": 1})], (2, 5, 3), {"k": ints(2)}, "torch.topk(x, 2, 1)"),
    Case("TopK, places", [("TopK", "x,k", "v,i", {"largest": 0}), ("Cast", "i", "f", {"to": TensorProto.FLOAT}),
                          ("Mul", "v,f", "y", {})], (2, 3, 5), {"k": ints(5)}, "largest=False)"),
    Case("Gemm of everything", [("Transpose", "x", "t", {}), ("Gemm", "t,w,bias", "y", {
        "transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0})], (3, 4), {"w": (5, 4), "bias": (1, 5)}),
    Case("MatMul of a vector", [("Tanh", "w", "v", {}), ("MatMul", "x,v", "y", {})], (2, 3, 5),
         {"w": (5,)}),
    *(Case(f"Einsum {equation}", [("Tanh", "x", "t", {}), (
        "Einsum", "x,t", "y", {"equation": equation})], (2, 3, 2, 4), None, form)
      for equation, form in (("bqhd,bkhd->bhqk", "torch.matmul("), ("bqhd,bqhd->bq", ""),
                             ("...d,...d->...", "torch.matmul("), ("bqhd,bkhe->", ""))),
    Case("Einsum of a layer", [("Einsum", "x,w", "y", {"equation": "bsd,hd->bsh"})], (2, 3, 4),
         {"w": (5, 4)}, "y = F.linear(x, self.w)"),
    *(Case(f"Pad {mode}", [("Pad", "x,p", "y", {"mode": mode})], IMAGE,
           {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}, f'F.pad(x, (2, 0, 1, 3), mode="{name}")', opset=19)
      for mode, name in (("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular"))),
    Case("Pad reflect channels", [("Pad", "x,p", "y", {"mode": "reflect"})], IMAGE,
         {"p": ints(0, 2, 0, 0, 0, 1, 0, 0)}, "torch.index_select("),
    Case("Pad by a number", [("Pad", "x,p,v", "y", {})], (2, 3, 5),
         {"p": ints(0, 1, -1, 0, 0, 2), "v": number(1.5)}, "value=1.5"),
    Case("DepthToSpace", [("DepthToSpace", "x", "y", {"blocksize": 2})], (2, 8, 3, 2)),
    Case("DepthToSpace CRD", [("DepthToSpace", "x", "y", {"blocksize": 2, "mode": "CRD"})],
         (2, 8, 3, 2)),
    Case("SpaceToDepth", [("SpaceToDepth", "x", "y", {"blocksize": 2})], (2, 3, 4, 6)),
    Case("OneHot", [("OneHot", "x,d,v", "y", {"axis": 1})], (2, 5),
         {"d": np.array(7), "v": np.array([-1, 2], np.float32)}, integers=7),
    Case("RMSNormalization", [("RMSNormalization", "x,w", "y", {})], (2, 3, 5), {"w": (5,)},
         "x * torch.rsqrt(x.pow(2).mean((-1,), keepdim=True) + 1e-05) * self.w", opset=23),
    *(Case(f"Attention {title}", [("Attention", ins, "y", attrs)], shape, weights, form, opset=23)
      for title, ins, attrs, shape, weights, form in (
          ("of heads", "x,x,x", {"q_num_heads": 2, "kv_num_heads": 2}, (2, 5, 16), None,
           "attention("),
          ("causal", "x,x,x", {"is_causal": 1}, (2, 3, 5, 8), None, "causal=True"),
          ("bools", "x,x,x,m", {}, (2, 3, 4, 8),
           {"m": np.tri(4, dtype=bool)}, "torch.where("))),
    Case("Attention to the first keys", [
        ("ReduceSum", "x,a", "s", {"keepdims": 0}), ("ArgMax", "s", "i", {"axis": 1, "keepdims": 0}),
        ("Add", "i,o", "n", {}), ("Attention", "x,x,x,,,,n", "y", {"is_causal": 1})], (4, 3, 5, 8),
        {"a": ints(1, 3), "o": np.array(1)}, "torch.where(", opset=24),
    Case("RotaryEmbedding", [("RotaryEmbedding", "x,c,s,i", "y", {})], (2, 3, 4, 6),
         {"c": ANGLES, "s": 1 - ANGLES, "i": ints(0, 1, 2, 3).reshape(1, 4)}, opset=23,
         reference=[("Split", "x", "a,b", {"axis": -1, "num_outputs": 2}),
                    ("Mul", "a,c", "ac", {}), ("Mul", "b,s", "bs", {}), ("Mul", "a,s", "as", {}),
                    ("Mul", "b,c", "bc", {}), ("Sub", "ac,bs", "f", {}), ("Add", "as,bc", "g", {}),
                    ("Concat", "f,g", "y", {"axis": -1})]),
    Case("LpPool", [("LpPool", "x", "y", {"kernel_shape": [3, 2], "strides": [2, 1], "p": 3,
                                          "pads": [1, 0, 1, 1]})], IMAGE, opset=18),
    Case("GlobalLpPool", [("GlobalLpPool", "x", "y", {"p": 2})], IMAGE),
    Case("CenterCropPad", [("CenterCropPad", "x,s", "y", {"axes": [2, 3]})], IMAGE,
         {"s": ints(12, 4)}, opset=18),
    Case("Hardmax", [("Hardmax", "x", "h", {"axis": 1}), ("Mul", "x,h", "y", {})], (2, 5, 3)),
    Case("EyeLike", [("EyeLike", "w", "e", {"k": -1}), ("Mul", "x,e", "m", {}),
                     ("Add", "m,w", "y", {})], (2, 3, 4), {"w": (3, 4)}),
    Case("Dropout with its mask", [
        ("Dropout", "x,r", "d,m", {}), ("Cast", "m", "f", {"to": 1}), ("Mul", "d,f", "y", {})],
        (2, 5), {"r": number(0.25)}, "F.dropout("),
    *(Case(f"GridSample {mode} {outside}", [
        ("Sin", "x", "t", {}), ("Transpose", "t", "u", {"perm": [0, 2, 3, 1]}),
        ("GridSample", "x,u", "y", {"mode": mode, "padding_mode": outside, "align_corners": align})],
        (2, 2, 5, 4), None, f'mode="{form}", padding_mode="{outside}", align_corners={bool(align)})',
        opset=20)
      for mode, form, outside, align in (
          ("linear", "bilinear", "zeros", 0), ("nearest", "nearest", "border", 1),
          ("cubic", "bicubic", "reflection", 0))),
    Case("GridSample 3-d", [
        ("Sin", "x", "t", {}), ("Transpose", "t", "u", {"perm": [0, 2, 3, 4, 1]}),
        ("GridSample", "x,u", "y", {})], (2, 3, 3, 4, 5), None, "F.grid_sample(", opset=20),
    Case("Col2Im", [("Col2Im", "x,i,b", "y", {"strides": [2, 1], "pads": [1, 0, 1, 0]})],
         (2, 12, 12), {"i": ints(5, 5), "b": ints(3, 2)},
         "F.fold(x, (5, 5), (3, 2), padding=(1, 0), stride=(2, 1))", opset=18),
    Case("Col2Im with uneven pads", [("Col2Im", "x,i,b", "y", {"pads": [1, 0, 0, 2]})],
         (2, 12, 30), {"i": ints(6, 5), "b": ints(3, 2)}, "F.pad(F.fold(x, (7, 7), (3, 2)), ",
         opset=18),
    *(Case(f"Resize {place} {how} by {height} {width}", [("Resize", "x,,s", "y", {
        "coordinate_transformation_mode": place, "nearest_mode": how})], IMAGE,
        {"s": np.array([1, 1, height, width], np.float32)}, form)
      for place, how, height, width, form in (
          ("half_pixel", "round_prefer_floor", 2, 3, 'mode="nearest")'),
          ("half_pixel", "round_prefer_floor", 0.7, 1.4, "torch.index_select("),
          ("align_corners", "ceil", 1.5, 2, "torch.index_select("),
          ("asymmetric", "round_prefer_ceil", 2, 2, "torch.index_select("))),
    *(Case(f"DeformConv {attrs}", [
        ("Conv", "x,o", "f", {"strides": attrs.get("strides", [1, 1])}), ("Conv", "x,m", "h", {
            "strides": attrs.get("strides", [1, 1])}), ("Sigmoid", "h", "k", {}),
        ("DeformConv", "x,w,f,b,k" if moved == 1 else "x,w,f", "y", attrs)], IMAGE,
        {"o": (moved * 12, 4, 3, 2), "m": (6, 4, 3, 2), "w": (6, 4 // attrs.get("group", 1), 3, 2),
         "b": (6,)}, "F.grid_sample(", opset=19)
      for moved, attrs in ((1, {}), (2, {"offset_group": 2, "group": 2, "strides": [2, 1]}))),
    *(Case(f"CausalConvWithState {kind}", [
        ("CausalConvWithState", "x,w,b", "y,s", {"activation": kind})], (2, 3, 7),
        {"w": (3, 1, 4), "b": (3,), "p": ints(0, 0, 3, 0, 0, 0)}, "F.conv1d(", opset=27,
        reference=[("Pad", "x,p", "q", {}), ("Conv", "q,w,b", "c", {"group": 3}), *end])
      for kind, end in (("none", [("Identity", "c", "y", {})]),
                        ("silu", [("Sigmoid", "c", "g", {}), ("Mul", "c,g", "y", {})]))),
    Case("AffineGrid", [("AffineGrid", "x,s", "y", {})], (2, 2, 3), {"s": ints(2, 3, 4, 5)},
         opset=20),
    Case("Attention to what came before", [
        ("Tanh", "x", "p", {}), ("Attention", "x,x,x,,p,p", "a,k,v,w", {"is_causal": 1}),
        ("MatMul", "w,v", "m", {}), ("Add", "a,m", "y", {})], (2, 3, 4, 8), opset=23),
    Case("LpNormalization", [("LpNormalization", "x", "y", {"axis": 1})], (2, 3, 5)),
    Case("LRN", [("LRN", "x", "y", {"size": 3, "alpha": 0.2, "beta": 0.6, "bias": 1.5})], IMAGE),
    Case("BatchNormalization of a weight", [  # by its own statistics, as exporters write weight standardisation
        ("ReduceMean", "w", "m", {"axes": [0, 2], "keepdims": 0}), ("ReduceMean", "w", "k", {"axes": [0, 2]}),
        ("Sub", "w,k", "d", {}), ("Mul", "d,d", "s", {}), ("ReduceMean", "s", "v", {"axes": [0, 2], "keepdims": 0}),
        ("BatchNormalization", "w,g,b,m,v", "n", {}), ("Reshape", "n,shape", "kernel", {}), ("Conv", "x,kernel", "y", {})],
         IMAGE, {"w": (1, 16, 36), "g": (16,), "b": (16,), "shape": ints(16, 4, 3, 3)}, "F.instance_norm("),
    Case("MeanVarianceNormalization", [("MeanVarianceNormalization", "x", "y", {})], IMAGE),
    Case("Softmax of opset 11", [("Softmax", "x", "y", {"axis": 1})], (2, 3, 5), None,
         "torch.softmax(", opset=11),
    Case("GatherElements", [("Tanh", "w", "t", {}), ("GatherElements", "t,i", "g", {"axis": 1}),
                            ("Add", "x,g", "y", {})], (2, 3, 2),
         {"w": (3, 4), "i": np.array([[0, 3], [1, 1], [2, 0]])}, "torch.gather(t, 1, self.c001)"),
    Case("GatherElements of whole numbers", [
        ("ArgMax", "x", "m", {"axis": 1}), ("Shape", "x", "s", {}), ("Expand", "table,s", "t", {}),
        ("GatherElements", "t,m", "g", {"axis": 1}), ("Cast", "g", "f", {"to": 1}), ("Mul", "x,f", "y", {})],
         (2, 3, 4), {"table": np.array([[[5], [0], [7]]])}, "torch.gather("),
    Case("GatherElements from the end", [
        ("ArgMax", "x", "m", {"axis": 1}), ("GatherElements", "x,m", "y", {"axis": 1})], (2, 3, 4),
        None, ".remainder(x.shape[1])"),
    Case("GatherND", [("GatherND", "x,i", "y", {})], (2, 3, 4), {"i": np.array([[0, -1], [1, 2]])},
         ".unbind(-1)]"),
    Case("GatherND of a batch", [
        ("Tanh", "w", "t", {}), ("GatherND", "t,i", "g", {"batch_dims": 1}),
        ("Add", "x,g", "y", {})], (2, 2, 4),
        {"w": (1, 3, 4), "i": np.array([[[0], [-1]]])}, "torch.arange(t.shape[0]"),
    Case("ScatterElements", [
        ("Tanh", "w", "t", {}), ("ScatterElements", "t,i,u", "g", {"axis": 1}),
        ("Add", "x,g", "y", {})], (2, 3),
        {"w": (1, 3), "i": np.array([[2, 0]]), "u": (1, 2)}, "t.scatter(1, "),
    Case("ScatterND add", [("ScatterND", "x,i,u", "y", {"reduction": "add"})], (4, 3),
         {"i": np.array([[3], [1], [3]]), "u": (3, 3)}, "accumulate=True"),
    *(Case(f"ScatterElements {how}", [
        ("Tanh", "w", "t", {}), ("ScatterElements", "t,i,u", "g", {"axis": 1, "reduction": how}),
        ("Add", "x,g", "y", {})], (2, 3), {"w": (1, 3), "i": np.array([[2, 2]]), "u": (1, 2)},
        f', "{form}")', opset=18)
      for how, form in (("mul", "prod"), ("max", "amax"))),
    Case("ScatterND min", [("ScatterND", "x,i,u", "y", {"reduction": "min"})], (4, 2, 3),
         {"i": np.array([[3, 1], [0, 0], [3, -1]]), "u": (3, 3)}, '"amin").reshape(', opset=18),
    Case("Trilu", [("Trilu", "x,k", "y", {"upper": 0})], (2, 4, 4), {"k": np.array(-1)},
         "torch.tril(x, -1)"),
    move("Concat negative axis", [("Concat", "x,x,x", "y", {"axis": -1})], IMAGE, {},
         "torch.cat((x, x, x), -1)"),
    move("Split", [("Split", "x,s", "a,b", {"axis": 1}), ("Concat", "b,a", "y", {"axis": 1})],
         IMAGE, {"s": ints(1, 3)}, "a, b = x.split((1, 3), 1)"),
    move("Flatten", [("Flatten", "x", "y", {})], IMAGE, {}, "torch.flatten(x, 1)"),
    move("Reshape", [("Reshape", "x,s", "y", {})], IMAGE, {"s": ints(0, -1, 7)},
         "x.reshape(-1, 36, 7)"),
    move("Squeeze and Unsqueeze", [
        ("Unsqueeze", "x,a", "t", {}), ("Unsqueeze", "t,b", "u", {}), ("Squeeze", "u,a", "y", {})],
        (2, 3, 4), {"a": ints(1), "b": ints(-1, 2)}, ".unsqueeze(2).unsqueeze(5)"),
    move("Transpose", [("Transpose", "x", "y", {"perm": [0, 3, 1, 2]})], IMAGE, {},
         "x.permute(0, 3, 1, 2)"),
    move("Slice", [("Slice", "x,s,e,a,t", "y", {})], IMAGE,
         {"s": ints(1, -3), "e": ints(100, -1), "a": ints(2, -1), "t": ints(3, 1)},
         "x[:, :, 1::3, -3:-1]"),
    move("Slice backwards", [("Slice", "x,s,e,a,t", "y", {})], IMAGE,
         {"s": ints(-2, 100), "e": ints(-100, 1), "a": ints(2, 3), "t": ints(-3, -1)}, ".flip(2)"),
    move("Expand", [("Unsqueeze", "x,a", "t", {}), ("Expand", "t,s", "y", {})], (2, 3, 4),
         {"a": ints(2), "s": ints(1, 3, 5, 4)}, "t.expand(x.shape[0], 3, 5, 4)"),
    move("Tile", [("Tile", "x,s", "y", {})], (2, 3, 4), {"s": ints(1, 2, 3)}, "x.repeat(1, 2, 3)"),
    move("Pad", [("Pad", "x,p", "y", {})], IMAGE, {"p": ints(0, 0, 1, 2, 0, 0, 0, 3)},
         "F.pad(x, (2, 3, 1, 0))"),
    move("Gather one", [("Gather", "x,i", "y", {"axis": 1})], IMAGE, {"i": np.array(2)},
         "x.select(1, 2)"),
    move("Gather some", [("Gather", "x,i", "y", {"axis": 2})], IMAGE, {"i": ints(3, 3, 0)},
         "torch.index_select(x, 2, self.c000)"),
    Case("Gather rows of a parameter", [("Gather", "w,x", "y", {})], (2, 5), {"w": (11, 4)},
         "F.embedding(x, self.w)", integers=11),
    resize("nearest", 'mode="nearest"', {"s": np.array([1, 1, 2, 3], np.float32)}, "x,,s",
           coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    resize("linear", 'mode="bilinear"', {"s": np.array([1, 1, 2, 2], np.float32)}, "x,,s",
           mode="linear", coordinate_transformation_mode="half_pixel"),
    resize("linear to a size", "size=(7, 5)", {"s": ints(2, 3, 7, 5)}, "x,,,s", mode="linear",
           coordinate_transformation_mode="pytorch_half_pixel"),
    resize("aligned corners", "align_corners=True", {"s": ints(2, 3, 8, 12)}, "x,,,s",
           mode="linear", coordinate_transformation_mode="align_corners"),
    *(recurrent(op, gates, bias, directions) for op, gates in (("LSTM", 4), ("GRU", 3))
      for bias in (True, False) for directions in (1, 2)),
    Case("GELU by erf", [
        ("Div", "x,r", "t", {}), ("Erf", "t", "u", {}), ("Add", "u,one", "v", {}),
        ("Mul", "x,v", "w", {}), ("Mul", "w,half", "y", {})], (2, 9), GELU, "y = F.gelu(x)"),
    Case("GELU by erf, the half first", [
        ("Mul", "x,half", "w", {}), ("Div", "x,r", "t", {}), ("Erf", "t", "u", {}),
        ("Add", "one,u", "v", {}), ("Mul", "v,w", "y", {})], (2, 9), GELU, "y = F.gelu(x)"),
    Case("not quite GELU", [
        ("Div", "x,r", "t", {}), ("Erf", "t", "u", {}), ("Add", "u,one", "v", {}),
        ("Mul", "x,v", "w", {}), ("Mul", "w,half", "y", {})], (2, 9),
        {**GELU, "half": number(0.25)}, "torch.erf"),
    Case("SiLU", [("Sigmoid", "x", "s", {}), ("Mul", "x,s", "y", {})], (2, 9), None,
         "y = F.silu(x)"),
    Case("layer norm in parts, power", norm_parts([("Pow", "d,two", "q", {})]), (2, 4, 6), NORM,
         "z = F.layer_norm(x, (6,), "),
    Case("layer norm in parts, product", norm_parts([("Mul", "d,d", "q", {})]), (2, 4, 6), NORM,
         "z = F.layer_norm(x, (6,), "),
    Case("group norm in parts", [
        ("Reshape", "x,split", "r", {}), ("InstanceNormalization", "r,ones,zeros", "n", {}),
        ("Reshape", "n,back", "t", {}), ("Mul", "t,w", "g", {}), ("Add", "g,b", "y", {})], IMAGE,
        {"split": ints(0, 2, -1), "ones": np.ones(2, np.float32), "zeros": np.zeros(2, np.float32),
         "back": ints(-1, 4, 9, 7), "w": (4, 1, 1), "b": (4, 1, 1)}, "y = F.group_norm(x, 2, "),
    Case("attention", [
        ("Mul", "x,s", "q", {}), ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
        ("Mul", "t,s", "k", {}), ("MatMul", "q,k", "p", {}), ("Softmax", "p", "a", {"axis": -1}),
        ("MatMul", "a,x", "y", {})], (2, 5, 16), {"s": number(0.5)}, "y = attention(x, x, x)"),
    *attention_cases(),
    Case("mean of embeddings without padding", BAG, (3, 5), BAG_WEIGHTS,
         'y = F.embedding_bag(x, self.w, mode="mean", padding_idx=1)', integers=3),
    Case("sum of embeddings without padding", BAG, (3, 5),
         {**BAG_WEIGHTS, "least": np.array(99, np.float32)}, "torch.matmul(", integers=3),
    Case("attention of another scale", [
        ("Mul", "x,s", "q", {}), ("Transpose", "x", "t", {"perm": [0, 2, 1]}),
        ("MatMul", "q,t", "p", {}), ("Softmax", "p", "a", {"axis": -1}),
        ("MatMul", "a,x", "y", {})], (2, 5, 16), {"s": number(0.25)}, "torch.softmax(p, dim=-1)"),
    Case("shape from the batch", [
        ("Shape", "x", "s", {}), ("Gather", "s,zero", "n", {}),
        ("Concat", "n,rest", "t", {"axis": 0}), ("Expand", "w,t", "e", {}),
        ("Add", "x,e", "y", {})], (2, 3, 4),
        {"zero": ints(0), "rest": ints(3, 4), "w": (1, 3, 4)}, ".expand(x.shape[0], 3, 4)"),
    Case("Dropout", [("Dropout", "x,p", "y", {})], (2, 9), {"p": number(.3)},
         "F.dropout(x, 0.3, self.training)"),
    Case("Dropout of whole channels", [
        ("Shape", "x", "n", {"start": 0, "end": 1}), ("Concat", "n,rest", "s", {"axis": 0}),
        ("ConstantOfShape", "s", "o", {"value": numpy_helper.from_array(np.ones(1, np.float32))}),
        ("Dropout", "o,p", "m", {}), ("Mul", "x,m", "y", {})], (2, 3, 4), {"p": number(.3), "rest": ints(3, 1)},
         "drop(x, (x.shape[0], 3, 1), 0.3) if self.training else x"),
    Case("noise", [
        ("RandomNormalLike", "x", "n", {"mean": 0.5, "scale": 2.0}), ("Mul", "x,n", "a", {}),
        ("Shape", "x", "s", {}), ("ConstantOfShape", "s", "z", {}),
        ("RandomUniformLike", "z", "u", {"low": 1.0, "high": 4.0}), ("Add", "a,u", "y", {})], (2, 3, 4),
         {"half": number(0.5), "middle": number(2.5)},
         'noise(self, torch.empty_like(x), "normal_", 0.5, 2.0, 0.5)',
         reference=[("Mul", "x,half", "a", {}), ("Add", "a,middle", "y", {})]),
    Case("Where and Equal", [
        ("Equal", "x,three", "m", {}), ("Where", "m,a,b", "y", {})], (2, 5),
        {"three": np.array(3, np.int64), "a": (1, 5), "b": (1, 5)}, "torch.where(", integers=6),
    *(Case(f"{op} of numbers", [(op, "x,w", "m", {}), ("Where", "m,x,w", "y", {})], (2, 3, 5),
           {"w": (3, 1)}, f"torch.{name}(x, self.c000)")
      for op, name in (("Equal", "eq"), ("Greater", "gt"), ("Less", "lt"),
                       ("GreaterOrEqual", "ge"), ("LessOrEqual", "le"))),
    Case("Not, And and Or", [
        ("Equal", "x,three", "m", {}), ("Not", "m", "n", {}), ("Less", "x,four", "l", {}),
        ("And", "n,l", "p", {}), ("And", "p,even", "q", {}), ("Or", "q,m", "r", {}),
        ("Where", "r,a,b", "y", {})], (2, 5),
        {"three": np.array(3, np.int64), "four": np.array([4], np.int64),
         "even": np.array([True, False, True, False, True]), "a": (1, 5), "b": (1, 5)},
        "torch.logical_or(", integers=6),
    Case("masked_fill", [
        ("Greater", "x,zero", "m", {}), ("Not", "m", "n", {}), ("Where", "n,low,x", "f", {}),
        ("Softmax", "f", "y", {"axis": -1})], (2, 3, 5), {"zero": number(0), "low": number(-1e9)},
        "torch.logical_not("),
]
