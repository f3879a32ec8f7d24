"""Does a job's bookkeeping tell which sub-network is the original? lab notes call it "forbid each, test
each": over many secrets, every trait that can be ranked must put the original at every rank equally
often, and every trait that can be compared must be equal in all sub-networks.

The attacker's view is read from the job's files with wire.py alone; who the original is, the test knows
from the data: its sub-network selects the owner's samples. Seeds are fixed, so a result never changes
from run to run; thresholds are the 0.1 % points of the chi-square and Kolmogorov-Smirnov laws.
"""
import collections
import hashlib
import json
import math
import os
import random
import shutil
import struct
import unittest

import cli
import wire

NUM_SECRETS, DECOYS = 60, 2
CHI_SQUARE_001 = {1: 10.83, 2: 13.82, 3: 16.27}  # degrees of freedom -> 0.1 % point
INT64, GATHER = 7, "Gather"

# What the cloud sees of one sub-network.
View = collections.namedtuple("View", "head nodes tensors names select labels column")


def chi_square(counts):
    """Against the uniform law."""
    expected = sum(counts) / len(counts)
    return sum((c - expected) ** 2 / expected for c in counts)


def kolmogorov_smirnov(a, b):
    """Largest distance of the two empirical laws, in units of its 0.1 % point (1.95 / sqrt(n m / (n + m)))."""
    everything = sorted([(v, 0) for v in a] + [(v, 1) for v in b])
    share, worst, i = [0.0, 0.0], 0.0, 0
    while i < len(everything):
        value = everything[i][0]
        while i < len(everything) and everything[i][0] == value:
            share[everything[i][1]] += 1 / (len(b) if everything[i][1] else len(a))
            i += 1
        worst = max(worst, abs(share[0] - share[1]))
    return worst * math.sqrt(len(a) * len(b) / (len(a) + len(b))) / 1.95


def rank_counts(rows):
    """rows: per secret the trait of the original and those of the decoys. How often the original is at
    each rank; ties are shared."""
    counts = [0.0] * (1 + len(rows[0][1]))
    for own, others in rows:
        below, equal = sum(o < own for o in others), sum(o == own for o in others)
        for rank in range(below, below + equal + 1):
            counts[rank] += 1 / (equal + 1)
    return counts


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


class Job:
    """A job folder as the cloud reads it."""

    def __init__(self, folder):
        self.model = wire.read_model(cli.read(os.path.join(folder, "model.onnx")))
        self.manifest = json.loads(cli.read(os.path.join(folder, "job.json")))
        self.weights, _ = cli.read_safetensors(os.path.join(folder, "weights.safetensors"))
        _, self.x_shape, self.x = cli.read_npy(os.path.join(folder, "data/train-x-00000.npy"))
        self.y_descr, self.y_shape, self.y = cli.read_npy(os.path.join(folder, "data/train-y-00000.npy"))
        self.views = [self.view(h, *s) for h, s in enumerate(wire.subnetworks(self.model))]

    def view(self, head, nodes, tensors):
        model = self.model
        gathers = [n for n in nodes if model.nodes[n].op == GATHER]
        assert len(gathers) == 1, "one select for each sub-network"
        index = model.tensors[model.nodes[gathers[0]].inputs[1]]
        assert index.dtype == INT64
        column = self.manifest["heads"][head]["label_column"]
        return View(head, nodes, tensors, [t for t in tensors if t in self.weights],
                    struct.unpack(f"<{len(index.data) // 8}q", index.data), self.column(column), column)

    def column(self, number):
        size = {"i4": 4, "i8": 8, "i2": 2, "u1": 1}[self.y_descr[1:]]
        rows, heads = self.y_shape
        return [int.from_bytes(self.y[(r * heads + number) * size:][:size], "little", signed=size > 1)
                for r in range(rows)]

    def stream(self, view, row):
        """The sample that a sub-network sees in a row."""
        size = len(self.x) // self.x_shape[0]
        return bytes(self.x[row * size + i] for i in view.select)

    def find_original(self, sample):
        own = [v for v in self.views if self.stream(v, 0) == sample]
        assert len(own) == 1, "the original selects the owner's sample, no decoy does"
        return own[0]


class TellTale(cli.Case):
    """The same architecture for all, so that all that differs is bookkeeping."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        cli.write_idx(cls.path("d"), (1, 6, 6), 3, train=128, seed=4)
        sample = cli.images(128, (1, 6, 6), 3, 8)[0][0]  # row 0 of the set
        cls.jobs = []
        for i in range(NUM_SECRETS):
            case.obfuscate("job", "--decoys", DECOYS, "--decoy-arch", "same", "--seed-hex",
                           hashlib.sha256(b"tell-tale %d" % i).hexdigest(), train="d@train[0:32]",
                           pool="d@train[32:128]")
            job = Job(cls.path("job"))
            cls.jobs.append((job, job.find_original(sample)))
            shutil.rmtree(cls.path("job"))
            os.remove(cls.path("job.key"))

    def ranks(self, trait):
        """trait(job, view) -> number. Per secret: the original's and the decoys'."""
        return [(trait(job, own), [trait(job, v) for v in job.views if v is not own])
                for job, own in self.jobs]

    TRAITS = {
        "head": lambda j, v: v.head,
        "label column": lambda j, v: v.column,
        "first node": lambda j, v: v.nodes[0],
        "last node": lambda j, v: v.nodes[-1],
        "mean node": lambda j, v: sum(v.nodes),
        "first initializer": lambda j, v: list(j.model.tensors).index(v.tensors[0]),
        "last initializer": lambda j, v: list(j.model.tensors).index(v.tensors[-1]),
        "mean initializer": lambda j, v: sum(map(list(j.model.tensors).index, v.tensors)),
        "first weight": lambda j, v: min(map(list(j.weights).index, v.names)),
        "mean weight": lambda j, v: sum(map(list(j.weights).index, v.names)),
        "name of the select": lambda j, v: next(i for i, t in enumerate(j.model.tensors.values())
                                                if t.name in v.tensors and t.dtype == INT64 and t.dims == (36,)),
        "first position": lambda j, v: v.select[0],
        "smallest position": lambda j, v: min(v.select),
        "mean position": lambda j, v: sum(v.select),
        "descents of the positions": lambda j, v: sum(a > b for a, b in zip(v.select, v.select[1:])),
        "largest label first": lambda j, v: v.labels.index(max(v.labels)),
    }

    def test_the_original_has_every_rank_equally_often(self):
        for name, trait in self.TRAITS.items():
            with self.subTest(trait=name):
                counts = rank_counts(self.ranks(trait))
                self.assertLess(chi_square(counts), CHI_SQUARE_001[DECOYS], f"{name}: {counts}")

    def test_the_rank_test_sees_what_it_is_for(self):
        """An original that is always first, and one that is twice as often first as it should be."""
        always = [(0, [1, 2])] * NUM_SECRETS
        often = [(0, [1, 2])] * (2 * NUM_SECRETS // 3) + [(2, [0, 1]), (1, [0, 2])] * (NUM_SECRETS // 6)
        equal = [(0, [0, 0])] * NUM_SECRETS
        self.assertGreater(chi_square(rank_counts(always)), CHI_SQUARE_001[DECOYS])
        self.assertGreater(chi_square(rank_counts(often)), CHI_SQUARE_001[DECOYS])
        self.assertLess(chi_square(rank_counts(equal)), 1e-9)

    def test_the_owner_s_slot_is_secret_but_fixed_by_the_secret(self):
        self.assertEqual({own.head for _, own in self.jobs}, set(range(DECOYS + 1)))

    def test_positions_are_disjoint_and_cover_everything(self):
        for job, _ in self.jobs:
            sizes = {len(v.select) for v in job.views}
            self.assertEqual(sizes, {36})
            self.assertEqual(sorted(p for v in job.views for p in v.select), list(range(36 * (DECOYS + 1))))
            self.assertEqual(job.x_shape, (32, 1, 6 * (DECOYS + 1), 6))

    def test_nodes_attributes_and_constants_are_the_same_in_all(self):
        for job, _ in self.jobs:
            nodes = [collections.Counter((n.op, n.attributes, len(n.inputs), n.fields)
                                         for n in (job.model.nodes[i] for i in v.nodes)) for v in job.views]
            select = {job.model.nodes[i].inputs[1] for v in job.views for i in v.nodes
                      if job.model.nodes[i].op == GATHER}
            shapes, constants = [], []
            for v in job.views:
                tensors = [job.model.tensors[t] for t in v.tensors]
                shapes.append(collections.Counter((t.dtype, t.dims, t.encoding) for t in tensors))
                constants.append(collections.Counter(t.data for t in tensors
                                                     if t.name not in job.weights and t.name not in select))
            for views in (nodes, shapes, constants):
                self.assertEqual([v for v in views if v != views[0]], [])
            heads = [dict(h, output=None, label_column=None) for h in job.manifest["heads"]]
            self.assertEqual([h for h in heads if h != heads[0]], [])

    def test_everything_belongs_to_a_sub_network(self):
        """An initializer or node of the original's that no other has would stick out."""
        for job, _ in self.jobs[:5]:
            self.assertEqual(sorted(t for v in job.views for t in v.tensors), sorted(job.model.tensors))
            self.assertEqual(sorted(n for v in job.views for n in v.nodes), list(range(len(job.model.nodes))))
            self.assertEqual(sorted(job.weights), list(job.weights), "the file is sorted by name")

    def test_label_columns_look_alike(self):
        for job, _ in self.jobs:
            self.assertEqual({frozenset(v.labels) for v in job.views}, {frozenset(range(3))})

    def layers(self):
        """(dims of a weight) -> values of the original's, values of the decoys'."""
        found = collections.defaultdict(lambda: ([], []))
        for job, own in self.jobs:
            for v in job.views:
                for name in v.names:
                    tensor = job.model.tensors[name]
                    found[tensor.dims][v is not own].extend(floats(tensor.data))
        return found

    def test_initial_weights_follow_one_law(self):
        layers = self.layers()
        self.assertEqual(sorted(layers), [(3,), (3, 8), (8,), (8, 36)])
        for dims, (own, decoys) in layers.items():
            own = own[:len(own) // NUM_SECRETS]  # the same values in every job
            with self.subTest(layer=dims):
                self.assertLess(kolmogorov_smirnov(own, decoys), 1)
                bound = (36 if dims[0] == 8 else 8) ** -0.5  # 1 / sqrt(fan in)
                self.assertLessEqual(max(map(abs, own + decoys)), bound * (1 + 1e-6))
        own, decoys = layers[(8, 36)]
        self.assertGreater(kolmogorov_smirnov(own[:288], [1.5 * v for v in decoys]), 1,
                           "a wider law is seen")


class Forms(cli.Case):
    """What one job is enough to see."""

    def test_initial_weights_lie_on_one_lattice(self):
        """The zoo's and the decoys' generator leave the same pattern in the low bits."""
        cli.write_idx(self.path("g"), (1, 12, 12), 3, train=64)
        self.ok("zoo", "lenet", "--input", "1x12x12", "--classes", 3, "--seed", 1, "-o", "lenet.onnx")
        self.obfuscate("lattice", "--decoy-arch", "same", "--seed-hex", "5a" * 32, model="lenet.onnx",
                       train="g@train[0:32]", pool="g@train[32:64]")
        job = Job(self.path("lattice"))
        own = job.find_original(cli.images(64, (1, 12, 12), 3, 2)[0][0])
        zeros = [collections.Counter(), collections.Counter()]
        for v in job.views:
            for name in v.names:
                for bits, in struct.iter_unpack("<I", job.model.tensors[name].data):
                    zeros[v is not own][min((bits & -bits).bit_length() if bits else 12, 12)] += 1
        total = [sum(z.values()) for z in zeros]
        self.assertEqual(total[0], total[1])
        statistic = sum((zeros[0][k] - zeros[1][k]) ** 2 / (zeros[0][k] + zeros[1][k])
                        for k in set(zeros[0]) | set(zeros[1]))
        self.assertLess(statistic, 32.9, f"{zeros}")  # 0.1 % point of chi-square with 12 degrees

    def test_attributes_have_one_form_across_architectures(self):
        """Decoys come from edits of the original: an edit must not write an operator otherwise than it
        was written in the original's file."""
        cli.write_idx(self.path("w"), (1, 12, 12), 3, train=128)
        self.ok("zoo", "lenet", "--input", "1x12x12", "--classes", 3, "--seed", 1, "-o", "walk.onnx")
        forms = collections.defaultdict(set)
        ops = set()
        for i in range(12):
            self.obfuscate("walk", "--decoys", 3, "--decoy-arch", "walk", "--walk-steps", 8, "--seed-hex", f"{i:064x}",
                           model="walk.onnx", train="w@train[0:32]", pool="w@train[32:128]")
            job = Job(self.path("walk"))
            for v in job.views:
                for node in (job.model.nodes[n] for n in v.nodes):
                    forms[node.op].add((tuple(name for name, _ in node.attributes), node.fields,
                                        len(node.inputs)))
                for name in v.tensors:
                    forms["initializer"].add((job.model.tensors[name].encoding, len(job.model.tensors[name].dims) > 0))
                ops |= {job.model.nodes[n].attributes for n in v.nodes if job.model.nodes[n].op == "Conv"}
            shutil.rmtree(self.path("walk"))
            os.remove(self.path("walk.key"))
        self.assertGreater(len(ops), 2, "no kernel was changed: the test would be empty")
        forms["initializer"] = {frozenset(forms["initializer"])}
        self.assertEqual({op: f for op, f in forms.items() if len(f) > 1}, {})

    def test_what_the_original_does_not_use_stays_at_home(self):
        """An initializer that no node reads: only the original would have one."""
        cli.write(self.path("extra.onnx"),
                  wire.tiny_model(extra=[wire.tensor("left_over.weight", (5,), [1, 2, 3, 4, 5])]))
        self.obfuscate("extra", "--decoy-arch", "same", model="extra.onnx")
        job = Job(self.path("extra"))
        self.assertEqual(sorted(t for v in job.views for t in v.tensors), sorted(job.model.tensors))
        self.assertEqual(sorted(job.weights), sorted(n for v in job.views for n in v.names))

    def test_heads_are_equally_wide_where_the_model_has_spare_classes(self):
        cli.write(self.path("spare.onnx"), wire.tiny_model(classes=5))
        self.obfuscate("spare", "--decoys", 2, "--decoy-arch", "same", model="spare.onnx")
        self.assertEqual([h["num_classes"] for h in Job(self.path("spare")).manifest["heads"]], [5, 5, 5])

    def test_columns_of_labels_are_one_where_classes_are_paired(self):
        """The pool has five classes, in other shares, the data three."""
        cli.write_idx(self.path("own"), (1, 6, 6), 3, train=40, test=20)
        cli.write_idx(self.path("pool"), (1, 6, 6), 5, train=400, seed=2)
        for options, paired in ([], False), (["--pair-classes"], True):
            name = f"paired-{paired}"
            self.obfuscate(name, *options, "--keep-classes", "--decoys", 2, train="own@train", pool="pool@train")
            job = Job(self.path(name))
            self.assertEqual(len({tuple(v.labels) for v in job.views}) == 1, paired)
            self.assertEqual({h["num_classes"] for h in job.manifest["heads"]}, {3} if paired else {3, 5})
            streams = {tuple(job.stream(v, row) for row in range(40)) for v in job.views}
            self.assertEqual(len(streams), 3)


class Covers(cli.Case):
    """Covers that the cloud could know for other versions of private samples."""
    SIDE, ROWS, DECOYS = 16, 64, 3
    VERSIONS = {
        "brighter": lambda image, r: [min(255, v + 30) for v in image],
        "paler": lambda image, r: [40 + 2 * v // 3 for v in image],
        "noisy": lambda image, r: [max(0, min(255, round(v + r.gauss(0, 5)))) for v in image],
        "coarser": lambda image, r: [sum(image[y // 2 * 32 + x // 2 * 2 + d] for d in (0, 1, 16, 17)) // 4
                                     for y in range(16) for x in range(16)],
    }

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls().ok("zoo", "mlp", "--input", f"1x{cls.SIDE}x{cls.SIDE}", "--classes", 3, "--seed", 1, "-o", "mlp.onnx")

    @classmethod
    def draw(cls, r):
        """Waves, as a photograph has them: no two images are nearly equal."""
        waves = [(30 * r.gauss(0, 1), r.gauss(0, 0.4), r.gauss(0, 0.4), r.uniform(0, 6.28)) for _ in range(6)]
        return [max(0, min(255, round(110 + sum(a * math.sin(u * x + v * y + p) for a, u, v, p in waves))))
                for y in range(cls.SIDE) for x in range(cls.SIDE)]

    def audit(self, name, planted):
        """Makes a job whose pool has planted(private, r) among its covers, and lets lookup see it: the exit
        code, the original's candidate, and what failed by its name."""
        r = random.Random(name)
        private = [self.draw(r) for _ in range(self.ROWS)]
        pool = planted(private, r)
        pool += [self.draw(r) for _ in range(self.ROWS * self.DECOYS - len(pool))]
        r.shuffle(pool)
        os.makedirs(self.path(name))
        x, total = b"".join(map(bytes, private + pool)), len(private + pool)
        cli.write(self.path(name, "train-images-idx3-ubyte"),
                  struct.pack(">IIII", 0x803, total, self.SIDE, self.SIDE) + x)
        cli.write(self.path(name, "train-labels-idx1-ubyte"),
                  struct.pack(">II", 0x801, total) + bytes(i % 3 for i in range(total)))
        self.obfuscate(f"{name}-job", "--decoys", self.DECOYS, "--decoy-arch", "same", "--seed-hex", "3d" * 32,
                       model="mlp.onnx", train=f"{name}@train[0:{self.ROWS}]",
                       pool=f"{name}@train[{self.ROWS}:{total}]")
        done = cli.run("audit", f"{name}-job", "--key", f"{name}-job.key", "--attacks", "lookup", "--json", "--quiet",
                       cwd=self.dir)
        job = Job(self.path(f"{name}-job"))
        own = job.views.index(job.find_original(bytes(private[0])))
        return done.rc, own, {f["metric"]: f for f in json.loads(done.stdout)["findings"] if f["verdict"] != "pass"}

    def test_other_versions_of_private_samples_are_found(self):
        rc, _, failed = self.audit("clean", lambda private, r: [])
        self.assertEqual((rc, failed), (0, {}))
        for name, version in self.VERSIONS.items():
            with self.subTest(version=name):
                rc, own, failed = self.audit(name, lambda private, r: [version(i, r) for i in private[:40]])
                self.assertEqual(rc, 3)
                self.assertEqual(set(failed), {"p that so many images nearly equal are in two streams",
                                               "p that streams are nearly equal to others equally often"})
                self.assertEqual(failed["p that streams are nearly equal to others equally often"]["guess"], own)

    def test_a_cover_in_two_versions_is_found(self):
        def planted(private, r):
            covers = [self.draw(r) for _ in range(60)]
            return covers + [self.VERSIONS["noisy"](i, r) for i in covers]
        rc, own, failed = self.audit("twice", planted)
        self.assertEqual(rc, 3)
        self.assertEqual(failed["p that streams are nearly equal to others equally often"]["guess"], own)


if __name__ == "__main__":
    unittest.main()
