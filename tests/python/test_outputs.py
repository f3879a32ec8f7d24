"""Modules of several outputs: the whole cycle, the forms in which their targets come, those of the outputs that are
trained alone, and every refusal."""
import json
import os
import subprocess
import sys
import unittest
from collections import OrderedDict, namedtuple

import support

torch = support.require("torch")
np = support.require("numpy")

import amalgam  # noqa: E402
from amalgam import _export, _outputs  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.data import Dataset, TensorDataset  # noqa: E402

RECIPE = {"epochs": 2, "batch": 16, "lr": 0.05, "momentum": 0.9}


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.row = nn.Sequential(nn.Flatten(), nn.Linear(96, 12), nn.Tanh(), nn.Dropout(0.2))


class Patient(Trunk):
    """A class and a number."""

    def __init__(self):
        super().__init__()
        self.kind, self.age = nn.Linear(12, 3), nn.Linear(12, 1)

    def forward(self, x):
        row = self.row(self.maps(x))
        return self.kind(row), self.age(row).squeeze(1)


class ModelOutput(OrderedDict):
    """As transformers have it: keys that are attributes, too."""

    def __getattr__(self, name):
        return self[name]


class Detector(Trunk):
    """A class, a box, a class for each place, and what it saw."""

    def __init__(self):
        super().__init__()
        self.kind, self.box, self.mask = nn.Linear(12, 3), nn.Linear(12, 4), nn.Conv2d(6, 2, 1)

    def forward(self, x, scale=None):
        maps = self.maps(x)
        row = self.row(maps)
        return ModelOutput(loss=None, kind=self.kind(row), box=self.box(row).view(-1, 2, 2), mask=self.mask(maps),
                           hidden=(maps, row), best=row.argmax(1))


def images(count, r):
    return torch.randint(0, 256, (count, 1, 6, 6), generator=r, dtype=torch.uint8)


def patients(count, seed):
    r = torch.Generator().manual_seed(seed)
    return images(count, r), (torch.randint(0, 3, (count,), generator=r), torch.randn(count, generator=r))


def scenes(count, seed):
    r = torch.Generator().manual_seed(seed)
    return images(count, r), (torch.randint(0, 3, (count,), generator=r), torch.rand(count, 2, 2, generator=r) > 0.5,
                              torch.randint(0, 2, (count, 4, 4), generator=r))


def patient_loss(given, y):
    return F.cross_entropy(given[0], y[0]) + 0.5 * F.huber_loss(given[1], y[1], delta=0.5)


def scene_loss(given, y):
    return (2 * F.cross_entropy(given.kind, y[0]) + F.binary_cross_entropy_with_logits(given.box, y[1].float())
            + 0.25 * F.cross_entropy(given.mask, y[2]))


TWO = {"loss": "cross_entropy+0.5*huber:0.5"}
THREE = {"loss": "2*cross_entropy + bce + 0.25*cross_entropy", "outputs": ["kind", "box", "mask"]}
KINDS = {"patient": (Patient, patients, patient_loss, TWO), "scene": (Detector, scenes, scene_loss, THREE)}


def made(model, data, covers, name="job", **options):
    return amalgam.obfuscate(model, data, decoys_from=covers, key=f"{name}.key", out=name, progress=False, **options)


def recipe_flags():
    return [o for k, v in RECIPE.items() for o in (f"--{k}", str(v))]


def train_alone(model, x, y, loss, train):
    """The loop of docs/pytorch.md, "The same bits"."""
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=RECIPE["lr"], momentum=RECIPE["momentum"], foreach=False)
    batch, steps = RECIPE["batch"], len(x) // RECIPE["batch"]
    for step in range(RECIPE["epochs"] * steps):
        epoch, place = divmod(step, steps)
        rows = train.epoch_order(1, epoch, len(x))[batch * place:batch * (place + 1)]
        torch.manual_seed(train.step_seed(1, step))
        optimizer.zero_grad()
        loss(model(x[rows].float() * (1 / 255)), [t[rows] for t in y]).backward()
        optimizer.step()


class Cycle(support.Case):
    def same(self, found, expected):
        self.assertEqual(list(found), list(expected))
        for name, t in expected.items():
            self.assertTrue(torch.equal(found[name], t), name)

    def test_train_py_gives_the_bits_of_the_module_trained_alone(self):
        for name, (make, data, loss, options) in KINDS.items():
            with self.subTest(module=name):
                torch.manual_seed(3)
                model = make()
                job = made(model, data(64, 1), data(80, 2), name, **options)
                subprocess.run([sys.executable, "train.py", *recipe_flags(), "--deterministic", "--threads", "2"],
                               cwd=job, check=True, stdout=subprocess.DEVNULL)
                before = {n: t.clone() for n, t in model.state_dict().items()}
                train_alone(model, *data(64, 1), loss, support.load_script(job.path, "train.py"))
                found = amalgam.extract(job.key, job.weights)
                self.same(found, model.state_dict())
                self.assertFalse(any(torch.equal(before[n], found[n]) for n, _ in model.named_parameters()))
                model.load_state_dict(found, strict=True)

    def test_the_engine_gives_the_bits_of_the_file_trained_alone(self):
        for name, (make, data, _, options) in KINDS.items():
            with self.subTest(module=name):
                torch.manual_seed(3)
                model, (x, y) = make().eval(), data(64, 1)
                batches = [[x[rows].numpy().astype(np.float32) / 255] for rows in (slice(2), slice(2, 4))]
                file = _export.export(model, *batches, ".", ["x"], wanted=options.get("outputs")).path
                np.save("x.npy", x.numpy())
                for i, t in enumerate(y):
                    np.save(f"{i}.npy", t.numpy().astype(np.uint8) if t.dtype == torch.bool else t.numpy())
                support.run_program("amalgam", "train", "--model", file, "--train",
                                    "x.npy," + "+".join(f"{i}.npy" for i in range(len(y))), "-o", f"{name}.onnx",
                                    "--loss", options["loss"].replace(" ", ""), "--quiet", *recipe_flags())
                job = made(model, (x, y), data(80, 2), name, **options)
                trained = amalgam.train(job, progress=False, **RECIPE)
                amalgam.extract(job.key, trained.weights, onnx=f"{name}-back.onnx")
                with open(f"{name}.onnx", "rb") as alone, open(f"{name}-back.onnx", "rb") as back:
                    self.assertEqual(alone.read(), back.read())

    def test_both_exporters_write_all_outputs(self):
        support.require("onnxscript")
        for name, (make, data, _, options) in KINDS.items():
            model, x = make(), data(4, 1)[0].float() / 255
            with _outputs.plain(model, options.get("outputs")) as names:
                seen = _export.observe(model, [x[:2]], names=names)
                for exporter in (_export._export_torchscript, _export._export_dynamo):
                    with self.subTest(module=name, exporter=exporter.__name__):
                        found = _export._export_by(exporter, model, [[x[:2]], [x[2:]]], ["input"], seen, "model.onnx")
                        graph = amalgam.inspect("model.onnx")["graph"]
                        self.assertEqual([(o["name"], tuple(o["shape"][1:])) for o in graph["outputs"]],
                                         [(o.name, o.shape) for o in found.outputs])
                        self.assertEqual([o.name for o in found.outputs],
                                         options.get("outputs", ["output0", "output1"]))

    def test_an_output_that_differs_is_found(self):
        class Restless(Patient):
            def forward(self, x):
                kind, age = super().forward(x)
                return kind, age if self.training else age + 1
        with self.refused(amalgam.ExportError, "the exported graph's outputs differ from the module's by 1 ",
                          where="Restless, output1"):
            made(Restless(), patients(64, 1), patients(80, 2), **TWO)

    def test_each_output_is_measured(self):
        job = amalgam.obfuscate(Detector(), scenes(64, 1), scenes(32, 3), decoys_from=scenes(80, 2),
                                val_decoys_from=scenes(40, 4), key="job.key", out="job", progress=False, **THREE)
        for head in amalgam.train(job, progress=False, **RECIPE).heads:
            kind, box, mask = head["outputs"]
            self.assertAlmostEqual(head["val_loss"], 2 * kind["val_loss"] + box["val_loss"] + 0.25 * mask["val_loss"], 5)
            self.assertTrue(all(0 <= o["val_accuracy"] <= 1 for o in (kind, box, mask)))
        losses = amalgam.inspect(job)["subnetworks"][0]["losses"]
        self.assertEqual([(p["loss"], p["weight"], p["shape"]) for p in losses], [
            ("cross_entropy", 2, [3]), ("bce", 1, [2, 2]), ("cross_entropy", 0.25, [2, 4, 4])])
        self.assertIn(amalgam.audit(job, progress=False).verdict, ("pass", "FAIL", "report"))

    def test_owners_share_a_job(self):
        owners = [amalgam.Owner(Patient(), patients(64, i), f"{i}.key", **TWO) for i in (1, 2)]
        job = amalgam.pack(owners, out="job", progress=False)
        amalgam.train(job, progress=False, **RECIPE)
        for key, owner in zip(job.keys, owners):
            owner.model.load_state_dict(amalgam.extract(key, job.weights))

    def test_the_file_that_comes_home_has_the_module_s_outputs(self):
        onnx = support.require("onnx")
        job = made(Detector(), scenes(64, 1), scenes(80, 2), **THREE)
        amalgam.extract(job.key, os.path.join(job.path, "weights.safetensors"), onnx="back.onnx")
        self.assertEqual([o.name for o in onnx.load("back.onnx").graph.output], ["kind", "box", "mask"])

        def floats(count, seed):
            x, y = scenes(count, seed)
            return x.float() / 255, dict(reversed(list(zip(("kind", "box", "mask"), y))))
        made("back.onnx", floats(64, 1), floats(80, 2), "again", loss=THREE["loss"])
        with self.refused(amalgam.AmalgamError, "is for modules; of a file all outputs are trained", where="outputs"):
            made("back.onnx", floats(64, 1), floats(80, 2), "third", **THREE)

    def test_outputs_may_be_called_as_parameters_and_arguments_are(self):
        class Named(Patient):
            def forward(self, x):
                return dict(zip(("x", "age.bias"), super().forward(x)))
        model, (x, (kind, age)) = Named(), patients(64, 1)
        job = made(model, (x, {"age.bias": age, "x": kind}), patients(80, 2), **TWO)
        self.same(amalgam.extract(job.key, os.path.join(job.path, "weights.safetensors")), model.state_dict())


class Forms(support.Case):
    def test_all_forms_give_the_same_job(self):
        class Items(Dataset):
            def __init__(self, item):
                self.item = item

            def __len__(self):
                return len(x)

            def __getitem__(self, i):
                return self.item(i)

        class AsDict(Patient):
            def forward(self, x):
                return dict(zip(("kind", "age"), super().forward(x)))

        class AsNamed(Patient):
            def forward(self, x):
                return namedtuple("Given", ["kind", "age"])(*super().forward(x))
        x, (kind, age) = patients(64, 1)
        torch.manual_seed(1)
        tuples, dicts, named = Patient(), AsDict(), AsNamed()
        dicts.load_state_dict(tuples.state_dict())
        named.load_state_dict(tuples.state_dict())
        by_name = {"age": age, "kind": kind}
        forms = {
            "arrays": (tuples, (x.numpy(), (kind.numpy(), age.numpy())), TWO),
            "a list of arrays": (tuples, (x, [kind, age]), TWO),
            "tensors": (tuples, TensorDataset(x, kind, age), TWO),
            "flat": (tuples, (x, kind, age), TWO),
            "items": (tuples, Items(lambda i: (x[i], (int(kind[i]), float(age[i])))), TWO),
            "flat items": (tuples, Items(lambda i: [x[i], kind[i], age[i]]), TWO),
            "by name": (dicts, (x, by_name), TWO),
            "named items": (dicts, Items(lambda i: (x[i], {"age": age[i], "kind": kind[i]})), TWO),
            "in order": (dicts, (x, (kind, age)), {"loss": {"age": "0.5*huber:0.5", "kind": "cross_entropy"}}),
            "all chosen": (named, (x, by_name), {**TWO, "outputs": (0, 1), "task": "multi_task"})}
        jobs = set()
        for name, (model, data, options) in forms.items():
            made(model, data, patients(80, 2), name, seed_hex=support.SEED, **options)
            with open(f"{name}/job.json", "rb") as f:  # holds the hash of every other file
                jobs.add(f.read())
        self.assertEqual(len(jobs), 1)

    def test_several_inputs_and_several_outputs(self):
        class Both(nn.Module):
            def __init__(self):
                super().__init__()
                self.kind, self.age = nn.Linear(41, 3), nn.Linear(41, 1)

            def forward(self, image, row):
                both = torch.cat([image.flatten(1), row], 1)
                return {"kind": self.kind(both), "age": self.age(both)}
        x, (kind, age) = patients(64, 1)
        row, age, covers = torch.randn(64, 5), age[:, None], patients(80, 2)
        covers = covers[0], torch.randn(80, 5), covers[1][0], covers[1][1][:, None]
        model, jobs = Both(), set()
        for name, data in {"nested": ((x, row), (kind, age)), "flat": (x, row, kind, age),
                           "tensors": TensorDataset(x, row, kind, age),
                           "by name": ({"row": row, "image": x}, {"age": age, "kind": kind})}.items():
            made(model, data, covers, name, seed_hex=support.SEED, **TWO)
            with open(f"{name}/job.json", "rb") as f:
                jobs.add(f.read())
        self.assertEqual(len(jobs), 1)

    def test_columns(self):
        x, (kind, age) = patients(64, 1)

        class Columns:
            column_names = ["image", "kind", "age"]

            def __len__(self):
                return len(x)

            def __getitem__(self, at):
                return {"image": [x[i].numpy() for i in at], "kind": [int(kind[i]) for i in at],
                        "age": [float(age[i]) for i in at]}
        made(Patient(), Columns(), patients(80, 2), columns=("image", "kind", "age"), **TWO)

    def test_the_vector_that_the_library_reads(self):
        x, y = scenes(4, 1)
        rows = amalgam._data.Rows("data", (x, y), None)
        rows.expect(["kind", "box", "mask"])
        found = np.zeros((2, 21), np.float32)
        rows.write([3, 1], None, found.ctypes.data)
        np.testing.assert_array_equal(found, torch.cat([t.reshape(4, -1).float() for t in y], 1)[[3, 1]].numpy())

    def test_numbers_side_by_side_are_one_target_or_several(self):
        items = [(np.zeros(3, np.float32), (5, 7))]
        for outputs, expected in ((["output"], ("I32", (2,))), (["a", "b"], ("F32", (2,)))):
            rows = amalgam._data.Rows("data", items, None)
            rows.expect(outputs)
            self.assertEqual((rows.target_dtype, rows.target_shape), expected)
            self.assertEqual([t.shape for t in rows.targets], [(2,)] if len(outputs) == 1 else [(), ()])

    def test_arrays_side_by_side_are_never_one_target(self):
        x, y = patients(64, 1)
        for data in ((x, y), (x, *y), TensorDataset(x, *y)):
            with self.refused(amalgam.DataError, "a sample has 2 targets, the model 1 output: output"):
                made(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), data, patients(80, 2))

    def test_terms(self):
        outputs = [_outputs.Output(name, None) for name in "abc"]
        for loss in ("1e+2*mse + huber:1e-3+2.E+0*l1", {"c": "2.E+0*l1", "a": "1e+2*mse", "b": "huber:1e-3"}):
            self.assertEqual(_outputs._split_terms(loss, outputs), ["1e+2*mse", "huber:1e-3", "2.E+0*l1"])


class Chosen(support.Case):
    """Some of the outputs are trained, the others are not in the job."""

    def test_one_of_a_model_s_outputs(self):
        x, (kind, *_) = scenes(64, 1)
        covers = (lambda x, y: (x, y[0]))(*scenes(80, 2))
        for outputs in ("kind", 0, ["kind"]):
            with self.subTest(outputs=outputs):
                model = Detector()
                job = made(model, (x, kind), covers, f"job-{outputs}", outputs=outputs)
                with open(f"{job.path}/job.json") as f:
                    self.assertEqual(json.load(f)["task"], "classification")
                found = amalgam.extract(job.key, amalgam.train(job, progress=False, **RECIPE).weights)
                before = model.state_dict()
                trained = {n for n, _ in model.named_parameters() if not torch.equal(found[n], before[n])}
                self.assertEqual(trained, {n for n, _ in model.named_parameters()
                                           if not n.startswith(("box", "mask"))})

    def test_an_autoencoder_that_gives_its_code(self):
        class Autoencoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.down, self.up = nn.Linear(36, 5), nn.Linear(5, 36)

            def forward(self, x):
                code = torch.tanh(self.down(x.flatten(1)))
                return self.up(code).view_as(x), code
        x, covers = patients(64, 1)[0], patients(80, 2)[0]
        with self.refused(amalgam.DataError, "a sample has 0 targets, the model 2 outputs: output0, output1",
                          hint=r'outputs=\["output0"\] trains that one alone'):
            made(Autoencoder(), x, covers)
        made(Autoencoder(), x, covers, outputs=0)

    def test_an_output_that_training_has_alone(self):
        class Auxiliary(Patient):
            def forward(self, x):
                given = super().forward(x)
                return given if self.training else given[0]

        class Hidden(Patient):
            def forward(self, x):
                given = super().forward(x)
                return given if self.row.training else given[0]
        x, (kind, _) = patients(64, 1)
        covers = patients(80, 2)
        model = Auxiliary()
        made(model, (x, kind), (covers[0], covers[1][0]), outputs=0)
        made(model, patients(64, 1), covers, "both", **TWO)
        self.assertTrue(all(m.training for m in model.modules()))
        with self.refused(amalgam.ExportError, r"gives 1 of its 2 outputs after eval\(\)", where="Hidden",
                          hint='outputs="output0"'):
            made(Hidden(), patients(64, 1), covers, "other", **TWO)
        made(Hidden(), (x, kind), (covers[0], covers[1][0]), "first", outputs="output0")

    def test_a_language_model_that_gives_more(self):
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(8, 20)

            def forward(self, x):
                hidden = torch.tanh(self.embedding(x))
                return {"logits": self.head(hidden), "hidden": hidden}
        own, covers = (torch.randint(0, 20, (count, 6)) for count in (64, 80))
        with self.refused(amalgam.ExportError, "gives logits, hidden, a language model its logits alone",
                          hint='outputs="logits"'):
            made(Model(), own, covers, task="lm")
        made(Model(), own, covers, task="lm", outputs="logits")


class Refusals(support.Case):
    def refuse(self, kind, what, data=None, model=None, covers=None, hint=None, **options):
        with self.refused(kind, what, hint=hint):
            made(model or Patient(), data or patients(64, 1), covers or patients(80, 2), **{**TWO, **options})

    def test_more_or_fewer_targets_than_outputs(self):
        x, (kind, age) = patients(64, 1)
        error = amalgam.DataError
        self.refuse(error, "training data: a sample has 1 target, the model 2 outputs: output0, output1", (x, kind),
                    hint=r'\(x, \(y1, y2, …\)\) in their order')
        self.refuse(error, "a sample has 3 targets, the model 2 outputs", (x, (kind, age, age)))
        self.refuse(error, "a sample has 3 targets, the model 2 outputs", (x, kind, age, age))
        self.refuse(error, "covers .*: a sample has 1 target, the model 2", covers=(x, kind))
        self.refuse(error, "a sample has 2 targets, the model 1 output: output\n", outputs=None, loss=None,
                    model=nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), hint=r"a sample is \(x, y\)")
        self.refuse(error, "a sample has targets of class, age, the model the outputs: output0, output1",
                    (x, {"class": kind, "age": age}))

    def test_losses_that_do_not_fit_outputs(self):
        error = amalgam.AmalgamError
        self.refuse(error, "loss: 0 terms for the model's 2 outputs: output0, output1", loss=None,
                    hint=r'loss="cross_entropy\+mse", each with its weight: 0.5\*mse')
        self.refuse(error, "loss: 0 terms for the model's 3 outputs: kind, box, mask", scenes(64, 1), Detector(), scenes(80, 2),
                    hint=r'loss="cross_entropy\+bce\+cross_entropy"', **{**THREE, "loss": None})
        self.refuse(error, "loss: 1 term for the model's 2 outputs", loss="cross_entropy")
        self.refuse(error, "loss: 3 terms for the model's 2 outputs", loss="cross_entropy+1e+1*mse+l1")
        self.refuse(error, "loss: is of kind, age, the outputs are output0, output1",
                    loss={"kind": "cross_entropy", "age": "mse"})
        self.refuse(error, "loss: .*\"hinge\"", loss="hinge+mse")
        self.refuse(error, "task: it is regression, for a model of 2 outputs multi_task", task="regression")
        self.refuse(error, "the task is multi_task, only classification has them", class_weights="balanced")

    def test_losses_that_do_not_fit_targets(self):
        x, (kind, age) = patients(64, 1)
        error = amalgam.DataError
        self.refuse(error, r"target 1 is F32\[\], expected I32\[\]: classes of the output output0 \[3\]", (x, (age, age)),
                    hint="cross_entropy takes whole numbers")
        self.refuse(error, r"target 2 is \[1\], expected \[\]: huber of the output output1 \[\]", (x, (kind, age[:, None])))
        self.refuse(error, r"target 1 is \[\], expected \[3\]: mse of the output output0 \[3\]", loss="mse+mse")

        class Wide(Patient):
            def forward(self, x):
                row = self.row(self.maps(x))
                return self.kind(row), self.age(row)
        self.refuse(error, r"target 2 is \[\], expected \[1\]: huber of the output output1 \[1\]", model=Wide(),
                    hint=r"y.reshape\(-1, 1\)")

    def test_values_that_no_loss_takes(self):
        x, (kind, age) = patients(64, 1)
        self.refuse(amalgam.AmalgamError, "training data: sample 7 has the target 3 for output 0, expected one of its",
                    (x, (torch.where(torch.arange(64) == 7, 3, kind), age)))
        self.refuse(amalgam.DataError, "row 5: target 2 holds NaN",
                    (x, (kind, torch.where(torch.arange(64) == 5, torch.nan, age))))
        self.refuse(amalgam.DataError, r"row 9: target 2 holds 16777217, expected whole numbers from -2\^24 to 2\^24",
                    (x, (kind, torch.where(torch.arange(64) == 9, 2 ** 24 + 1, 3))))

    def test_rows_that_differ(self):
        x, (kind, age) = patients(64, 1)

        class Torn(Dataset):
            def __init__(self, bad):
                self.bad = bad

            def __len__(self):
                return 64

            def __getitem__(self, i):
                return x[i], self.bad if i == 40 else (kind[i], age[i])
        for bad, what in [((kind[0],), "row 40: sample has targets 1, the first one 2"),
                          ({"kind": kind[0], "age": age[0]}, "row 40: sample has targets kind, age, the first one 2"),
                          ((kind[0], age[:2]), r"row 40: target 2 is \[2\], the first one \[\]"),
                          ((age[0], age[0]), "row 40: target 1 is float32, the first one was stored as I32"),
                          (None, "row 40: has no target, the first row had one")]:
            with self.subTest(what=what):
                self.refuse(amalgam.DataError, what, Torn(bad))

    def test_outputs_that_cannot_be_trained(self):
        def giving(what):
            class Other(Patient):
                def forward(self, x):
                    return what(*super().forward(x))
            return Other()
        error = amalgam.ExportError
        self.refuse(error, "its output output2 is torch.int64, expected a tensor of float32",
                    model=giving(lambda a, b: (a, b, a.argmax(1))), hint=r'outputs=\["output0", "output1"\] trains')
        self.refuse(error, "its output more is tuple, expected", model=giving(lambda a, b: {"a": a, "more": (b, b)}),
                    hint=r'outputs=\["a"\] trains the others alone')
        self.refuse(error, r"gives \[\] as output1 for a batch of 2, expected the batch first",
                    model=giving(lambda a, b: (a, b.mean())), hint="outputs=… chooses")
        self.refuse(error, "gives nothing that could be trained", model=giving(lambda a, b: (None,)))
        self.refuse(error, "gives str, expected a tensor of float32, or a tuple or dict", model=giving(lambda a, b: "a"))
        for wanted in ("kind", 2, [0, "kind"]):
            self.refuse(error, "the module has no output .*, it gives output0, output1", outputs=wanted)
        self.refuse(error, "gives nothing that could be trained", outputs=[])


if __name__ == "__main__":
    unittest.main()
