/* Forms of LSTM, GRU and RNN: PyTorch's own kernels, called by short functions that a
 * model with such layers begins with. ONNX stacks the directions and orders the gates
 * its own way; the functions only move numbers, so they change no bit.
 *
 *   ONNX     x [S,N,I], w [D,G*H,I], r [D,G*H,H], b [D,2*G*H], h [D,N,H] -> y [S,D,N,H]
 *   PyTorch  per direction G*H rows of w, r and two biases; y [S,N,D*H]
 *
 * Sequences of unequal length are packed as in PyTorch, so that the products are those
 * of a module that packs them. */
#include <string.h>

#include "emit/emit_ops.h"

static const char helpers[] =
    "def recurrent(run, gates, x, w, r, b, states, training, reverse=False,\n"
    "              batch_first=False, lengths=None):\n"
    "    \"\"\"One recurrent layer; gates: where PyTorch's gates stand in w and "
    "r.\"\"\"\n"
    "    if batch_first:\n"
    "        x = x.transpose(0, 1)\n"
    "        states = [s if s is None else s.transpose(0, 1) for s in states]\n"
    "    if reverse:\n"
    "        x = turned(x, lengths)\n"
    "    if lengths is not None:\n"
    "        run = packed(run, lengths)\n"
    "    weights = []\n"
    "    for d in range(w.shape[0]):\n"
    "        parts = [w[d], r[d]] + ([] if b is None else list(b[d].chunk(2)))\n"
    "        for part in parts:\n"
    "            part = part.chunk(len(gates))\n"
    "            weights.append(torch.cat([part[i] for i in gates]))\n"
    "    zeros = x.new_zeros(w.shape[0], x.shape[1], r.shape[2])\n"
    "    states = tuple(zeros if s is None else s.contiguous() for s in states)\n"
    "    y, *last = run(x, states if len(states) > 1 else states[0], weights,\n"
    "                   b is not None, 1, 0.0, training, w.shape[0] == 2, False)\n"
    "    if reverse:\n"
    "        y = turned(y, lengths)\n"
    "    y = y.reshape(y.shape[0], y.shape[1], w.shape[0], -1).permute(0, 2, 1, 3)\n"
    "    if batch_first:\n"
    "        return (y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in last))\n"
    "    return (y, *last)\n"
    "\n"
    "\n"
    "def turned(x, lengths):\n"
    "    \"\"\"[S,N,H] from each sequence's last step to its first.\"\"\"\n"
    "    if lengths is None:\n"
    "        return x.flip(0)\n"
    "    t = torch.arange(x.shape[0], device=x.device).unsqueeze(1)\n"
    "    n = torch.arange(x.shape[1], device=x.device)\n"
    "    return x[torch.where(t < lengths, lengths - 1 - t, t), n]\n"
    "\n"
    "\n"
    "def lstm(x, w, r, b, h, c, training, **how):\n"
    "    return recurrent(torch._VF.lstm, (0, 2, 3, 1), x, w, r, b, (h, c), training,\n"
    "                     **how)\n"
    "\n"
    "\n"
    "def gru(x, w, r, b, h, training, **how):\n"
    "    return recurrent(torch._VF.gru, (1, 0, 2), x, w, r, b, (h,), training, "
    "**how)\n"
    "\n"
    "\n"
    "def rnn(run, x, w, r, b, h, training, **how):\n"
    "    return recurrent(run, (0,), x, w, r, b, (h,), training, **how)\n"
    "\n"
    "\n";

/* Behind them where some layer has lengths: found when it runs. */
static const char unequal[] =
    "def packed(run, lengths):\n"
    "    \"\"\"run over sequences of unequal length, as a module runs over a "
    "PackedSequence.\"\"\"\n"
    "    def over(x, states, weights, bias, layers, dropout, training, both, _):\n"
    "        x, total = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu().long(),\n"
    "                                                     enforce_sorted=False), "
    "len(x)\n"
    "        if isinstance(states, tuple):\n"
    "            states = tuple(s.index_select(1, x.sorted_indices) for s in states)\n"
    "        else:\n"
    "            states = states.index_select(1, x.sorted_indices)\n"
    "        y, *last = run(x.data, x.batch_sizes, states, weights, bias, layers, "
    "dropout,\n"
    "                       training, both)\n"
    "        y, _ = nn.utils.rnn.pad_packed_sequence(\n"
    "            nn.utils.rnn.PackedSequence(y, *x[1:]), total_length=total)\n"
    "        return (y, *(s.index_select(1, x.unsorted_indices) for s in last))\n"
    "    return over\n"
    "\n"
    "\n";

/* What PyTorch has not. */
static const char by_step[] =
    "def by_step(cell, x, w, b, states, size, reverse=False, batch_first=False, "
    "lengths=None):\n"
    "    \"\"\"A recurrent layer that PyTorch has not. cell: direction, gates of x, "
    "bias of the state,\n"
    "    states -> the next ones, the first of which is its output.\"\"\"\n"
    "    if batch_first:\n"
    "        x = x.transpose(0, 1)\n"
    "        states = [s if s is None else s.transpose(0, 1) for s in states]\n"
    "    y, last = [], []\n"
    "    for d in range(w.shape[0]):\n"
    "        turns = reverse or d == 1\n"
    "        now = [x.new_zeros(x.shape[1], size) if s is None else s[d] for s in "
    "states]\n"
    "        bias, hidden = (None, None) if b is None else b[d].chunk(2)\n"
    "        steps = []\n"
    "        for gates in F.linear(x.flip(0) if turns else x, w[d], bias):\n"
    "            new = cell(d, gates, hidden, *now)\n"
    "            if lengths is not None:\n"
    "                t = len(x) - 1 - len(steps) if turns else len(steps)\n"
    "                there = (t < lengths).unsqueeze(1)\n"
    "                new = [torch.where(there, *pair) for pair in zip(new, now)]\n"
    "            now = new\n"
    "            steps.append(now[0])\n"
    "        y.append(torch.stack(steps[::-1] if turns else steps))\n"
    "        last.append(now)\n"
    "    y, last = torch.stack(y, 1), [torch.stack(s) for s in zip(*last)]\n"
    "    if lengths is not None:\n"
    "        t = torch.arange(len(y), device=y.device).unsqueeze(1)\n"
    "        y = y.masked_fill((t >= lengths).view(len(y), 1, -1, 1), 0.0)\n"
    "    if batch_first:\n"
    "        return (y.permute(2, 0, 1, 3), *(s.transpose(0, 1) for s in last))\n"
    "    return (y, *last)\n"
    "\n"
    "\n";

static const char reset_first[] =
    "def gru_reset_first(x, w, r, b, h, **how):\n"
    "    \"\"\"ONNX's GRU by default: the state is reset ahead of its product, which "
    "PyTorch's is not.\"\"\"\n"
    "    z_r = 2 * r.shape[2]\n"
    "\n"
    "    def cell(d, gates, bias, h):\n"
    "        ends = (None, None) if bias is None else (bias[:z_r], bias[z_r:])\n"
    "        z, reset = torch.sigmoid(\n"
    "            gates[:, :z_r] + F.linear(h, r[d, :z_r], ends[0])).chunk(2, 1)\n"
    "        new = torch.tanh(gates[:, z_r:] + F.linear(reset * h, r[d, z_r:], "
    "ends[1]))\n"
    "        return [(1 - z) * new + z * h]\n"
    "    return by_step(cell, x, w, b, [h], r.shape[2], **how)\n"
    "\n"
    "\n";

static const char peepholes[] =
    "def lstm_peepholes(x, w, r, b, h, c, p, **how):\n"
    "    \"\"\"An LSTM whose gates see the cells, which PyTorch has not.\"\"\"\n"
    "    def cell(d, gates, bias, h, c):\n"
    "        i, o, f, g = (gates + F.linear(h, r[d], bias)).chunk(4, 1)\n"
    "        seen_by_i, seen_by_o, seen_by_f = p[d].chunk(3)\n"
    "        c = torch.sigmoid(f + seen_by_f * c) * c + torch.sigmoid(\n"
    "            i + seen_by_i * c) * torch.tanh(g)\n"
    "        return [torch.sigmoid(o + seen_by_o * c) * torch.tanh(c), c]\n"
    "    return by_step(cell, x, w, b, [h, c], r.shape[2], **how)\n"
    "\n"
    "\n";

static bool resets_first(const amg_node *n)
{
    return n->op == AMG_OP_GRU && amg_attr_int(n, "linear_before_reset", 0) == 0;
}

static bool has_input(const amg_node *n, int i)
{
    return i < n->num_inputs && n->inputs[i] != AMG_NO_VALUE;
}

/* An LSTM's input 7. */
static bool has_peepholes(const amg_node *n)
{
    return n->op == AMG_OP_LSTM && has_input(n, 7);
}

void amg_emit_recurrent_helpers(const amg_graph *g, amg_text *out)
{
    bool resets = false, peeps = false, torchs = false, lengths = false;
    for (int i = 0; i < g->num_nodes; i++) {
        const amg_node *n = &g->nodes[i];
        if (n->op != AMG_OP_LSTM && n->op != AMG_OP_GRU && n->op != AMG_OP_RNN)
            continue;
        const bool own = resets_first(n) || has_peepholes(n);
        resets = resets || resets_first(n);
        peeps = peeps || has_peepholes(n);
        torchs = torchs || !own;
        lengths = lengths || (!own && has_input(n, 4));
    }
    if (torchs) amg_text_add(out, "%s", helpers);
    if (lengths) amg_text_add(out, "%s", unequal);
    if (resets || peeps) amg_text_add(out, "%s", by_step);
    if (resets) amg_text_add(out, "%s", reset_first);
    if (peeps) amg_text_add(out, "%s", peepholes);
}

static amg_status check_form(amg_emit *e, const amg_emit_step *s)
{
    const amg_node *n = s->node;
    if (amg_attr_find(n, "clip"))
        return amg_emit_fail(e, s, "has clip, expected PyTorch's own form");
    return AMG_OK;
}

/* How the layer walks; fewer results than the function gives: the ones that the graph
 * names. */
static void add_results(amg_emit *e, const amg_emit_step *s, int all)
{
    const bool reverse =
        strcmp(amg_attr_string(s->node, "direction", "forward"), "reverse") == 0;
    amg_text_add(&e->out, "%s%s", reverse ? ", reverse=True" : "",
                 amg_attr_int(s->node, "layout", 0) ? ", batch_first=True" : "");
    amg_emit_format(e, s, amg_emit_in(e, s, 4) ? ", lengths=%4)" : ")");
    if (s->node->num_outputs == 1)
        amg_text_add(&e->out, "[0]");
    else if (s->node->num_outputs < all)
        amg_text_add(&e->out, "[:%d]", s->node->num_outputs);
}

amg_status amg_emit_lstm(amg_emit *e, const amg_emit_step *s)
{
    amg_status st = check_form(e, s);
    if (st) return st;
    amg_emit_format(e, s,
                    has_peepholes(s->node)
                        ? "lstm_peepholes(%0, %1, %2, %3, %5, %6, %7"
                        : "lstm(%0, %1, %2, %3, %5, %6, self.training");
    add_results(e, s, 3);
    return AMG_OK;
}

amg_status amg_emit_gru(amg_emit *e, const amg_emit_step *s)
{
    amg_status st = check_form(e, s);
    if (st) return st;
    amg_emit_format(e, s,
                    resets_first(s->node) ? "gru_reset_first(%0, %1, %2, %3, %5"
                                          : "gru(%0, %1, %2, %3, %5, self.training");
    add_results(e, s, 2);
    return AMG_OK;
}

amg_status amg_emit_rnn(amg_emit *e, const amg_emit_step *s)
{
    amg_status st = check_form(e, s);
    if (st) return st;
    const bool relu = amg_attr_find(s->node, "activations") != NULL;
    amg_text_add(&e->out, "rnn(torch._VF.rnn_%s, ", relu ? "relu" : "tanh");
    amg_emit_format(e, s, "%0, %1, %2, %3, %5, self.training");
    add_results(e, s, 2);
    return AMG_OK;
}
