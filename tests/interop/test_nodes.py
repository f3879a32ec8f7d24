"""The operators against ONNX's own node tests (onnx.backend.test), by the engine.

    python test_nodes.py BUILD [operator or test ...]
    python test_nodes.py BUILD page        writes docs/ops.md, which else is only compared

Every test of an operator that the table knows is run by node_dump in the first of these forms
that the engine takes:

  data     each float32 input is computed: a row of a table, chosen by the data input, so that
           it is an activation with a gradient; all others are constants
  weights  only the first float32 input is; the others are weights or constants
  whole    of a test without float32 data: each input of whole numbers or bools is a row of such a
           table, cast
  folded   all inputs are constants, and constant folding computes the node

and the outputs held to the test's, by the test's own tolerance. A form that is refused by name
(AMG_UNSUPPORTED) is no failure here, but the test does not count as passed.

Gradients: of every passed test with a float32 gradient, at slightly moved inputs, against
central differences of ONNX's reference evaluator in float64: of the sum of outputs, each times
a random number, by up to 24 elements of each input, relative L2 <= 2e-3.
"""

import collections
import concurrent.futures
import re
import warnings

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper

import harness
import op_pages

GRADIENT, STEP, ELEMENTS = 2e-3, 1e-5, 24
FORMS = ("data", "weights", "whole", "folded")
WHOLE = {"int64", "int32", "uint8", "bool"}
# What a dropout drops in training is anybody's choice; the reference cannot be asked.
RANDOM = {"Dropout"}
# Where PyTorch and ONNX differ, training follows PyTorch.
PYTORCHS = {"test_resize_downsample_scales_linear_align_corners": "corners are the result's",
            "test_resize_downsample_scales_cubic_align_corners": "corners are the result's",
            "test_batchnorm_example_training_mode": "the running variance is PyTorch's, unbiased",
            "test_batchnorm_epsilon_training_mode": "the running variance is PyTorch's, unbiased"}
# Tests of which the values count alone: ONNX's evaluator has no slope there, or another one.
VALUES = {**{f"test_affine_grid_{n}": "its evaluator works in float32"
             for n in ("2d", "2d_align_corners", "3d", "3d_align_corners")},
          **{f"test_causal_conv_with_state_{n}": "its evaluator works in float32"
            for n in ("silu", "swish_alias", "silu_with_past_state")},
         "test_l1normalization_axis_last": "its L1 norm has no absolute values",
          **{f"test_attention_{name}_expanded": "softmax of nothing but -inf has none, as in PyTorch"
             for name in ("causal_boolmask_nan_robustness",
                          "23_boolmask_fullymasked_row_nan_robustness",
                          "4d_causal_nonpad_negative_offset_structural_empty",
                          "23_fullymasked_qk_matmul_output_mode3_zero",
                          "24_fullymasked_qk_matmul_output_mode3_zero")}}
# Operators of which ONNX's schema says that no input has a gradient, and PyTorch has one.
TRAINED = {"AffineGrid"}
INDEX = "test.index"  # the data input


def constant_inputs(case, operator):
    """Names of the inputs that ONNX's schema calls not differentiable; case: not expanded."""
    if operator in TRAINED:
        return set()
    schema = onnx.defs.get_schema(operator)
    kinds = [i.differentiation_category for i in schema.inputs]
    fixed = onnx.defs.OpSchema.DifferentiationCategory.NonDifferentiable
    node = next(n for n in case.model.graph.node if n.op_type == operator)
    return {name for i, name in enumerate(node.input)
            if kinds and kinds[min(i, len(kinds) - 1)] == fixed}


def as_array(value):
    """Some tests give their tensors as protos."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def is_whole(value):
    """Whole numbers that float32 has, too, or bools."""
    return str(value.dtype) in WHOLE and value.size > 0 and bool(
        (value.astype(np.float32).astype(value.dtype) == value).all())


class Test:
    """One node test: name, operator, model, inputs {name: array}, outputs {name: array}.
    fixed: names of the inputs that are constants in every form."""

    def __init__(self, case, operator, fixed):
        self.name, self.operator, self.fixed = case.name, operator, fixed
        self.model = self.reference = case.model
        self.rtol, self.atol = case.rtol, case.atol
        given, expected = case.data_sets[0]
        graph = case.model.graph
        self.inputs = {i.name: as_array(v) for i, v in zip(graph.input, given)}
        self.outputs = {o.name: as_array(v) for o, v in zip(graph.output, expected) if o.name}

    def is_dense(self):
        return all(isinstance(v, (np.ndarray, np.generic)) and not (
            np.asarray(v).dtype.kind in "OUS")
            for v in (*self.inputs.values(), *self.outputs.values()))

    def moves(self, name, value):
        """Whether an input is data."""
        return value.dtype == np.float32 and value.size > 0 and name not in self.fixed

    def computed(self, form):
        """Names of the inputs that come from tables."""
        names = [n for n, v in self.inputs.items() if self.moves(n, np.asarray(v))]
        whole = [n for n, v in self.inputs.items()
                 if n not in self.fixed and is_whole(np.asarray(v))]
        return {"data": names, "weights": names[:1], "whole": [] if names else whole,
                "folded": []}[form]


def load_tests():
    """All of ONNX's node tests by operator; of one that is a function, the expanded tests too."""
    from onnx.backend.test.case.node import collect_testcases
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    operator, fixed = {}, {}
    for case in cases:
        nodes = [n.op_type for n in case.model.graph.node if n.op_type != "Constant"]
        operator[case.name] = nodes[0] if nodes else "Constant"
        in_onnx = all(not o.domain for o in case.model.opset_import)
        fixed[case.name] = constant_inputs(case, operator[case.name]) if in_onnx else set()
    tests = collections.defaultdict(list)
    for case in cases:
        base = re.sub(r"_expanded.*", "", case.name)
        base = base if base in operator else case.name
        tests[operator[base]].append(Test(case, operator[base], fixed[base]))
    return tests


def as_model(test, form, inputs):
    """The test's model with its inputs inside it, as the form says."""
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    graph, computed = model.graph, test.computed(form)
    for domain in model.opset_import:  # none of the older operators has changed by then
        domain.version = domain.version if domain.domain else max(9, domain.version)
    nodes, outputs = list(graph.node), list(graph.output)
    del graph.input[:], graph.node[:], graph.output[:]
    for name, value in inputs.items():
        value = np.asarray(value)
        if name not in computed:
            graph.initializer.append(numpy_helper.from_array(value, name))
            continue
        table = value.reshape(1, -1).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(table, f"T.{name}"))
        graph.initializer.append(
            numpy_helper.from_array(np.array(value.shape, np.int64), f"dims.{name}"))
        graph.node.append(helper.make_node("Gather", [f"T.{name}", INDEX], [f"row.{name}"]))
        floats = name if value.dtype == np.float32 else f"floats.{name}"
        graph.node.append(
            helper.make_node("Reshape", [f"row.{name}", f"dims.{name}"], [floats]))
        if floats != name:
            graph.node.append(helper.make_node(
                "Cast", [floats], [name], to=helper.np_dtype_to_tensor_dtype(value.dtype)))
    if computed:
        graph.input.append(helper.make_tensor_value_info(INDEX, TensorProto.INT64, [1]))
    graph.node.extend(nodes)
    for output in outputs:
        if not output.name:
            continue
        dtype = output.type.tensor_type.elem_type
        if computed and dtype != TensorProto.FLOAT:
            graph.node.append(helper.make_node("Cast", [output.name], [f"f32.{output.name}"],
                                               to=TensorProto.FLOAT))
            output = helper.make_tensor_value_info(f"f32.{output.name}", TensorProto.FLOAT, None)
        graph.output.append(output)
    return model


class Refused(Exception):
    """The engine does not take this form."""


class Failed(Exception):
    """The engine takes it and breaks."""


def dump(h, path, test, form, inputs, arriving=None, training=False):
    """{name: array} of node_dump."""
    onnx.save(as_model(test, form, inputs), f"{path}.onnx")
    given = {f"v.{n}": v for n, v in (arriving or {}).items()}
    safetensors.numpy.save_file(given or {"none": np.zeros(1, np.float32)}, f"{path}.in")
    done = h.run_program("node_dump", *(["--training"] if training else []), f"{path}.onnx",
                         f"{path}.in", f"{path}.out")
    if done.returncode:
        text = re.sub(r"^node_dump: ", "", done.stderr.strip())
        raise (Refused if done.returncode == 3 else Failed)(text)
    return safetensors.numpy.load_file(f"{path}.out")


def found_output(found, name, expected, folded):
    """What the engine has for an output, in its type."""
    if folded:
        return found[f"y.{name}"]
    key = f"y.{name}" if f"y.{name}" in found else f"y.f32.{name}"
    return found[key].astype(expected.dtype)


def check_outputs(test, found, folded):
    """None, or what is wrong."""
    for name, expected in test.outputs.items():
        expected = np.asarray(expected)
        y = found_output(found, name, expected, folded)
        if y.dtype != expected.dtype or y.shape != expected.shape:
            return f"{name} is {y.dtype}{list(y.shape)}, expected " \
                   f"{expected.dtype}{list(expected.shape)}"
        try:
            np.testing.assert_allclose(y, expected, rtol=test.rtol, atol=test.atol)
        except AssertionError as error:
            return f"{name}: " + " ".join(str(error).split())[:200]
    return None


# ---- gradients ----


def in_float64(test):
    """The model's evaluator with every float32 in it widened."""
    from onnx.reference import ReferenceEvaluator
    model = onnx.ModelProto()
    model.CopyFrom(test.reference)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":  # what trains is the training form
            node.attribute.append(helper.make_attribute("training_mode", 1))
        if node.op_type == "GroupNormalization" and len(node.attribute) < 3:
            node.attribute.append(helper.make_attribute("stash_type", TensorProto.FLOAT))
        for a in node.attribute:
            if a.name in ("to", "stash_type") and a.i == TensorProto.FLOAT:
                a.i = TensorProto.DOUBLE
            if a.HasField("t") and a.t.data_type == TensorProto.FLOAT:
                a.t.CopyFrom(numpy_helper.from_array(
                    numpy_helper.to_array(a.t).astype(np.float64), a.t.name))
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return ReferenceEvaluator(model)


def moved(test, rng):
    """The inputs, data a little away from where they stand."""
    inputs = {}
    for name, value in test.inputs.items():
        value = np.asarray(value)
        if test.moves(name, value):
            value = (value + 0.01 * rng.uniform(-1, 1, value.shape)).astype(np.float32)
        inputs[name] = value
    return inputs


def differences(evaluate, inputs, name, places):
    """Central differences of evaluate by the places of one input."""
    slopes = []
    for place in places:
        ends = []
        for sign in (1, -1):
            value = np.array(inputs[name], np.float64)
            value.reshape(-1)[place] += sign * STEP
            ends.append(evaluate({**inputs, name: value}))
        slopes.append((ends[0] - ends[1]) / (2 * STEP))
    return np.array(slopes)


def check_gradients(h, path, test, form):
    """(number of gradients compared, None or what is wrong)."""
    rng = np.random.default_rng(11)
    outputs = {n: np.asarray(v) for n, v in test.outputs.items()
               if np.asarray(v).dtype == np.float32}
    arriving = {n: rng.uniform(-1, 1, v.shape).astype(np.float32) for n, v in outputs.items()}
    inputs = moved(test, rng)
    evaluator = in_float64(test)
    names = [o.name for o in test.model.graph.output if o.name]

    def evaluate(values):
        values = {n: v.astype(np.float64) if np.asarray(v).dtype == np.float32 else v
                  for n, v in values.items()}
        found = dict(zip(names, evaluator.run(names, values)))
        return sum(float((found[n] * arriving[n].astype(np.float64)).sum()) for n in outputs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not np.isfinite(evaluate(inputs)):
            return 0, None
        found = dump(h, path, test, form, inputs, arriving)
        compared = 0
        for name, value in inputs.items():
            keys = [k for o in outputs for k in (f"{o}/T.{name}", f"{o}/{name}") if k in found]
            if not keys:
                continue
            gradient = sum(found[k].astype(np.float64) for k in keys).reshape(-1)
            places = rng.permutation(value.size)[:ELEMENTS]
            expected = differences(evaluate, inputs, name, places)
            if not np.isfinite(expected).all():
                continue
            least = 1e-3 * np.sqrt(len(places))
            error = np.linalg.norm(gradient[places] - expected) / max(
                np.linalg.norm(expected), least)
            compared += 1
            if not error <= GRADIENT:
                return compared, f"gradient of {name}: {error:.1e} > {GRADIENT:g}"
    return compared, None


# ---- one test, one operator ----


class Result:
    """form None: not passed, and why; wrong: it ran and its result is not ONNX's."""

    def __init__(self, test, form=None, why="", wrong="", gradients=0):
        self.test, self.form, self.why, self.wrong = test, form, why, wrong
        self.gradients = gradients

    def passed(self):
        return bool(self.form) and not self.wrong


def run_test(h, path, test, differentiable):
    if not test.is_dense():
        return Result(test, why="sequences, text or optional values")
    if test.operator in RANDOM and "training" in test.name and "zero" not in test.name:
        return Result(test, why="what is dropped comes from numpy's generator")
    if test.name in PYTORCHS:
        return Result(test, why=PYTORCHS[test.name])
    why = ""
    for form in FORMS:
        if form != "folded" and not test.computed(form):
            continue
        try:
            found = dump(h, path, test, form, test.inputs)
        except Refused as error:
            why = why or str(error)
            continue
        except (Failed, KeyError, TypeError) as error:
            why = why or f"{form}: {error}"
            continue
        wrong = check_outputs(test, found, form == "folded")
        if wrong:
            return Result(test, wrong=f"{form}: {wrong}")
        if test.name in VALUES:
            return Result(test, form, why=VALUES[test.name])
        if not differentiable or form == "folded" or test.operator in RANDOM:
            return Result(test, form)
        try:
            compared, wrong = check_gradients(h, path, test, form)
        except (Refused, Failed) as error:
            return Result(test, wrong=f"{form}: backward: {error}")
        except Exception as error:  # of the reference evaluator: it has not all in float64
            return Result(test, form, why=f"no reference: {str(error).splitlines()[0][:80]}")
        return Result(test, form, wrong=wrong and f"{form}: {wrong}", gradients=compared)
    return Result(test, why=why)


def read_table(h):
    """{operator: (trains, folds, what is covered)}, as the table has them."""
    rows = (line.split("\t") for line in h.program("op_page").splitlines())
    return {name: rest for name, *rest in rows}


def check_page(h, page):
    path = harness.ROOT / "docs" / "ops.md"
    if "page" in h.only:
        path.write_text(page)
    h.expect("docs/ops.md is what the tests say", path.read_text() == page)


def check_controls(h, tests):
    """A wrong value and a wrong gradient must be noticed."""
    test = next(t for t in tests["Mul"] if t.name == "test_mul")
    test.outputs = {n: v * 1.01 for n, v in test.outputs.items()}
    h.expect("control: values 1 % off", run_test(h, h.folder / "control", test, True).wrong)
    test = next(t for t in tests["Mul"] if t.name == "test_mul_bcast")
    test.reference = next(t for t in tests["Sub"] if t.name == "test_sub_bcast").model
    wrong = run_test(h, h.folder / "control", test, True).wrong
    h.expect("control: gradients of another operator", wrong and "gradient" in wrong)


def main(h):
    table, tests = read_table(h), load_tests()
    chosen = [t for name in sorted(table) for t in tests[name]
              if h.only in ([], ["page"]) or name in h.only or t.name in h.only]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(
            lambda job: run_test(h, h.folder / f"n{job[0]}", job[1],
                                 table[job[1].operator][0] != "no"),
            enumerate(chosen)))
    if h.wants("control"):
        check_controls(h, tests)
    for name in sorted({t.operator for t in chosen}):
        mine = [r for r in results if r.test.operator == name]
        passed = [r for r in mine if r.passed()]
        for r in mine:
            if r.wrong:
                h.expect(f"{r.test.name}: {r.wrong}", False)
            elif not r.form:
                print(f"-    {r.test.name}: {r.why}")
            elif r.why:
                print(f"     {r.test.name}: {r.why}")
        if passed:
            folded = sum(r.form == "folded" for r in passed)
            h.expect(f"{name}: {len(passed)} of {len(mine)} node tests, {folded} folded, "
                     f"{sum(r.gradients for r in passed)} gradients", True)
    print(f"{sum(r.passed() for r in results)} of {len(results)} node tests of the table's "
          "operators pass")
    if h.only in ([], ["page"]):
        found = {name: [r for r in results if r.test.operator == name] for name in table}
        check_page(h, op_pages.render(table, found, tests))


if __name__ == "__main__":
    harness.run(main)
