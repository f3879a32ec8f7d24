"""Modules of several inputs: the whole cycle, the forms in which their samples come, and every refusal."""
import os
import subprocess
import sys
import unittest
from unittest import mock

import support

torch = support.require("torch")
np = support.require("numpy")

import amalgam  # noqa: E402
from amalgam import _export, _inputs  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402
from torch.utils.data import DataLoader, Dataset, TensorDataset  # noqa: E402

RECIPE = {"epochs": 2, "batch": 16, "lr": 0.05, "momentum": 0.9}


class Scan(nn.Module):
    """An image and a row of numbers."""

    def __init__(self):
        super().__init__()
        self.image = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.row = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.2))
        self.head = nn.Linear(4 * 16 + 8, 3)

    def forward(self, image, row):
        return self.head(torch.cat([self.image(image), self.row(row)], 1))


class Text(nn.Module):
    """Tokens, which of them count, and a number."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, 0.1, batch_first=True)
        self.head = nn.Linear(17, 3)

    def forward(self, ids, mask, age=None):
        x = self.encoder(self.embedding(ids), src_key_padding_mask=~mask)
        weight = mask.unsqueeze(2).to(x.dtype)
        return self.head(torch.cat([(x * weight).sum(1) / weight.sum(1), age.unsqueeze(1)], 1))


class Packed(nn.Module):
    """Tokens of documents of unequal length, and their lengths; the last states of both directions decide."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.embedding(ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (h, _) = self.lstm(packed)
        return self.head(torch.cat([h[-2], h[-1]], 1))


def scans(count, seed):
    r = torch.Generator().manual_seed(seed)
    return ((torch.randint(0, 256, (count, 1, 6, 6), generator=r, dtype=torch.uint8),
             torch.randn(count, 5, generator=r)), torch.arange(count) % 3)


def texts(count, seed):
    r = torch.Generator().manual_seed(seed)
    length = torch.randint(3, 8, (count, 1), generator=r)
    return ((torch.randint(0, 50, (count, 7), generator=r), torch.arange(7) < length,
             torch.rand(count, generator=r)), torch.arange(count) % 3)


def documents(count, seed):
    (ids, mask, _), y = texts(count, seed)
    return (ids, mask.sum(1)), y


KINDS = {"scan": (Scan, scans), "text": (Text, texts), "packed": (Packed, documents)}


def as_taken(x):
    """A uint8 image as a module takes it."""
    return x.float() * np.float32(1 / 255) if x.dtype == torch.uint8 else x


def train_alone(model, inputs, y, train):
    """The loop of docs/pytorch.md, "The same bits"."""
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    optimizer = torch.optim.SGD(model.parameters(), lr=RECIPE["lr"], momentum=RECIPE["momentum"], foreach=False)
    batch, steps = RECIPE["batch"], len(y) // RECIPE["batch"]
    for step in range(RECIPE["epochs"] * steps):
        epoch, place = divmod(step, steps)
        rows = train.epoch_order(1, epoch, len(y))[batch * place:batch * (place + 1)]
        torch.manual_seed(train.step_seed(1, step))
        loss = F.cross_entropy(model(*(as_taken(x[rows]) for x in inputs)), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class Cycle(support.Case):
    def same(self, found, expected):
        self.assertEqual(list(found), list(expected))
        for name, t in expected.items():
            self.assertTrue(torch.equal(found[name], t), name)

    def test_train_py_gives_the_bits_of_the_module_trained_alone(self):
        for name, (make, data) in KINDS.items():
            with self.subTest(module=name):
                torch.manual_seed(3)
                model = make()
                job = amalgam.obfuscate(model, data(64, 1), decoys_from=data(80, 2), key=f"{name}.key", out=name,
                                        keep_classes=True, progress=False)
                options = [o for k, v in RECIPE.items() for o in (f"--{k}", str(v))]
                subprocess.run([sys.executable, "train.py", *options, "--deterministic", "--threads", "2",
                                "--class-order", "natural"], cwd=job, check=True, stdout=subprocess.DEVNULL)
                before = {n: t.clone() for n, t in model.state_dict().items()}
                train_alone(model, *data(64, 1), support.load_script(job.path, "train.py"))
                found = amalgam.extract(job.key, job.weights)
                self.same(found, model.state_dict())
                self.assertFalse(any(torch.equal(before[n], found[n]) for n, _ in model.named_parameters()))
                model.load_state_dict(found, strict=True)

    def test_the_engine_gives_the_bits_of_the_file_trained_alone(self):
        for name, (make, data) in KINDS.items():
            with self.subTest(module=name):
                torch.manual_seed(3)
                model, (inputs, y) = make().eval(), data(64, 1)
                arrays = [as_taken(x).numpy() for x in inputs]
                made = _export.export(model, *([a[rows] for a in arrays] for rows in (slice(2), slice(2, 4))), ".",
                                      _inputs.name_arguments(model, amalgam._data.Rows("data", (inputs, y), None)))
                for i, a in enumerate(arrays):
                    np.save(f"{i}.npy", (a.astype(np.uint8) if a.dtype.kind == "b" else a).reshape(len(a), -1))
                np.save("y.npy", y.numpy())
                recipe = [o for k, v in RECIPE.items() for o in (f"--{k}", str(v))]
                support.run_program("amalgam", "train", "--model", made.path, "--train", "+".join(
                    f"{i}.npy" for i in range(len(arrays))) + ",y.npy", "-o", f"{name}.onnx", "--quiet", *recipe)
                job = amalgam.obfuscate(model, (inputs, y), decoys_from=data(80, 2), key=f"{name}.key", out=name,
                                        progress=False)
                trained = amalgam.train(job, progress=False, **RECIPE)
                amalgam.extract(job.key, trained.weights, onnx=f"{name}-back.onnx")
                with open(f"{name}.onnx", "rb") as alone, open(f"{name}-back.onnx", "rb") as back:
                    self.assertEqual(alone.read(), back.read())

    def test_the_file_that_comes_home_has_the_module_s_inputs(self):
        onnx = support.require("onnx")
        job = amalgam.obfuscate(Text(), texts(64, 1), decoys_from=texts(80, 2), key="job.key", out="job", progress=False)
        amalgam.extract(job.key, os.path.join(job.path, "weights.safetensors"), onnx="back.onnx")
        graph = onnx.load("back.onnx").graph
        self.assertEqual([i.name for i in graph.input], ["ids", "mask", "age"])
        self.assertEqual([i.type.tensor_type.elem_type for i in graph.input], [7, 9, 1])
        (ids, mask, age), y = texts(64, 1)
        amalgam.obfuscate("back.onnx", ({"age": age, "ids": ids, "mask": mask}, y), decoys_from=texts(80, 2), key="b.key",
                          out="b", progress=False)
        with self.refused(amalgam.DataError, r"input 1 is BOOL\[7\], expected I64\[7\], the model's ids"):
            amalgam.obfuscate("back.onnx", ((mask, ids, age), y), decoys_from=texts(80, 2), key="c.key", out="c",
                              progress=False)

    def test_an_argument_may_be_called_as_a_parameter_is(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc, self.scale = nn.Linear(5, 3), nn.Parameter(torch.ones(3))

            def forward(self, x, scale):
                return self.fc(x) * self.scale * scale
        data = (torch.randn(64, 5), torch.rand(64, 3)), torch.arange(64) % 3
        covers = (torch.randn(80, 5), torch.rand(80, 3)), torch.arange(80) % 3
        model = Scaled()
        job = amalgam.obfuscate(model, data, decoys_from=covers, key="job.key", out="job", progress=False)
        self.same(amalgam.extract(job.key, os.path.join(job.path, "weights.safetensors")), model.state_dict())


class Forms(support.Case):
    def test_all_forms_give_the_same_job(self):
        class Items(Dataset):
            def __init__(self, item):
                self.item = item

            def __len__(self):
                return len(y)

            def __getitem__(self, i):
                return self.item(i)
        (image, row), y = scans(64, 1)
        torch.manual_seed(1)
        model, covers = Scan(), scans(80, 2)
        forms = {"arrays": ((image.numpy(), row.numpy()), y.numpy()), "tensors": TensorDataset(image, row, y),
                 "flat": (image, row, y), "by name": ({"row": row, "image": image}, y),
                 "items": Items(lambda i: ((image[i], row[i]), int(y[i]))),
                 "flat items": Items(lambda i: [image[i], row[i], y[i]]),
                 "named items": Items(lambda i: ({"row": row[i], "image": image[i]} if i % 2 else
                                                 {"image": image[i], "row": row[i]}, y[i]))}
        jobs = set()
        for name, data in forms.items():
            amalgam.obfuscate(model, data, decoys_from=covers, key=f"{name}.key", out=name, progress=False,
                              seed_hex=support.SEED)
            with open(f"{name}/job.json", "rb") as f:  # holds the hash of every other file
                jobs.add(f.read())
        self.assertEqual(len(jobs), 1)

    def test_numbers_side_by_side_are_inputs_where_forward_takes_several(self):
        user, item = torch.arange(8), torch.arange(8, 16)
        forms = {"arrays": ((user, item), user), "by name": ({"item": item, "user": user}, user),
                 "items": [((user[i], item[i]), user[i]) for i in range(8)]}
        for name, data in forms.items():
            with self.subTest(form=name):
                rows = amalgam._data.Rows("data", data, None, takes=2)
                if rows.names:
                    rows.arrange(("user", "item"))
                self.assertEqual([a.tolist() for a in rows.samples([3, 5])], [[3, 5], [11, 13]])
        row = amalgam._data.Rows("data", forms["items"], None, takes=1)
        self.assertEqual([a.tolist() for a in row.samples([3])], [[[3, 11]]])

    def test_columns(self):
        (image, row), y = scans(64, 1)

        class Columns:
            column_names = ["image", "row", "label"]

            def __len__(self):
                return len(y)

            def __getitem__(self, at):  # plain lists, as datasets without a format give them
                return {"image": [image[i].numpy() for i in at], "row": [row[i].tolist() for i in at],
                        "label": [int(y[i]) for i in at]}
        rows = amalgam._data.Rows("data", Columns(), ("image", "row", "label"))
        self.assertEqual([(i.dtype, i.shape) for i in rows.inputs], [("U8", (1, 6, 6)), ("F32", (5,))])

    def test_the_vector_that_the_library_reads(self):
        (ids, mask, age), y = texts(4, 1)
        rows = amalgam._data.Rows("data", ((ids, mask, age), y), None)
        found = np.zeros((2, 15), np.float32)
        rows.write([3, 1], found.ctypes.data, None)
        expected = torch.cat([ids.float(), mask.float(), age[:, None]], 1)[[3, 1]]
        np.testing.assert_array_equal(found, expected.numpy())


class Refusals(support.Case):
    def refuse(self, kind, what, data, model=None, covers=None, hint=None, **options):
        with self.refused(kind, what, hint=hint):
            amalgam.obfuscate(model or Scan(), data, decoys_from=covers or scans(80, 2), key="job.key", out="job",
                              progress=False, **options)

    def test_more_or_fewer_than_forward_takes(self):
        (image, row), y = scans(64, 1)
        error = amalgam.ExportError
        self.refuse(error, "Scan: forward takes image, row; samples of the training data have 1 input\n", (image, y),
                    hint=r"\(\(x1, x2\), y\)")
        self.refuse(error, "forward takes image, row; samples of the training data have 3 inputs", ((image, row, row), y))
        self.refuse(error, "forward takes input; samples of the training data have 2 inputs", ((image, row), y),
                    nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
        self.refuse(error, "forward takes image, row; samples of the training data name image, table",
                    ({"image": image, "table": row}, y))
        self.refuse(error, "forward takes ids, mask, age; samples of the training data name ids, age",
                    ({"ids": row, "age": row}, y), Text())

    def test_a_spec_does_not_say_which_array_is_which(self):
        (image, row), y = scans(64, 1)
        for name, a in (("image", image), ("row", row), ("y", y)):
            np.save(f"{name}.npy", a.numpy())
        self.refuse(amalgam.ExportError, "Scan: forward takes image, row; samples of a DATA spec are one input",
                    "image.npy+row.npy,y.npy", hint="numpy.load")

    def test_an_input_that_is_not_read(self):
        class Deaf(Text):
            def forward(self, ids, mask, age):
                return super().forward(ids, mask, ids[:, 0].float())
        self.refuse(amalgam.ExportError, "Deaf: forward does not read age", texts(64, 1), Deaf(),
                    hint="leave it out of the samples")

    def test_sequences_whose_lengths_or_order_are_lost(self):
        def steps(model, ids, lengths, **how):
            packed = pack_padded_sequence(model.embedding(ids), lengths, batch_first=True, **how)
            return model.lstm(packed)

        def in_a_list(model, ids, lengths):
            return model.head(torch.cat([*steps(model, ids, lengths.tolist(), enforce_sorted=False)[1][0]], 1))

        def to_the_longest(model, ids, lengths):
            y, _ = steps(model, ids, lengths, enforce_sorted=False)
            return model.head(pad_packed_sequence(y, batch_first=True)[0].mean(1))

        def sorted_for_good(model, ids, lengths):
            lengths, order = lengths.sort(descending=True)
            return model.head(torch.cat([*steps(model, ids[order], lengths)[1][0]], 1))

        def of_the_traced_batch(model, ids, lengths):
            y, _ = steps(model, ids, lengths, enforce_sorted=False)
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=ids.shape[1])
            return model.head(y[torch.arange(len(ids)), lengths - 1])

        for forward, what, hint in ((in_a_list, "forward does not read lengths", r"lengths\.cpu\(\)"),
                                    (to_the_longest, "differ from the module's", "total_length"),
                                    (sorted_for_good, "a result whose samples are sorted", "enforce_sorted=False"),
                                    (of_the_traced_batch, "does not broadcast", r"x\.shape\[0\]")):
            with self.subTest(forward=forward.__name__), mock.patch.object(_export, "_export_dynamo", side_effect=OSError):
                self.refuse(amalgam.ExportError, what, documents(64, 1),
                            type("Lost", (Packed,), {"forward": forward})(), documents(80, 2), hint=hint)

    def test_sets_that_differ(self):
        (image, row), y = scans(80, 2)
        error = amalgam.DataError
        self.refuse(error, r'input 2 is F32\[6\], expected F32\[5\], the model\'s row', scans(64, 1),
                    covers=((image, torch.rand(80, 6)), y))
        self.refuse(error, r"input 1 is F32\[5\], expected F32\[1, 6, 6\], the model's image", scans(64, 1),
                    covers=((row, image), y))
        self.refuse(error, r"samples have 1 input, the model 2: image, row", scans(64, 1), covers=(image, y))
        self.refuse(error, "samples name image, table, expected image, row", scans(64, 1),
                    covers=({"image": image, "table": row}, y))

    def test_rows_that_differ(self):
        (image, row), y = scans(64, 1)

        class Torn(Dataset):
            def __init__(self, bad):
                self.bad = bad

            def __len__(self):
                return 64

            def __getitem__(self, i):
                return (self.bad if i == 40 else (image[i], row[i])), y[i]
        nan = torch.full((5,), float("nan"))
        for bad, what in [((image[0], row[0][:4]), r"row 40: input 2 is \[4\], the first one \[5\]"),
                          ((image[0], nan), "row 40: input 2 holds NaN"),
                          ((image[0].float(), row[0]), "row 40: input 1 is float32, the first one was stored as U8"),
                          (image[0], "row 40: sample has inputs 1, the first one 2"),
                          ({"image": image[0], "row": row[0]}, "row 40: sample has inputs image, row, the first one 2")]:
            with self.subTest(what=what):
                self.refuse(amalgam.DataError, what, Torn(bad))

    def test_whole_numbers_that_floats_do_not_hold(self):
        (ids, mask, age), y = texts(64, 1)
        ids[7, 3] = 2 ** 24 + 1
        self.refuse(amalgam.DataError, r"row 7: input 1 holds 16777217, expected whole numbers from -2\^24 to 2\^24",
                    ((ids, mask, age), y), Text(), covers=texts(80, 2))

    def test_what_is_for_one_input(self):
        self.refuse(amalgam.AmalgamError, "is for samples of one input, the model has 2", scans(64, 1),
                    preprocess=([0.5], [0.5]))
        (ids, mask, _), _ = texts(64, 1)
        self.refuse(amalgam.DataError, "samples have 2 inputs; a language model reads tokens alone", ((ids, mask),),
                    Text(), task="lm")

    def test_a_loader_is_no_data_set(self):
        (image, row), y = scans(64, 1)
        self.refuse(amalgam.DataError, "DataLoader gives batches, expected samples",
                    DataLoader(TensorDataset(image, row, y), 16), hint="loader.dataset")


if __name__ == "__main__":
    unittest.main()
