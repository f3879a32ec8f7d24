"""The C library through its Python binding: options, errors, results. Needs neither torch nor numpy."""
import ctypes
import json
import os
import random
import struct
import subprocess
import sys
import unittest

import support

import amalgam
from amalgam import _library as lib


def write_idx(folder, count, seed):
    """A small set in MNIST's form: 6x6, 3 classes."""
    r = random.Random(seed)
    os.makedirs(folder)
    for stem, n in (("train", count), ("t10k", count // 4)):
        with open(f"{folder}/{stem}-images-idx3-ubyte", "wb") as f:
            f.write(struct.pack(">IIII", 0x803, n, 6, 6) + r.randbytes(36 * n))
        with open(f"{folder}/{stem}-labels-idx1-ubyte", "wb") as f:
            f.write(struct.pack(">II", 0x801, n) + bytes(i % 3 for i in range(n)))


class Library(support.Case):
    def setUp(self):
        super().setUp()
        write_idx("own", 96, 1)
        write_idx("pool", 160, 2)
        lib.call("amalgam_zoo", lib.options({"name": "mlp", "out": "mlp.onnx", "shape": [1, 6, 6], "classes": 3,
                                             "seed": 1}))

    def obfuscate(self, **options):
        given = {"decoys_from": "pool", "key": "job.key", "out": "job", "seed_hex": support.SEED, "progress": False,
                 **options}
        return amalgam.obfuscate("mlp.onnx", "own@train", "own@test", **given)

    def test_importing_it_imports_neither_torch_nor_numpy(self):
        code = ("import sys, amalgam; amalgam.__version__; "
                "assert not {'torch', 'numpy'} & set(sys.modules), sorted(sys.modules)")
        subprocess.run([sys.executable, "-c", code], check=True,
                       env=dict(os.environ, PYTHONPATH=os.path.join(support.ROOT, "python")))

    def test_version_is_the_library_s(self):
        self.assertRegex(amalgam.__version__, r"^\d+\.\d+\.\d+$")
        with self.assertRaises(AttributeError):
            amalgam.no_such_name  # noqa: B018

    def test_the_cycle_runs_on_files_alone(self):
        job = self.obfuscate()
        self.assertEqual((job.decoys, job.train_samples, job.val_samples, job.chance), (1, 96, 24, 0.5))
        self.assertIn("right 1 time in 2", repr(job))
        seen = amalgam.inspect(job)
        self.assertEqual((seen["kind"], len(seen["subnetworks"])), ("job folder", 2))
        trained = amalgam.train(job, epochs=2, batch=16, lr=0.01, progress=False)
        self.assertEqual((trained.steps, len(trained.heads)), (12, 2))
        self.assertEqual(trained.weights, job.weights)
        self.assertGreater(trained.heads[0]["train_loss"], 0)
        self.assertEqual(amalgam.inspect("job.key")["kind"], "key file (sealed)")

    def test_same_secret_same_job(self):
        a, b = self.obfuscate(), self.obfuscate(out="again", key="again.key")
        self.assertEqual(a.job_parameters, b.job_parameters)
        for name in ("job.json", "model.onnx", "weights.safetensors"):
            with open(f"job/{name}", "rb") as f, open(f"again/{name}", "rb") as g:
                self.assertEqual(f.read(), g.read(), name)

    def test_covers_may_be_paired_by_class(self):
        def columns(**options):
            job = self.obfuscate(keep_classes=True, **options)
            with open(os.path.join(job, "data", "train-y-00000.npy"), "rb") as f:
                labels = f.read()[-2 * 96 * 4:]
            return [struct.unpack("<192i", labels)[c::2] for c in range(2)]
        paired = columns(pair_classes=True)
        self.assertEqual(paired[0], paired[1])
        self.assertEqual(paired[0], tuple(i % 3 for i in range(96)))
        loose = columns(out="loose", key="loose.key")
        self.assertNotEqual(loose[0], loose[1])

    def test_options_that_are_wrong_are_named(self):
        def call(options):
            return lib.call("amalgam_zoo", options if isinstance(options, bytes) else json.dumps(options).encode())
        good = {"name": "mlp", "out": "x.onnx"}
        for options, what, code in [
                ({**good, "colour": 1}, 'unknown option "colour"', "INVALID"),
                ({"name": "mlp"}, 'option "out" is missing', "INVALID"),
                ({**good, "classes": 1}, "found 1, expected 2 to", "INVALID"),
                ({**good, "classes": "ten"}, "integer", "MALFORMED"),
                ({**good, "shape": [1, 6]}, "2 dims, expected 3", "INVALID"),
                ({**good, "shape": [1, 6, 0]}, "found 0, expected 1", "INVALID"),
                ({**good, "name": "no-such"}, "no-such", "NOT_FOUND"),
                (b"{", "JSON", "TRUNCATED"), (b"[]", "array", "MALFORMED"),
                (b'{"name": "mlp", "name": "mlp"}', "duplicate", "MALFORMED")]:
            with self.subTest(options=options), self.refused(amalgam.AmalgamError, what, code):
                call(options)
        with self.refused(amalgam.AmalgamError, 'unknown option "learning_rate"', "INVALID", hint="known: batch"):
            amalgam.train("job", learning_rate=1)
        with self.refused(amalgam.AmalgamError, 'found "rprop", expected one of sgd, adam, adamw', "INVALID"):
            amalgam.train("job", optimizer="rprop")

    def test_obfuscate_refuses_and_leaves_nothing(self):
        for options, what, code in [
                ({"decoys": 0}, "found 0, expected 1 to 63", "INVALID"),
                ({"decoys_from": None}, "no covers", "INVALID"),
                ({"noise": "gaussian"}, "exclude each other", "INVALID"),
                ({"decoys_from": None, "noise": "pink"}, 'found "pink"', "INVALID"),
                ({"model_amount": 0.5}, "paper mode", "INVALID"),
                ({"preprocess": ([0.5], [0])}, "deviation 0 is 0", "INVALID"),
                ({"preprocess": ([0.5, 0.5], [1])}, "2 means and 1 deviation", "INVALID"),
                ({"preprocess": 3}, "expected \\(means, deviations\\)", "INVALID"),
                ({"seed_hex": "xyz"}, "64", "INVALID"),
                ({"key": "job/in.key"}, "must not lie in the job", "UNSAFE_PATH"),
                ({"passphrase": ""}, "is empty", "INVALID"),
                ({"task": "regression"}, "", "MISMATCH"),
                ({"task": "guess"}, 'found "guess"', "INVALID"),
                ({"decoys_from": "own@train"}, "", "MISMATCH")]:
            with self.subTest(options=options), self.refused(amalgam.AmalgamError, what, code):
                self.obfuscate(**options)

    def test_a_job_or_key_that_is_there_stays_as_it_is(self):
        self.obfuscate()
        for options in ({"key": "other.key"}, {"out": "other"}):
            with self.refused(amalgam.AmalgamError, "exists already", "EXISTS"):
                self.obfuscate(**options)
        amalgam.inspect("job")

    def test_a_stopped_call_leaves_nothing(self):
        data = lib.Datasets()
        data.train.spec, data.covers.spec = b"own@train", b"pool"
        stop = lib.ReportFunction(lambda context, event: False)
        options = lib.options({"model": "mlp.onnx", "out": "job", "key": "job.key"})
        with self.refused(amalgam.AmalgamError, "stopped", "INTERRUPTED"):
            lib.call("amalgam_obfuscate", options, None, ctypes.byref(data), ctypes.byref(lib.Progress(stop, None)))

    def test_a_key_with_a_passphrase_asks_for_it(self):
        self.obfuscate(passphrase="open sesame")
        self.assertTrue(amalgam.inspect("job.key")["passphrase"])
        weights = amalgam.train("job", batch=32, progress=False).weights
        with self.refused(amalgam.AmalgamError, "protected by a passphrase", hint="passphrase="):
            amalgam.extract("job.key", weights)
        with self.refused(amalgam.WrongKeyError, "", "BAD_KEY"):
            amalgam.extract("job.key", weights, passphrase="open says me")

    def test_a_key_of_another_job_or_damaged_is_refused(self):
        self.obfuscate()
        self.obfuscate(out="other", key="other.key", seed_hex="1e" * 32)
        weights = amalgam.train("job", batch=32, progress=False).weights
        with self.assertRaises(amalgam.AmalgamError) as caught:
            amalgam.extract("other.key", weights)
        self.assertIn("weights file of the job", caught.exception.hint)
        with open("job.key", "rb") as f:
            raw = bytearray(f.read())
        raw[-1] ^= 1
        with open("bad.key", "wb") as f:
            f.write(raw)
        os.chmod("bad.key", 0o600)
        with self.refused(amalgam.WrongKeyError, "", "BAD_KEY"):
            amalgam.extract("bad.key", weights)

    def test_the_audit_says_what_the_cloud_learns(self):
        job = self.obfuscate()
        before = sorted(os.listdir("job"))
        report = amalgam.audit(job, html="audit.html", progress=False)
        self.assertEqual((report.candidates, report.rows), (2, 96))
        self.assertIn(report.verdict, ("pass", "FAIL"))
        self.assertEqual(report.passed, not report.failed)
        self.assertLess({"graph", "naturalness"}, {f["attack"] for f in report.findings})
        self.assertIn(report.sentence, str(report))
        with open("audit.html", encoding="utf-8") as page:
            self.assertIn(report.sentence, page.read())
        self.assertEqual(sorted(os.listdir("job")), before)

    def test_several_owners_share_a_job(self):
        owners = [amalgam.Owner("mlp.onnx", "own@train[0:64]", "ann.key", "own@test", preprocess=([0.4], [0.3])),
                  amalgam.Owner("mlp.onnx", "pool@train[0:64]", "bob.key", "pool@test[0:24]", passphrase="two words")]
        job = amalgam.pack(owners, out="job", progress=False)
        self.assertEqual((job.train_samples, job.val_samples, len(job.keys), len(job.own_parameters)), (64, 24, 2, 2))
        self.assertAlmostEqual(job.compute, 1.0, places=2)
        self.assertIn("2 owners, each with 64 training", repr(job))
        amalgam.train(job, epochs=1, batch=16, lr=0.01, progress=False)
        ann = amalgam.extract("ann.key", job.weights)
        bob = amalgam.extract("bob.key", job.weights, passphrase="two words")
        self.assertEqual(sorted(ann), sorted(bob))
        self.assertNotEqual(ann["fc1.weight"].tolist(), bob["fc1.weight"].tolist())
        for others, what, code in [(owners[:1], "1 owners, expected 2 to", "INVALID"),
                                   (owners, "exists", "EXISTS"),
                                   ([amalgam.Owner("mlp.onnx", "own@train", "cem.key")] * 2, "key of owner", "INVALID")]:
            with self.subTest(what=what), self.refused(amalgam.AmalgamError, what, code):
                amalgam.pack(others, out="job" if code == "EXISTS" else "other", progress=False)

    def test_decoys_may_start_from_the_model_s_weights(self):
        self.assertEqual(self.obfuscate(decoy_start="same", decoy_arch="same").decoys, 1)
        with self.refused(amalgam.AmalgamError, "needs decoys of the model's own architecture", "INVALID"):
            self.obfuscate(decoy_start="same", decoy_arch="walk", key="other.key", out="other")

    def test_the_audit_without_a_key_only_guesses(self):
        job = self.obfuscate()
        report = amalgam.audit(job.path, attacks="naturalness", progress=False)
        self.assertEqual(report.verdict, "report")
        self.assertIn("guess", report.findings[0])

    def test_the_audit_finds_what_a_job_was_made_badly_with(self):
        job = self.obfuscate(decoys_from=None, noise="uniform", amount=1.0, decoy_arch="same")
        report = amalgam.audit(job, attacks="marginal,corr", progress=False)
        self.assertEqual(report.verdict, "FAIL" if report.failed else "pass")
        self.assertTrue(all(f["attack"] in ("marginal", "corr") for f in report.findings))

    def test_an_audit_that_cannot_be_is_refused(self):
        job = self.obfuscate()
        for options, what, code in [
                ({"attacks": "telepathy"}, 'telepathy', "INVALID"),
                ({"html": "job/audit.html"}, "must not lie in the job folder", "UNSAFE_PATH"),
                ({"aux": ["nowhere"]}, "", "NOT_FOUND"),
                ({"secrets": 1}, "found 1, expected 2 to", "INVALID"),
                ({"other": "nowhere", "attacks": "reupload"}, "", "NOT_FOUND")]:
            with self.subTest(options=options), self.refused(amalgam.AmalgamError, what, code):
                amalgam.audit(job, progress=False, **options)
        with self.refused(amalgam.AmalgamError, '"max_id" needs "key"', "INVALID"):
            amalgam.audit("job", max_id=0.5, progress=False)
        with self.refused(amalgam.AmalgamError, "", "NOT_FOUND"):
            amalgam.audit("nowhere", progress=False)

    def test_data_info_tells_what_a_spec_is(self):
        self.assertEqual(lib.call("amalgam_data_info", b"own@train[0:10]"),
                         {"kind": "idx", "samples": 10, "dtype": "U8", "shape": [1, 6, 6], "classes": 3,
                          "target_dtype": "I32", "target_shape": [], "vocab_size": 0, "pad": -1})
        with self.refused(amalgam.AmalgamError, "", "NOT_FOUND"):
            lib.call("amalgam_data_info", b"nowhere")

    def test_inspect_shows_a_model_s_parameters_and_what_trains(self):
        graph = amalgam.inspect("mlp.onnx")["graph"]
        self.assertEqual(sum(graph["trained"].values()), graph["trainable_parameters"])
        self.assertTrue(all(graph["parameters"][n]["role"] == "trainable" for n in graph["trained"]))

    def test_every_model_of_the_zoo_is_listed(self):
        self.assertIn("resnet18", lib.call("amalgam_zoo", None)["names"])


if __name__ == "__main__":
    unittest.main()
