"""More graphs for test_emit.py, as in emit_cases.py: layers over sequences, images and volumes."""
import numpy as np

from emit_cases import Case

SIGNAL, IMAGE, VOLUME = (2, 4, 11), (2, 4, 9, 7), (2, 4, 5, 6, 7)


def layer(op, name, form, x, weights=None, opset=19, **attributes):
    inputs = ",".join(["x", *(weights or {})])
    return Case(f"{op} {name}", [(op, inputs, "y", attributes)], x, weights, form, opset=opset)


WINDOWS = [
    layer("Conv", "1-d", "F.conv1d(x, self.w, self.b)", SIGNAL, {"w": (6, 4, 3), "b": (6,)}),
    layer("Conv", "1-d depthwise", "F.conv1d(F.pad(x, (2, 0)), self.w, dilation=(2,), groups=4)",
          SIGNAL, {"w": (4, 1, 2)}, group=4, pads=[2, 0], dilations=[2]),
    layer("Conv", "3-d", "F.conv3d(x, self.w, self.b, stride=(1, 2, 2), padding=(1, 1, 0))",
          VOLUME, {"w": (6, 4, 3, 3, 3), "b": (6,)}, pads=[1, 1, 0, 1, 1, 0], strides=[1, 2, 2]),
    Case("Conv of computed weights", [("Exp", "w", "e", {}), ("Conv", "x,e,b", "y", {})], IMAGE,
         {"w": (6, 4, 3, 3), "b": (6,)}, "F.conv2d(x, "),
    layer("ConvTranspose", "1-d",
          "F.conv_transpose1d(x, self.w, self.b, stride=(2,), padding=(1,), output_padding=(1,))",
          SIGNAL, {"w": (4, 6, 3), "b": (6,)}, strides=[2], pads=[1, 1], output_padding=[1]),
    layer("ConvTranspose", "3-d", "F.conv_transpose3d(", VOLUME,
          {"w": (4, 6, 2, 2, 2), "b": (6,)}, strides=[2, 1, 2]),
    layer("ConvTranspose", "output_shape", "F.pad(F.conv_transpose2d(", IMAGE,
          {"w": (4, 6, 3, 3), "b": (6,)}, strides=[3, 2], output_shape=[26, 12]),
    layer("ConvTranspose", "longer and cut", "output_padding=(1, 0)),", IMAGE,
          {"w": (4, 6, 3, 3), "b": (6,)}, strides=[2, 2], pads=[1, 0, 0, 0],
          output_padding=[1, 0]),
    layer("ConvTranspose", "SAME_LOWER", "", IMAGE, {"w": (4, 6, 4, 3), "b": (6,)},
          strides=[2, 2], auto_pad="SAME_LOWER"),
    layer("MaxPool", "1-d", "F.max_pool1d(x, (3,), (2,))", SIGNAL, kernel_shape=[3],
          strides=[2]),
    layer("MaxPool", "3-d", "F.max_pool3d(x, (2, 2, 2), (2, 2, 2))", VOLUME,
          kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
    layer("MaxPool", "dilation", "dilation=(2, 3))", IMAGE, kernel_shape=[3, 2], dilations=[2, 3]),
    layer("MaxPool", "SAME_UPPER", "F.pad(", SIGNAL, kernel_shape=[2], strides=[2],
          auto_pad="SAME_UPPER"),
    layer("AveragePool", "1-d", "F.avg_pool1d(x, (3,), (2,))", SIGNAL, kernel_shape=[3],
          strides=[2]),
    layer("AveragePool", "3-d", "count_include_pad=False", VOLUME, kernel_shape=[3, 3, 3],
          pads=[1] * 6),
    layer("AveragePool", "dilation", "groups=4)", IMAGE, kernel_shape=[3, 2], dilations=[2, 3],
          pads=[1, 0, 2, 1]),
    layer("AveragePool", "dilation and pads that count", "groups=4)", IMAGE, kernel_shape=[3, 2],
          dilations=[2, 3], pads=[1, 0, 2, 1], count_include_pad=1),
    layer("GlobalAveragePool", "1-d", "F.adaptive_avg_pool1d(x, 1)", SIGNAL),
    layer("GlobalAveragePool", "3-d", "F.adaptive_avg_pool3d(x, 1)", VOLUME),
    layer("GlobalMaxPool", "1-d", "F.adaptive_max_pool1d(x, 1)", SIGNAL),
    layer("GlobalMaxPool", "2-d", "F.adaptive_max_pool2d(x, 1)", IMAGE),
    layer("GlobalMaxPool", "3-d", "F.adaptive_max_pool3d(x, 1)", VOLUME),
]



def resize(name, form, x, inputs, values, **attributes):
    return Case(f"Resize {name}", [("Resize", inputs, "y", attributes)], x, values, form, opset=18)


def scales(*values):
    return {"s": np.array(values, np.float32)}


HALF = {"coordinate_transformation_mode": "half_pixel"}
RESIZED = [
    resize("linear 1-d", 'F.interpolate(x, size=(22,), mode="linear")', SIGNAL, "x,,s",
           scales(1, 1, 2), mode="linear", **HALF),
    resize("linear 3-d", 'mode="trilinear"', VOLUME, "x,,s", scales(1, 1, 2, 1.5, 1),
           mode="linear", **HALF),
    *(resize(f"antialias {mode}", f'mode="{name}", antialias=True)', IMAGE, "x,,s", scales(1, 1, 0.5, 0.4), mode=mode,
             antialias=1, exclude_outside=1, cubic_coeff_a=-0.5)
      for mode, name in (("linear", "bilinear"), ("cubic", "bicubic"))),
    resize("nearest 3-d", 'mode="nearest")', VOLUME, "x,,s", scales(1, 1, 2, 2, 2),
           coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    resize("axes", 'size=(18, 14)', IMAGE, "x,,s", scales(2, 2), axes=[2, 3], mode="linear",
           **HALF),
    Case("Upsample", [("Upsample", "x,s", "y", {"mode": "nearest"})], IMAGE, scales(1, 1, 2, 2),
         'mode="nearest")', opset=9),
]

PER_CHANNEL = {"w": (4,), "b": (4,)}
NORMS = [
    layer("BatchNormalization", "1-d", "batch_norm(x, self.mean, self.var, self.w, self.b,",
          SIGNAL, {**PER_CHANNEL, "mean": (4,), "var": (4,)}),
    layer("BatchNormalization", "3-d", "batch_norm(x, self.mean, self.var, self.w, self.b,",
          VOLUME, {**PER_CHANNEL, "mean": (4,), "var": (4,)}),
    layer("InstanceNormalization", "1-d", "F.instance_norm(", SIGNAL, PER_CHANNEL),
    layer("InstanceNormalization", "3-d", "F.instance_norm(", VOLUME, PER_CHANNEL),
]



def recurrent(op, name, form, gates, first="", directions=1, **attributes):
    """first: the initial states that are given, "hc" of an LSTM's."""
    weights = {"w": (directions, gates * 5, 3), "r": (directions, gates * 5, 5),
               "b": (directions, 2 * gates * 5), **{f"first_{s}": (directions, 2, 5) for s in first}}
    if directions == 2:
        attributes["direction"] = "bidirectional"
    if op == "GRU":
        attributes.setdefault("linear_before_reset", 1)
    inputs = ",".join(["t", "w", "r", "b", "", *(f"first_{s}" if s in first else "" for s in "hc")])
    return Case(f"{op} {name}", [
        ("Transpose", "x", "t", {"perm": [1, 0, 2]}),
        (op, inputs.rstrip(","), "y_all", {"hidden_size": 5, **attributes}),
        ("Transpose", "y_all", "y", {"perm": [2, 0, 1, 3]})], (2, 7, 3), weights, form)


RECURRENT = [
    recurrent("LSTM", "with initial states", "self.b, self.first_h, self.first_c, self.training)", 4, "hc", 2),
    recurrent("LSTM", "reverse", "reverse=True)", 4, "c", direction="reverse"),
    recurrent("GRU", "with an initial state", "self.b, self.first_h, self.training)", 3, "h"),
    recurrent("GRU", "reverse", "reverse=True)", 3, "h", direction="reverse"),
    recurrent("GRU", "that resets first", "gru_reset_first(t, ", 3, linear_before_reset=0),
    recurrent("GRU", "that resets first, both ways", "self.b, self.first_h)", 3, "h", 2, linear_before_reset=0),
    recurrent("GRU", "that resets first, reverse", "reverse=True)", 3, direction="reverse", linear_before_reset=0),
    recurrent("RNN", "tanh", "rnn(torch._VF.rnn_tanh, ", 1, "h", 2),
    recurrent("RNN", "relu", "rnn(torch._VF.rnn_relu, ", 1, directions=2,
              activations=["Relu", "Relu"]),
    recurrent("RNN", "reverse", "reverse=True)", 1, direction="reverse", activations=["Tanh"]),
]



def peepholes(case, directions):
    """The same of an LSTM whose gates see the cells."""
    node = next(i for i, n in enumerate(case.nodes) if n[0] == "LSTM")
    op, inputs, outputs, attributes = case.nodes[node]
    case.nodes[node] = (op, ",".join((inputs.split(",") + [""] * 4)[:7] + ["p"]), outputs, attributes)
    case.weights["p"] = np.random.default_rng(5).normal(0, 1, (directions, 15)).astype(np.float32)
    return case


def unequal(op, name, form, gates, first="", directions=1, **attributes):
    """Sequences of 3 and 7 steps: their outputs, and the last state behind them."""
    case = recurrent(op, f"{name}, of unequal length", form, gates, first, directions, **attributes)
    (_, inputs, _, attributes), *_ = case.nodes[1:]
    inputs = inputs.split(",") + [""] * 5
    inputs[4] = "lengths"
    case.nodes[1:] = [
        (op, ",".join(inputs).rstrip(","), "all,last", attributes), ("Transpose", "all", "a", {"perm": [2, 0, 1, 3]}),
        ("Transpose", "last", "l", {"perm": [1, 0, 2]}), ("Unsqueeze", "l,axes", "u", {}),
        ("Concat", "a,u", "y", {"axis": 1})]
    case.weights.update(lengths=np.array([3, 7], np.int32), axes=np.array([1], np.int64))
    return case


RECURRENT += [
    unequal("LSTM", "both ways", "lengths=self.c", 4, "hc", 2),
    unequal("LSTM", "reverse", "reverse=True", 4, direction="reverse"),
    peepholes(recurrent("LSTM", "with peepholes", "lstm_peepholes(t, ", 4, "hc", 2), 2),
    peepholes(recurrent("LSTM", "with peepholes, reverse", "reverse=True", 4, direction="reverse"), 1),
    peepholes(unequal("LSTM", "with peepholes", "lstm_peepholes(t, ", 4, "hc", 2), 2),
    unequal("GRU", "both ways", "gru(t, ", 3, "h", 2),
    unequal("GRU", "reverse", "reverse=True", 3, "h", direction="reverse"),
    unequal("GRU", "that resets first, both ways", "gru_reset_first(t, ", 3, "h", 2, linear_before_reset=0),
    unequal("GRU", "that resets first, reverse", "reverse=True", 3, direction="reverse", linear_before_reset=0),
    unequal("RNN", "both ways", "rnn(torch._VF.rnn_tanh, ", 1, "h", 2),
]


def batch_first(op, gates, states, output):
    """layout 1, which onnxruntime has not: its reference is layout 0 between Transposes."""
    weights = {"w": (1, gates * 5, 3), "r": (1, gates * 5, 5), "b": (1, 2 * gates * 5),
               "h0": (2, 1, 5)}
    attributes = {"hidden_size": 5, **({"linear_before_reset": 1} if op == "GRU" else {})}
    results = ["a", "last", "cell"][:1 + states]
    node = ",".join(results)
    back = [2, 0, 1, 3] if output == 0 else [1, 0, 2]
    reference = [("Transpose", "x", "t", {"perm": [1, 0, 2]}),
                 ("Transpose", "h0", "s", {"perm": [1, 0, 2]}),
                 (op, "t,w,r,b,,s", node, attributes),
                 ("Transpose", results[output], "y", {"perm": back})]
    return Case(f"{op} batch first, output {output}", [
        (op, "x,w,r,b,,h0", node, {**attributes, "layout": 1}), ("Neg", results[output], "n", {}),
        ("Neg", "n", "y", {})], (2, 7, 3), weights, "batch_first=True)", reference=reference)


RECURRENT += [batch_first(op, gates, states, output)
              for op, gates, states in (("LSTM", 4, 2), ("GRU", 3, 1), ("RNN", 1, 1))
              for output in range(1 + states)]

CASES = WINDOWS + RESIZED + NORMS + RECURRENT
