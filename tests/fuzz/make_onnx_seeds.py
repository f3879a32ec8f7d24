"""Writes the seeds of corpus/onnx: small models by onnx.helper (onnx 1.23), one operator
or one idea per file, over the opsets; and malformed variants.
Run here: python3 make_onnx_seeds.py. Fuzzing findings are added beside them by hand."""
import pathlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CORPUS = pathlib.Path(__file__).parent / "corpus" / "onnx"


def put(name, data):
    CORPUS.mkdir(parents=True, exist_ok=True)
    (CORPUS / name).write_bytes(data)


def model(nodes, inits=(), opset=17, shape=("N", 2, 4, 4), output="y"):
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(output)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in dict(inits).items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                             ir_version=8)


def one(op, inits=(), opset=17, inputs=None, outputs=("y",), **attrs):
    inputs = ["x", *dict(inits)] if inputs is None else inputs
    return model([helper.make_node(op, inputs, outputs, name="n", **attrs)], inits,
                 opset).SerializeToString()


def f4(*shape):
    return np.ones(shape, "f4")


def branching(condition):
    """An If in a branch of an If, with a weight of its own."""
    def branch(op, inputs, weights=()):
        return helper.make_graph([helper.make_node(op, inputs, ["a"])], "b", [],
                                 [helper.make_empty_tensor_value_info("a")],
                                 [numpy_helper.from_array(w, n) for n, w in weights])
    inner = helper.make_graph(
        [helper.make_node("If", ["c"], ["i"], then_branch=branch("Add", ["x", "w"],
                                                                 [("w", f4(4))]),
                          else_branch=branch("Relu", ["x"]))], "b", [],
        [helper.make_empty_tensor_value_info("i")])
    return model([helper.make_node("If", ["c"], ["y"], then_branch=inner,
                                   else_branch=branch("Tanh", ["x"]))], {"c": condition})


def operators():
    i8 = np.int64
    put("conv", one("Conv", {"w": f4(2, 1, 3, 3), "b": f4(2)}, group=2,
                    pads=[1, 1, 1, 1], strides=[2, 2]))
    put("conv_same", one("Conv", {"w": f4(2, 2, 3, 3)}, auto_pad="SAME_UPPER"))
    put("bn9", one("BatchNormalization", {k: f4(2) for k in "sbmv"}, 9,
                   outputs=("y", "a", "b2", "c", "d"), epsilon=1e-3))
    put("bn15", one("BatchNormalization", {k: f4(2) for k in "sbmv"}, 15,
                    outputs=("y", "a", "b2"), training_mode=1))
    put("clip10", one("Clip", opset=10, min=0.0, max=6.0))
    put("clip11", one("Clip", {"lo": f4(), "hi": f4()}, 11))
    put("max_pool", one("MaxPool", kernel_shape=[2, 2], ceil_mode=1, storage_order=0))
    put("average_pool", one("AveragePool", opset=19, kernel_shape=[2, 2],
                            dilations=[1, 1]))
    put("global_pool", one("GlobalAveragePool"))
    put("add", one("Add", {"b": f4(2, 1, 1)}))
    put("concat", one("Concat", inputs=["x", "x", "x"], axis=1))
    put("dropout9", one("Dropout", opset=9, ratio=0.25, outputs=("y", "m")))
    put("dropout13", one("Dropout", {"r": np.float32(0.5), "t": np.array(True)}, 13))
    put("pad9", one("Pad", opset=9, pads=[0, 0, 1, 1, 0, 0, 1, 1]))
    put("pad18", one("Pad", {"p": np.array([1, 1], i8), "a": np.array([-1], i8)}, 18,
                     inputs=["x", "p", "", "a"]))
    put("slice9", one("Slice", opset=9, starts=[0], ends=[1], axes=[1]))
    put("squeeze11", one("Unsqueeze", opset=11, axes=[1]))
    put("mean13", one("ReduceMean", opset=13, axes=[2, 3], keepdims=0))
    put("mean18", one("ReduceMean", {"a": np.array([2, 3], i8)}, 18))
    put("cast", one("Cast", opset=19, to=1, saturate=1))
    put("select", model(
        [helper.make_node("Reshape", ["x", "s"], ["r"]),
         helper.make_node("Gather", ["r", "i"], ["g"], axis=1),
         helper.make_node("Gemm", ["g", "w", "b"], ["y"], transB=1)],
        {"s": np.array([-1, 32], i8), "i": np.array([3, 1, 2], i8), "w": f4(5, 3),
         "b": f4(5)}).SerializeToString())
    put("shape", model(
        [helper.make_node("Shape", ["x"], ["s"]),
         helper.make_node("Constant", [], ["z"], value_int=0),
         helper.make_node("Gather", ["s", "z"], ["n"]),
         helper.make_node("Constant", [], ["ax"], value_ints=[0]),
         helper.make_node("Unsqueeze", ["n", "ax"], ["n1"]),
         helper.make_node("Constant", [], ["m"], value_ints=[-1]),
         helper.make_node("Concat", ["n1", "m"], ["t"], axis=0),
         helper.make_node("Reshape", ["x", "t"], ["y"])]).SerializeToString())
    put("fill", model(
        [helper.make_node("ConstantOfShape", ["s"], ["c"], value=helper.make_tensor(
            "v", TensorProto.FLOAT, [1], [2.0])),
         helper.make_node("Where", ["k", "c", "c"], ["d"]),
         helper.make_node("Mul", ["x", "d"], ["y"])],
        {"s": np.array([2, 1, 1], i8), "k": np.array([[[True]], [[False]]])})
        .SerializeToString())
    put("if", branching(np.array(True)).SerializeToString())
    put("batch16", model([helper.make_node("Relu", ["x"], ["y"])],
                         shape=(16, 3)).SerializeToString())


def malformed():
    good = one("Add", {"b": f4(2, 1, 1)})
    put("bad_cut", good[:-9])
    put("bad_wire", bytes([8, 8, 0x38, 1]))
    put("bad_group", bytes([0x9b, 3]))
    put("bad_lstm", one("LSTM"))
    put("bad_ghost", one("Add", inputs=["x", "ghost"]))
    put("bad_cycle", model([helper.make_node("Add", ["x", "b"], ["y"]),
                            helper.make_node("Relu", ["y"], ["b"])]).SerializeToString())
    put("bad_twice", model([helper.make_node("Relu", ["x"], ["y"]),
                            helper.make_node("Tanh", ["x"], ["y"])]).SerializeToString())
    put("bad_half", one("Add", {"b": np.ones(2, "f2")}))
    m = model([helper.make_node("Add", ["x", "b"], ["y"])], {"b": f4(2, 1, 1)})
    m.graph.initializer[0].dims[0] = 1 << 61
    put("bad_dims", m.SerializeToString())
    m.graph.initializer[0].ClearField("raw_data")
    m.graph.initializer[0].data_location = TensorProto.EXTERNAL
    m.graph.initializer[0].dims[0] = 2
    put("bad_weightless_constant", m.SerializeToString())
    c = model([helper.make_node("Conv", ["x", "w"], ["y"])], {"w": f4(2, 2, 3, 3)})
    c.graph.initializer[0].ClearField("raw_data")
    c.graph.initializer[0].data_location = TensorProto.EXTERNAL
    put("weightless", c.SerializeToString())
    e = m.graph.initializer[0].external_data.add()
    e.key, e.value = "location", "../secret.bin"
    put("bad_external", m.SerializeToString())
    t = model([helper.make_node("Add", ["x", "b"], ["y"])])
    t.graph.initializer.append(helper.make_tensor("b", TensorProto.FLOAT, [2, 1, 1],
                                                  [1.0, 2.0]))
    put("float_data", t.SerializeToString())
    sub = helper.make_graph([], "s", [], [])
    bad = branching(np.array(True))
    bad.graph.node[0].attribute.pop()
    put("bad_if", bad.SerializeToString())
    put("bad_if_by_data", branching(f4(4)).SerializeToString())
    put("bad_subgraph", one("Relu", body=sub))


if __name__ == "__main__":
    operators()
    malformed()
