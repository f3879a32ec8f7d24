"""A tiny reader and writer of ONNX files on protobuf's wire format: enough to look at every byte a job
shows, and to make small models, good and bad. Independent of the program's own reader. Standard
library only."""
import collections
import random
import struct

# (number, wire type, value): value is an int for varints, bytes for the rest
Field = collections.namedtuple("Field", "number type value")


def _read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data):
    """All fields of one message, in file order."""
    at, found = 0, []
    while at < len(data):
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, at = _read_varint(data, at)
            if size is None or at + size > len(data):
                raise ValueError(f"bad wire type {kind} or size at byte {at}")
            value, at = data[at:at + size], at + size
        found.append(Field(tag >> 3, kind, value))
    return found


def get(message, number):
    return [f.value for f in message if f.number == number]


def text(message, number):
    return (get(message, number) or [b""])[0].decode()


Node = collections.namedtuple("Node", "op name inputs outputs attributes fields")
# encoding: numbers of the fields that hold it, so that two ways of writing can be told apart
Tensor = collections.namedtuple("Tensor", "name dtype dims data encoding")
Model = collections.namedtuple("Model", "nodes tensors inputs outputs top graph")


def _tensor(data):
    m = fields(data)
    raw = b"".join(get(m, 9)) + b"".join(v if isinstance(v, bytes) else b"" for v in get(m, 7) + get(m, 4))
    dims = tuple(x for v in get(m, 1) for x in ([v] if isinstance(v, int) else _packed(v)))
    return Tensor(text(m, 8), get(m, 2)[0], dims, raw, tuple(dict.fromkeys(f.number for f in m)))


def _packed(data):
    at, values = 0, []
    while at < len(data):
        value, at = _read_varint(data, at)
        values.append(value)
    return values


def _node(data):
    m = fields(data)
    attributes = tuple((text(fields(a), 1), a) for a in get(m, 5))
    return Node(text(m, 4), text(m, 3), [v.decode() for v in get(m, 1)], [v.decode() for v in get(m, 2)],
                attributes, tuple(dict.fromkeys(f.number for f in m)))


def read_model(data):
    """top and graph: the raw fields of ModelProto and GraphProto."""
    top = fields(data)
    graph = fields(get(top, 7)[0])
    tensors = {t.name: t for t in map(_tensor, get(graph, 5))}
    return Model([_node(n) for n in get(graph, 1)], tensors,
                 [text(fields(v), 1) for v in get(graph, 11)],
                 [text(fields(v), 1) for v in get(graph, 12)], top, graph)


def subnetworks(model):
    """Per output of the model: (indices of its nodes, names of its tensors), both in file order. Raises
    if a node belongs to two."""
    producer = {out: i for i, n in enumerate(model.nodes) for out in n.outputs}
    order = {name: i for i, name in enumerate(model.tensors)}
    owner, found = {}, []
    for head, output in enumerate(model.outputs):
        waiting, tensors = [output], set()
        while waiting:
            value = waiting.pop()
            if value in model.tensors:
                tensors.add(value)
            elif value in producer:
                i = producer[value]
                if owner.setdefault(i, head) != head:
                    raise ValueError(f"node {i} belongs to two sub-networks")
                waiting += [v for v in model.nodes[i].inputs if v and (v not in producer or
                                                                       producer[v] not in owner or
                                                                       owner[producer[v]] != head)]
        found.append((sorted(i for i, h in owner.items() if h == head), sorted(tensors, key=order.get)))
    return found


# --- writing -----------------------------------------------------------------------------------

def _varint(value):
    out = b""
    while True:
        out += bytes([(value & 0x7F) | (0x80 if value > 0x7F else 0)])
        value >>= 7
        if not value:
            return out


def put(number, value):
    """One field: int as varint, str and bytes with their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, str):
        value = value.encode()
    return _varint(number << 3 | 2) + _varint(len(value)) + value


FLOAT = 1


def tensor(name, dims, values):
    return (b"".join(put(1, d) for d in dims) + put(2, FLOAT) + put(8, name) +
            put(9, struct.pack(f"<{len(values)}f", *values)))


def integers(name, values):
    return put(1, len(values)) + put(2, 7) + put(8, name) + put(9, struct.pack(f"<{len(values)}q", *values))


def _attribute(name, v):
    return put(1, name) + (put(3, v) + put(20, 2) if isinstance(v, int) else
                           b"".join(put(8, i) for i in v) + put(20, 7))


def node(op, inputs, outputs, name="", attributes=()):
    """attributes: (name, int or several)"""
    return (b"".join(put(1, v) for v in inputs) + b"".join(put(2, v) for v in outputs) + put(3, name) +
            put(4, op) + b"".join(put(5, _attribute(n, v)) for n, v in attributes))


def value(name, dims):
    """A batch of f32[dims]."""
    shape = put(1, put(2, "N")) + b"".join(put(1, put(1, d)) for d in dims)
    return put(1, name) + put(2, put(1, put(1, FLOAT) + put(2, shape)))


def model(nodes, tensors, inputs, outputs, producer=""):
    graph = (b"".join(put(1, n) for n in nodes) + put(2, "g") + b"".join(put(5, t) for t in tensors) +
             b"".join(put(11, v) for v in inputs) + b"".join(put(12, v) for v in outputs))
    return (put(1, 8) + (put(2, producer) if producer else b"") + put(7, graph) + put(8, put(2, 17)))


# Names that a search of a job must not find.
TINY_NAMES = ("patient_scans", "diagnosis_logits", "embed_tumour.weight", "embed_tumour.bias",
              "grade_tumour.weight", "grade_tumour.bias", "hidden_flat", "hidden_embed", "hidden_relu",
              "node_flatten", "node_embed", "node_activate", "node_grade")


def uniform(rng, count, fan_in):
    """PyTorch's default law, on its 24-bit lattice."""
    bound = fan_in ** -0.5
    return [rng.getrandbits(24) * 2.0 ** -24 * 2 * bound - bound for _ in range(count)]


def tiny_model(side=6, hidden=8, classes=3, seed=5, activation="Relu", extra=()):
    """Flatten, Gemm, activation, Gemm on 1 x side x side. extra: more initializers, used by nothing."""
    r, n = random.Random(seed), side * side
    nodes = [node("Flatten", ["patient_scans"], ["hidden_flat"], "node_flatten", [("axis", 1)]),
             node("Gemm", ["hidden_flat", "embed_tumour.weight", "embed_tumour.bias"], ["hidden_embed"],
                  "node_embed", [("transB", 1)]),
             node(activation, ["hidden_embed"], ["hidden_relu"], "node_activate"),
             node("Gemm", ["hidden_relu", "grade_tumour.weight", "grade_tumour.bias"],
                  ["diagnosis_logits"], "node_grade", [("transB", 1)])]
    tensors = [tensor("embed_tumour.weight", (hidden, n), uniform(r, hidden * n, n)),
               tensor("embed_tumour.bias", (hidden,), uniform(r, hidden, n)),
               tensor("grade_tumour.weight", (classes, hidden), uniform(r, classes * hidden, hidden)),
               tensor("grade_tumour.bias", (classes,), uniform(r, classes, hidden))]
    return model(nodes, tensors + list(extra), [value("patient_scans", (1, side, side))],
                 [value("diagnosis_logits", (classes,))], "my-exporter 9.8.7")


def two_inputs(side=6, row=4, hidden=8, classes=3, seed=8):
    """An image 1 x side x side and a row of numbers, flattened side by side; then Gemm, Relu, Gemm."""
    r, n = random.Random(seed), side * side + row
    nodes = [node("Flatten", ["scan"], ["pixels"], attributes=[("axis", 1)]),
             node("Concat", ["pixels", "row"], ["all"], attributes=[("axis", 1)]),
             node("Gemm", ["all", "first"], ["before"], attributes=[("transB", 1)]),
             node("Relu", ["before"], ["after"]),
             node("Gemm", ["after", "second"], ["y"], attributes=[("transB", 1)])]
    tensors = [tensor("first", (hidden, n), uniform(r, hidden * n, n)),
               tensor("second", (classes, hidden), uniform(r, classes * hidden, hidden))]
    return model(nodes, tensors, [value("scan", (1, side, side)), value("row", (row,))],
                 [value("y", (classes,))])


def two_outputs(side=6, row=4, hidden=8, classes=3, seed=9):
    """As two_inputs; the class, and beside it a box of 2 x 2 numbers."""
    r, n = random.Random(seed), side * side + row
    nodes = [node("Flatten", ["scan"], ["pixels"], attributes=[("axis", 1)]),
             node("Concat", ["pixels", "row"], ["all"], attributes=[("axis", 1)]),
             node("Gemm", ["all", "first"], ["before"], attributes=[("transB", 1)]),
             node("Relu", ["before"], ["after"]),
             node("Gemm", ["after", "second"], ["class"], attributes=[("transB", 1)]),
             node("Gemm", ["after", "third"], ["corners"], attributes=[("transB", 1)]),
             node("Reshape", ["corners", "square"], ["box"])]
    tensors = [tensor("first", (hidden, n), uniform(r, hidden * n, n)),
               tensor("second", (classes, hidden), uniform(r, classes * hidden, hidden)),
               tensor("third", (4, hidden), uniform(r, 4 * hidden, hidden)), integers("square", (0, 2, 2))]
    return model(nodes, tensors, [value("scan", (1, side, side)), value("row", (row,))],
                 [value("class", (classes,)), value("box", (2, 2))])


def tiny_vit(side=6, patch=3, width=8, classes=3, seed=6, flat=False):
    """Patches of 1 x side x side, positions, one attention, the mean; or, flat, a layer over all patches."""
    r, n = random.Random(seed), (side // patch) ** 2
    rows = n * width if flat else width
    nodes = [node("Conv", ["x", "patch"], ["grid"], attributes=[("strides", (patch, patch))]),
             node("Reshape", ["grid", "shape"], ["columns"]),
             node("Transpose", ["columns"], ["tokens"], attributes=[("perm", (0, 2, 1))]),
             node("Add", ["tokens", "position"], ["placed"]),
             node("Transpose", ["placed"], ["turned"], attributes=[("perm", (0, 2, 1))]),
             node("MatMul", ["placed", "turned"], ["scores"]),
             node("Softmax", ["scores"], ["shares"], attributes=[("axis", 2)]),
             node("MatMul", ["shares", "placed"], ["seen"]),
             node("Add", ["placed", "seen"], ["sum"]),
             node("LayerNormalization", ["sum", "scale", "bias"], ["normal"]),
             node("Flatten", ["normal"], ["all"], attributes=[("axis", 1)]) if flat else
             node("ReduceMean", ["normal"], ["all"], attributes=[("axes", (1,)), ("keepdims", 0)]),
             node("Gemm", ["all", "head", "head_bias"], ["y"], attributes=[("transB", 1)])]
    tensors = [tensor("patch", (width, 1, patch, patch), uniform(r, width * patch ** 2, patch ** 2)),
               integers("shape", (0, width, n)), tensor("position", (1, n, width), uniform(r, n * width, 1)),
               tensor("scale", (width,), [1.0] * width), tensor("bias", (width,), [0.0] * width),
               tensor("head", (classes, rows), uniform(r, classes * rows, rows)),
               tensor("head_bias", (classes,), uniform(r, classes, rows))]
    return model(nodes, tensors, [value("x", (1, side, side))], [value("y", (classes,))])
