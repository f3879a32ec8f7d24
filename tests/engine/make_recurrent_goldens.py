"""Writes tests/engine/data/recurrent.safetensors: LSTM, GRU and RNN as PyTorch computes them, for
test_kernels_recurrent.c. Run it from the repository's root with PyTorch 2.13 and onnx:

    python tests/engine/make_recurrent_goldens.py
"""
import torch

from goldens import Goldens

G = Goldens(20261125)
# PyTorch's kernel, and where its gates stand in ONNX's order.
KINDS = {"LSTM": (torch._VF.lstm, (0, 2, 3, 1)), "Peepholes": (None, (0, 1, 2, 3)), "GRU": (torch._VF.gru, (1, 0, 2)),
         "Reset": (None, (0, 1, 2)), "RNN": (torch._VF.rnn_tanh, (0,)), "Relu": (torch._VF.rnn_relu, (0,))}


def reset_first(v, state, weights, bias):
    """A GRU that resets the state ahead of its product, as ONNX defines it; weights as in ONNX. -> y, ends."""
    ways, size = [], state.shape[-1]
    for d, h in enumerate(state):
        w, r, *b = weights[d * (4 if bias else 2):][:4 if bias else 2]
        wb, rb = b or (v.new_zeros(3 * size), v.new_zeros(3 * size))
        steps = []
        for x in v.flip(0) if d else v:
            gates = x @ w.T + wb
            z, reset = torch.sigmoid(gates[:, :2 * size] + h @ r[:2 * size].T + rb[:2 * size]).split(size, 1)
            n = torch.tanh(gates[:, 2 * size:] + (reset * h) @ r[2 * size:].T + rb[2 * size:])
            h = (1 - z) * n + z * h
            steps.append(h)
        ways.append((torch.stack(steps[::-1] if d else steps), h))
    return torch.cat([y for y, _ in ways], -1), torch.stack([h for _, h in ways])


def peepholes(v, states, weights, bias, p):
    """An LSTM whose gates see the cells, as ONNX defines it, likewise; p: [ways, 3 * size]. -> y, ends."""
    ways, size = [], states[0].shape[-1]
    for d, (h, c) in enumerate(zip(*states)):
        w, r, *b = weights[d * (4 if bias else 2):][:4 if bias else 2]
        pi, po, pf = p[d].split(size)
        steps = []
        for x in v.flip(0) if d else v:
            i, o, f, g = (x @ w.T + h @ r.T + sum(b)).split(size, 1)
            i, f = torch.sigmoid(i + pi * c), torch.sigmoid(f + pf * c)
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o + po * c) * torch.tanh(c)
            steps.append(h)
        ways.append((torch.stack(steps[::-1] if d else steps), h, c))
    y, *ends = zip(*ways)
    return torch.cat(y, -1), *(torch.stack(e) for e in ends)


def recurrent(name, kind, steps=5, n=3, inputs=4, hidden=6, *, direction="forward", layout=0,
              bias=True, first=(), outputs=("Y",), last=None, lengths=None, **attrs):
    """first: which initial states are given ("h", "c"); outputs: those that the node has, all of
    which are summed unless last says which is the result; lengths: of the sequences, each of which
    PyTorch then computes alone."""
    run, gates = KINDS[kind]
    ways, rows = 1 + (direction == "bidirectional"), len(gates) * hidden
    state = (n, ways, hidden) if layout else (ways, n, hidden)
    params = {"w": torch.randn(ways, rows, inputs) / 2, "r": torch.randn(ways, rows, hidden) / 2}
    if bias:
        params["b"] = torch.randn(ways, 2 * rows) / 2
    params.update({s: torch.randn(state) for s in first})
    if kind == "Peepholes":
        params["p"] = torch.randn(ways, 3 * hidden)
    names = ["v", "w", "r", "b" if bias else "", "lengths" if lengths else "",
             *(s if s in first else "" for s in "hc"), "p" if kind == "Peepholes" else ""]
    results = dict(zip(outputs, ["o0", "o1", "o2"]))
    attrs.update(direction=direction, hidden_size=hidden)
    if layout:
        attrs["layout"] = 1
    if kind == "GRU":
        attrs["linear_before_reset"] = 1
    op = {"Relu": "RNN", "Reset": "GRU", "Peepholes": "LSTM"}.get(kind, kind)
    if kind == "Relu":
        attrs["activations"] = ["Relu"] * ways
    nodes = [(op, ",".join(names).rstrip(","), ",".join(results.values()), attrs)]
    picked = [last] if last else list(outputs)
    total = results[picked[0]]
    for i, output in enumerate(picked[1:]):
        nodes.append(("Add", f"{total},{results[output]}", f"s{i}", {}))
        total = f"s{i}"
    nodes.append(("Neg", total, "y", {}))

    def fn(v, p):
        def put(s):
            s = p[s] if s in first else torch.zeros(state, dtype=torch.float64)
            return s.transpose(0, 1) if layout else s
        v = v.transpose(0, 1) if layout else v
        weights = []
        for d in range(ways):
            parts = [p["w"][d], p["r"][d], *(p["b"][d].chunk(2) if bias else ())]
            weights += [torch.cat([part.chunk(len(gates))[i] for i in gates]) for part in parts]
        states = [put("h"), put("c")] if op == "LSTM" else [put("h")]

        def over(v, states):
            v = v.flip(0) if direction == "reverse" else v
            states = states if op == "LSTM" else states[0]
            if kind == "Reset":
                y, *ends = reset_first(v, states, weights, bias)
            elif kind == "Peepholes":
                y, *ends = peepholes(v, states, weights, bias, p["p"])
            else:
                y, *ends = run(v.contiguous(), states, weights, bias, 1, 0.0, True, ways == 2, False)
            return [y.flip(0) if direction == "reverse" else y, *ends]
        if lengths:
            alone = [over(v[:s, i:i + 1], [h[:, i:i + 1].contiguous() for h in states]) for i, s in enumerate(lengths)]
            for one in alone:
                one[0] = torch.nn.functional.pad(one[0], (0, 0, 0, 0, 0, steps - len(one[0])))
            y, *ends = [torch.cat(parts, 1) for parts in zip(*alone)]
        else:
            y, *ends = over(v, states)
        y = y.unflatten(-1, (ways, -1)).movedim(2, 1)
        if layout:
            y, ends = y.permute(2, 0, 1, 3), [e.transpose(0, 1) for e in ends]
        values = dict(zip(("Y", "Y_h", "Y_c"), (y, *ends)))
        return -sum(values[output] for output in picked)
    x = (n, steps, inputs) if layout else (steps, n, inputs)
    constants = {"lengths": torch.tensor(lengths, dtype=torch.int32)} if lengths else {}
    G.case(name, x, params, nodes, fn, constants=constants, smooth=kind != "Relu")


BOTH, BACK = {"direction": "bidirectional"}, {"direction": "reverse"}
recurrent("lstm_first", "LSTM", first="hc")
recurrent("lstm_first_both", "LSTM", first="hc", outputs=("Y", "Y_h", "Y_c"), **BOTH)
recurrent("lstm_first_h", "LSTM", first="h", bias=False)
recurrent("lstm_first_layout", "LSTM", first="hc", layout=1, outputs=("Y", "Y_h", "Y_c"),
          last="Y_c", **BOTH)
recurrent("lstm_reverse", "LSTM", first="hc", **BACK)
recurrent("lstm_one_step", "LSTM", steps=1, first="hc")
recurrent("gru_first", "GRU", first="h")
recurrent("gru_first_both", "GRU", first="h", outputs=("Y", "Y_h"), **BOTH)
recurrent("gru_first_layout", "GRU", first="h", layout=1, outputs=("Y", "Y_h"), last="Y_h", **BOTH)
recurrent("gru_reverse", "GRU", **BACK)
recurrent("rnn", "RNN")
recurrent("rnn_bare", "RNN", bias=False)
recurrent("rnn_first_both", "RNN", first="h", outputs=("Y", "Y_h"), **BOTH)
recurrent("rnn_layout", "RNN", first="h", layout=1, **BOTH)
recurrent("rnn_reverse", "RNN", outputs=("Y", "Y_h"), last="Y_h", **BACK)
recurrent("rnn_relu", "Relu", first="h", **BOTH)
recurrent("gru_reset", "Reset")
recurrent("gru_reset_first", "Reset", first="h", outputs=("Y", "Y_h"), bias=False)
recurrent("gru_reset_both", "Reset", first="h", outputs=("Y", "Y_h"), **BOTH)
recurrent("gru_reset_layout", "Reset", first="h", layout=1, outputs=("Y", "Y_h"), last="Y_h", **BOTH)
recurrent("gru_reset_reverse", "Reset", outputs=("Y", "Y_h"), last="Y_h", **BACK)
UNEQUAL = {"lengths": (3, 5, 1)}
recurrent("lstm_lengths", "LSTM", first="hc", **UNEQUAL)
recurrent("lstm_lengths_zeros", "LSTM", outputs=("Y", "Y_h", "Y_c"), last="Y_c", **UNEQUAL)
recurrent("lstm_lengths_both", "LSTM", first="hc", outputs=("Y", "Y_h", "Y_c"), **BOTH, **UNEQUAL)
recurrent("lstm_lengths_layout", "LSTM", first="hc", layout=1, outputs=("Y", "Y_h"), last="Y", **BOTH, **UNEQUAL)
recurrent("lstm_lengths_reverse", "LSTM", outputs=("Y", "Y_h"), **BACK, **UNEQUAL)
recurrent("gru_lengths_both", "GRU", first="h", outputs=("Y", "Y_h"), **BOTH, **UNEQUAL)
recurrent("gru_lengths_reverse", "GRU", first="h", outputs=("Y", "Y_h"), last="Y_h", bias=False, **BACK, **UNEQUAL)
recurrent("rnn_lengths_both", "RNN", first="h", outputs=("Y", "Y_h"), **BOTH, **UNEQUAL)
recurrent("rnn_relu_lengths", "Relu", outputs=("Y", "Y_h"), **UNEQUAL)
recurrent("gru_reset_lengths_both", "Reset", first="h", outputs=("Y", "Y_h"), **BOTH, **UNEQUAL)
recurrent("gru_reset_lengths", "Reset", layout=1, bias=False, **UNEQUAL)
recurrent("lstm_peepholes", "Peepholes", outputs=("Y", "Y_h", "Y_c"))
recurrent("lstm_peepholes_both", "Peepholes", first="hc", outputs=("Y", "Y_h", "Y_c"), bias=False, **BOTH)
recurrent("lstm_peepholes_reverse", "Peepholes", outputs=("Y", "Y_h"), **BACK)
recurrent("lstm_peepholes_layout", "Peepholes", first="c", layout=1, outputs=("Y", "Y_h", "Y_c"), last="Y_c")
recurrent("lstm_peepholes_lengths", "Peepholes", first="hc", **BOTH, **UNEQUAL)

G.save("tests/engine/data/recurrent.safetensors")
