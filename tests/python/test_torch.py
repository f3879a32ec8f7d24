"""nn.Module in, state_dict out: what goes through, what is refused and how, and that the module stays as it is."""
import json
import os
import tempfile
import unittest
import warnings
from unittest import mock

import support

torch = support.require("torch")

import amalgam  # noqa: E402
import numpy as np  # noqa: E402
from amalgam import _export  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import Dataset, Subset, TensorDataset, random_split  # noqa: E402


class Net(nn.Module):
    """Batch norm, dropout, a buffer that no graph needs, a parameter that nothing uses, tied names."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(4 * 16, 3)
        self.unused = nn.Linear(2, 2)
        self.same = self.head
        self.register_buffer("palette", torch.arange(6, dtype=torch.int16).reshape(2, 3))

    def forward(self, x):
        return self.head(self.drop(self.body(x).flatten(1)))


def images(count, seed=0, classes=3):
    r = np.random.RandomState(seed)
    return (torch.from_numpy(r.randint(0, 256, (count, 1, 6, 6)).astype(np.uint8)),
            torch.from_numpy(np.arange(count) % classes))


def flat(count, width=8, seed=0):
    return np.random.RandomState(seed).rand(count, width).astype(np.float32)


class Branch(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.fc = nn.Linear(8, 4)
        self.compute = forward

    def forward(self, x):
        return self.compute(self.fc(x))


class Table(nn.Embedding):
    def forward(self, x):
        return torch.embedding(self.weight, x, 0)


class Rounded(torch.autograd.Function):
    """A gradient as if nothing was rounded."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(4 * x) / 4

    @staticmethod
    def backward(ctx, g):
        return g


class Doubled(torch.autograd.Function):
    """With the gradient that it has."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        return 2 * g


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        with torch.no_grad():
            self.mean += 0.1 * (x.mean(0) - self.mean)
        return x - self.mean


def inside(forward):
    """A module whose submodule "blocks.1" is computed by forward."""
    return nn.Sequential(nn.Linear(8, 8), nn.Sequential(nn.ReLU(), Branch(forward)))


class Through(support.Case):
    def cycle(self, model, train, covers, **options):
        """Job, native training, extraction; (the state_dict, steps)."""
        settings = options.pop("train_options", {"batch": 16, "lr": 0.05, "progress": False})
        job = amalgam.obfuscate(model, train, decoys_from=covers, key="job.key", out="job", progress=False,
                                seed_hex=support.SEED, **options)
        trained = amalgam.train(job, **settings)
        return amalgam.extract("job.key", trained.weights), trained.steps

    def test_the_row_of_a_padding_idx_does_not_train(self):
        r = np.random.RandomState(0)
        tokens, others = r.randint(0, 9, (64, 5)), r.randint(0, 9, (80, 5))
        table = nn.Embedding(9, 4, padding_idx=-8)  # the second
        model = nn.Sequential(table, nn.Flatten(), nn.Linear(20, 3))
        before = table.weight.detach().clone()
        after = self.cycle(model, (tokens, np.arange(64) % 3), (others, np.arange(80) % 3))[0]["0.weight"]
        self.assertEqual([i for i in range(9) if torch.equal(before[i], after[i])], [1])

    def test_the_state_dict_comes_back_whole_and_in_order(self):
        torch.manual_seed(1)
        model = Net()
        before = {n: t.clone() for n, t in model.state_dict().items()}
        state, steps = self.cycle(model, TensorDataset(*images(64)), TensorDataset(*images(80, 1)),
                                  preprocess=([0.5], [0.25]))
        self.assertEqual(list(state), list(before))
        self.assertEqual({n: (t.dtype, t.shape) for n, t in state.items()},
                         {n: (t.dtype, t.shape) for n, t in before.items()})
        for name in ("unused.weight", "unused.bias", "palette"):
            self.assertTrue(torch.equal(state[name], before[name]), name)
        for name in ("body.0.weight", "body.1.weight", "body.1.running_var", "head.weight"):
            self.assertFalse(torch.equal(state[name], before[name]), name)
        self.assertTrue(torch.equal(state["same.weight"], state["head.weight"]))
        self.assertEqual(int(state["body.1.num_batches_tracked"]), steps)
        model.load_state_dict(state, strict=True)

    def test_the_file_that_is_written_computes_what_the_loaded_module_computes(self):
        from amalgam import _library as lib
        model = Net()
        self.cycle(model, TensorDataset(*images(64)), TensorDataset(*images(80, 1)))
        model.load_state_dict(amalgam.extract("job.key", "job/out/weights.safetensors", onnx="trained.onnx"))
        x = images(8, 5)[0].float() / 255
        with torch.no_grad():
            expected = model.eval()(x).numpy()
        found = lib.run("trained.onnx", "F32", x.numpy())
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_extract_with_the_module_checks_it(self):
        model = Net()
        state, _ = self.cycle(model, TensorDataset(*images(64)), TensorDataset(*images(80, 1)))
        again = amalgam.extract("job.key", "job/out/weights.safetensors", model)
        self.assertTrue(all(torch.equal(again[n], state[n]) for n in state))
        other = Net()
        other.head = nn.Linear(64, 4)
        with self.refused(amalgam.AmalgamError, "head.weight", "MISMATCH", where="Net"):
            amalgam.extract("job.key", "job/out/weights.safetensors", other)
        with self.refused(amalgam.AmalgamError, "this one does not", "MISMATCH"):
            amalgam.extract("job.key", "job/out/weights.safetensors", nn.Linear(2, 2))

    def test_arrays_subsets_and_datasets_give_the_same_job(self):
        class Plain(Dataset):
            def __init__(self, x, y):
                self.x, self.y = x, y

            def __len__(self):
                return len(self.x)

            def __getitem__(self, i):
                return self.x[i], int(self.y[i])
        torch.manual_seed(1)
        model, (x, y), pool = Net(), images(64), images(80, 1)
        kinds = {"tensors": TensorDataset(x, y), "arrays": (x.numpy(), y.numpy()), "items": Plain(x, y),
                 "subset": Subset(TensorDataset(*(torch.flip(t, [0]) for t in (x, y))), list(range(63, -1, -1)))}
        jobs = []
        for name, data in kinds.items():
            amalgam.obfuscate(model, data, decoys_from=pool, key=f"{name}.key", out=name, progress=False,
                              seed_hex=support.SEED)
            with open(f"{name}/job.json", "rb") as f:  # holds the hash of every other file
                jobs.append(f.read())
        self.assertEqual(len(set(jobs)), 1)

    def test_regression_and_reconstruction_are_told_from_the_targets(self):
        x = flat(64)
        job = amalgam.obfuscate(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)), (x, x[:, :2]),
                                decoys_from=(flat(80, seed=1), flat(80, 2, seed=2)), key="a.key", out="a",
                                progress=False)
        self.assertEqual(job.decoys, 1)
        amalgam.obfuscate(nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 8)), x,
                          decoys_from=flat(80, seed=1), key="b.key", out="b", progress=False)
        for name, task in (("a", "regression"), ("b", "reconstruction")):
            with open(f"{name}/job.json", encoding="utf-8") as f:
                self.assertEqual(json.load(f)["task"], task)

    def test_a_module_stays_as_it_is(self):
        model = Net()
        model.body.eval()
        model(images(4)[0].float()).sum().backward()
        flags = [m.training for m in model.modules()]
        tensors = {n: t.clone() for n, t in model.state_dict().items()}
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        torch.manual_seed(7)
        np.random.seed(7)
        generators = torch.get_rng_state(), np.random.get_state()[1].copy()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # exporters' warnings are not the user's
            amalgam.obfuscate(model, images(64), decoys_from=images(80, 1), key="job.key", out="job", progress=False)
        self.assertEqual([m.training for m in model.modules()], flags)
        self.assertTrue(all(torch.equal(t, tensors[n]) for n, t in model.state_dict().items()))
        self.assertEqual({n for n, p in model.named_parameters() if p.grad is not None}, set(grads))
        self.assertTrue(all(torch.equal(dict(model.named_parameters())[n].grad, g) for n, g in grads.items()))
        self.assertTrue(torch.equal(torch.get_rng_state(), generators[0]))
        self.assertTrue((np.random.get_state()[1] == generators[1]).all())
        self.assertFalse(any(m._forward_hooks or m._forward_pre_hooks for m in model.modules()))

    def test_a_buffer_that_is_added_stays_what_it_is(self):
        class Position(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.head = nn.Linear(1, 4), nn.Linear(32, 4)
                self.scale = nn.Parameter(torch.ones(4))
                self.register_buffer("place", torch.randn(1, 20, 4))
                self.constant = torch.arange(4.0)

            def forward(self, x):
                x = self.fc(x.unsqueeze(2)) * self.scale
                return self.head((self.place[:, :x.shape[1]] + x + self.constant).flatten(1))
        model = Position()
        state, _ = self.cycle(model, (flat(64), np.arange(64) % 4), (flat(80, seed=1), np.arange(80) % 4))
        self.assertTrue(torch.equal(state["place"], model.place))
        for name in ("fc.weight", "scale", "head.bias"):
            self.assertFalse(torch.equal(state[name], model.state_dict()[name]), name)
        model.load_state_dict(state, strict=True)

    def test_buffers_stay_and_single_numbers_train(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.mix, self.norm = nn.Linear(8, 4), nn.Linear(4, 4), nn.LayerNorm(4, elementwise_affine=False)
                self.register_buffer("place", torch.rand(4))
                self.register_buffer("table", torch.rand(4, 4))
                self.temperature, self.shift = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.zeros(4))
                self.gate = nn.Parameter(torch.tensor([0.1]))

            def forward(self, x):
                x = self.norm(self.fc(x) * self.place) @ self.table
                x = x + torch.sigmoid(self.gate) * self.mix(x)
                return (x - self.shift) / self.temperature
        model = Scaled()
        state, _ = self.cycle(model, (flat(64), np.arange(64) % 4), (flat(80, seed=1), np.arange(80) % 4))
        for name in ("place", "table"):
            self.assertTrue(torch.equal(state[name], model.state_dict()[name]), name)
        for name in ("fc.weight", "temperature", "shift", "gate"):
            self.assertFalse(torch.equal(state[name], model.state_dict()[name]), name)

    def test_rows_of_a_table_that_nothing_reads_stay_what_they_are(self):
        class Placed(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.place, self.head = nn.Linear(1, 4), nn.Embedding(20, 4), nn.Linear(32, 4)
                self.shift = nn.Parameter(torch.randn(1, 12, 4))

            def forward(self, x):
                x = self.fc(x.unsqueeze(2)) + self.place(torch.arange(x.shape[1])) + self.shift[:, :x.shape[1]]
                return self.head(torch.tanh(x).flatten(1))
        model = Placed()
        before = {n: t.clone() for n, t in model.state_dict().items()}
        job = amalgam.obfuscate(model, (flat(64), np.arange(64) % 4), decoys_from=(flat(80, seed=1), np.arange(80) % 4),
                                key="job.key", out="job", progress=False)
        self.assertIn("note: nothing reads 64 values of the module's parameters", repr(job))
        amalgam.train(job, batch=16, lr=0.05, progress=False)
        state = amalgam.extract("job.key", job.weights)
        for name, rows in (("place.weight", 0), ("shift", 1)):
            for part, same in ((slice(8), False), (slice(8, None), True)):
                found, old = (t[name].movedim(rows, 0)[part] for t in (state, before))
                self.assertEqual([torch.equal(a, b) for a, b in zip(found, old)], [same] * len(old), name)

    def test_nothing_of_the_model_stays_in_the_temporary_folder(self):
        os.mkdir("tmp")
        self.addCleanup(setattr, tempfile, "tempdir", tempfile.tempdir)
        tempfile.tempdir = os.path.abspath("tmp")
        amalgam.obfuscate(Net(), images(64), decoys_from=images(80, 1), key="job.key", out="job", progress=False)
        self.assertEqual(os.listdir("tmp"), [])


    def test_dropout_of_whole_channels(self):
        net = Net()
        net.drop = nn.Sequential(nn.Unflatten(1, (4, 16)), nn.Dropout1d(0.25), nn.Flatten())
        with mock.patch.object(_export, "_export_dynamo", side_effect=AssertionError("is not asked")):
            self.cycle(net, TensorDataset(*images(64)), TensorDataset(*images(80, 1)))
        with open("job/model.py") as f:
            self.assertEqual(f.read().count('4, 1), 0.25, "bernoulli", "mask") if self.training'), 2)
        with self.assertRaisesRegex(Exception, "feature_dropout"):  # PyTorch's exporter is what it was
            with _export._quiet():
                torch.onnx.export(net, (torch.zeros(2, 1, 6, 6),), "net.onnx", dynamo=False,
                                  training=torch.onnx.TrainingMode.TRAINING)


class Refusals(support.Case):
    def refuse(self, model, what, where, code="UNSUPPORTED", hint=None, data=None):
        train = data if data is not None else (flat(64), np.arange(64) % 4)
        with self.refused(amalgam.ExportError, what, code, where, hint):
            amalgam.obfuscate(model, train, decoys_from=(flat(80, seed=1), np.arange(80) % 4), key="job.key",
                              out="job", progress=False)

    def test_data_that_decide_what_is_computed(self):
        def branch(x):
            if x.sum() > 0:
                x = x * 2
            return x
        for forward in (branch, lambda x: x * x.mean().item(), lambda x: x[:, : x.abs().max().long().item() + 1],
                        lambda x: x if bool((x > 0).any()) else -x,
                        lambda x: x[x[:, 0] > -1e9]):
            with self.subTest(forward=forward):
                self.refuse(inside(forward), "the data decide what is computed .*test_torch.py:[0-9]+",
                            '^submodule "1.1"$', hint="torch.where")

    def test_data_that_decide_unless_traced(self):
        """Hugging Face's models skip checks of padding and of masks then."""
        def padded(x):
            if not torch.jit.is_tracing() and bool((x == 0).any()):
                x = x * 1
            return x
        amalgam.obfuscate(inside(padded), (flat(64), np.arange(64) % 4),
                          decoys_from=(flat(80, seed=1), np.arange(80) % 4), key="job.key", out="job", progress=False)

    def test_shapes_may_decide(self):
        def by_shape(x):
            return x * 2 if x.shape[1] > 3 else x
        amalgam.obfuscate(inside(by_shape), (flat(64), np.arange(64) % 4),
                          decoys_from=(flat(80, seed=1), np.arange(80) % 4), key="job.key", out="job", progress=False)

    def test_an_operator_out_of_the_table(self):
        self.refuse(inside(lambda x: torch.linalg.det(x.reshape(-1, 1, 2, 2))), "Det", r'submodule "1.1", node .*Det')

    def test_an_operator_that_no_exporter_knows(self):
        self.refuse(inside(torch.special.bessel_j0), "special_bessel_j0", 'submodule "1.1"')

    def test_a_forward_that_fails(self):
        self.refuse(nn.Sequential(nn.Linear(8, 4), nn.Linear(5, 4)), r"fails on a batch of \[2, 8\]", 'submodule "1"',
                    code="INVALID")

    def test_outputs_that_are_no_tensor_of_a_batch(self):
        self.refuse(inside(lambda x: "x"), "gives str, expected a tensor of float32", "the module")
        self.refuse(inside(lambda x: x.sum()), r"gives \[\] for a batch of 2", "the module")

    def test_gradients_that_are_not_those_of_what_is_computed(self):
        lines = "test_torch.py:[0-9]+"

        def without(x):
            with torch.no_grad():
                y = x * 2
            return x + y

        def hooked(x):
            x.register_hook(lambda g: -g)
            return x
        self.refuse(inside(without), "computes without gradients .*" + lines, '^submodule "1.1"$', hint="detach")
        self.refuse(inside(lambda x: x + x.data), r"\.data cuts .*" + lines, '^submodule "1.1"$', hint="detach")
        self.refuse(inside(hooked), "hook .*" + lines, '^submodule "1.1"$', hint="detach")
        self.refuse(inside(Rounded.apply), "RoundedBackward is not that of its forward", "the module", hint="detach")

    def test_gradients_that_are(self):
        def nearest(x):
            with torch.no_grad():
                place = (x * x).argmax(dim=1, keepdim=True)
            return x + x.gather(1, place)
        for place, forward in enumerate((nearest, Doubled.apply, lambda x: x + x.detach().square())):
            with self.subTest(forward=forward):
                amalgam.obfuscate(inside(forward), (flat(64), np.arange(64) % 4),
                                  decoys_from=(flat(80, seed=1), np.arange(80) % 4), key=f"{place}.key",
                                  out=f"job{place}", progress=False)

    def test_lookups_whose_gradient_a_graph_does_not_say(self):
        data = np.random.RandomState(0).randint(0, 9, (64, 5)), np.arange(64) % 3
        for what, table in {"scale_grad_by_freq": nn.Embedding(9, 4, scale_grad_by_freq=True),
                            "max_norm": nn.Embedding(9, 4, max_norm=1.0), "padding_idx": Table(9, 4)}.items():
            with self.subTest(what):
                self.refuse(nn.Sequential(table, nn.Flatten(), nn.Linear(20, 3)), f"embedding .*{what}",
                            'submodule "0"', data=data)

    def test_bags_of_embeddings(self):
        """Which obfuscate compares with the module's own outputs."""
        r = np.random.RandomState(0)
        for place, options in enumerate(({}, {"mode": "sum"}, {"mode": "max"}, {"padding_idx": 0},
                                         {"mode": "sum", "padding_idx": 0})):
            with self.subTest(**options):
                amalgam.obfuscate(nn.Sequential(nn.EmbeddingBag(9, 4, **options), nn.Linear(4, 3)),
                                  (r.randint(0, 9, (64, 5)), np.arange(64) % 3), key=f"{place}.key", out=f"job{place}",
                                  decoys_from=(r.randint(0, 9, (80, 5)), np.arange(80) % 3), progress=False)
        self.refuse(nn.Sequential(nn.EmbeddingBag(9, 4, mode="max", padding_idx=0), nn.Linear(4, 3)), "Loop|Sequence|embedding",
                    "", data=(r.randint(0, 9, (64, 5)), np.arange(64) % 3))

    def test_a_buffer_that_forward_changes(self):
        self.refuse(nn.Sequential(Counting(), nn.Linear(8, 4)), "is changed by forward", 'buffer "0.mean"')

    def test_parameters_that_would_not_be_what_they_were(self):
        self.refuse(nn.Linear(8, 4).double(), "float64", 'parameter "weight"')
        self.refuse(nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, momentum=None)), "momentum=None", 'submodule "1"')

    def test_frozen_parameters_stay_and_the_rest_trains(self):
        net = Net()
        net.body.requires_grad_(False)
        before = {k: t.clone() for k, t in net.state_dict().items()}
        made = amalgam.obfuscate(net, images(96), decoys_from=images(128, seed=1), freeze="head.bias", key="job.key",
                                 out="job", progress=False)
        with open("job/job.json") as f:
            self.assertEqual(len(json.load(f)["frozen"]), 2 * 4)  # conv, norm's two, head.bias; in two networks
        amalgam.train(made, batch=16, lr=0.1, progress=False)
        state = amalgam.extract("job.key", made.weights)
        for name in ("body.0.weight", "body.1.weight", "body.1.bias", "head.bias"):
            self.assertTrue(torch.equal(state[name], before[name]), name)
        for name in ("head.weight", "body.1.running_mean"):
            self.assertFalse(torch.equal(state[name], before[name]), name)

    def test_frozen_norms_may_keep_their_statistics(self):
        net = Net()
        net.body.requires_grad_(False)
        before = {k: t.clone() for k, t in net.state_dict().items()}
        made = amalgam.obfuscate(net, images(96), decoys_from=images(128, seed=1), freeze_norm_stats=True,
                                 key="job.key", out="job", progress=False)
        amalgam.train(made, batch=16, lr=0.1, progress=False)
        state = amalgam.extract("job.key", made.weights)
        self.assertTrue(torch.equal(state["body.1.running_mean"], before["body.1.running_mean"]))
        self.assertFalse(torch.equal(state["head.weight"], before["head.weight"]))

    def test_what_cannot_be_frozen(self):
        for freeze, what, hint in (("bodi.0.weight", "matches none", "body.0.weight"), ("*", "nothing would train", "")):
            with self.subTest(freeze=freeze), self.assertRaisesRegex(amalgam.AmalgamError, what) as caught:
                amalgam.obfuscate(Net(), images(96), decoys_from=images(128, seed=1), freeze=freeze, key="job.key",
                                  out="job", progress=False)
            self.assertIn(hint, caught.exception.hint or "")
            self.assertFalse(os.path.exists("job") or os.path.exists("job.key"))

    def test_what_is_no_model(self):
        self.refuse([1, 2], "is a list, expected an nn.Module", "model", code="INVALID")

    def test_a_graph_that_computes_something_else_is_not_believed(self):
        calls = []

        def drifting(x):  # nothing in it depends on x's values, and still no two calls are alike
            calls.append(1)
            return x * len(calls)
        self.refuse(inside(drifting), "outputs differ from the module's by", "Sequential", code="MISMATCH")

    def test_data_that_do_not_fit_the_model(self):
        for data, what, code in [
                ((flat(64), np.arange(64) % 5), "row 4: label 4, expected 0 to 3", "INVALID"),
                ((flat(64), -np.arange(64)), "row 1: label -1", "INVALID")]:
            with self.subTest(what=what), self.refused(amalgam.DataError, what, code, where="training data"):
                amalgam.obfuscate(nn.Linear(8, 4), data, decoys_from=(flat(80, seed=1), np.arange(80) % 4),
                                  key="job.key", out="job", progress=False)

    def test_shapes_that_vary_and_a_data_set_that_raises(self):
        class Torn(Dataset):
            def __init__(self, bad):
                self.bad = bad

            def __len__(self):
                return 64

            def __getitem__(self, i):
                return self.bad(i) if i == 40 else (torch.rand(8), 0)

        def fail(i):
            raise OSError("disk on fire")
        for bad, what, code in [(lambda i: (torch.rand(9), 0), r"row 40: sample is \[9\], the first one \[8\]", "MISMATCH"),
                                (lambda i: (torch.full((8,), float("nan")), 0), "row 40: sample holds NaN", "NOT_FINITE"),
                                (fail, "row 40: the data set raised OSError: disk on fire", "IO")]:
            with self.subTest(what=what), self.refused(amalgam.DataError, what, code):
                amalgam.obfuscate(nn.Linear(8, 4), Torn(bad), decoys_from=(flat(80, seed=1), np.arange(80) % 4),
                                  key="job.key", out="job", progress=False)

    def test_covers_out_of_the_own_data(self):
        base = TensorDataset(*images(100))
        own, rest = random_split(base, [50, 50])
        with self.refused(amalgam.DataError, "shares 50 samples with training data", hint="random_split"):
            amalgam.obfuscate(Net(), own, decoys_from=base, key="job.key", out="job", progress=False)
        amalgam.obfuscate(Net(), own, decoys_from=rest, key="job.key", out="job", progress=False)


if __name__ == "__main__":
    unittest.main()
