"""The whole cycle through the programs: obfuscate, train, extract equals training alone, byte for byte."""
import json
import math
import os
import struct
import unittest

import cli
import wire

TRAINING = ("--epochs", 2, "--batch", 8, "--optimizer", "sgd", "--lr", 0.05, "--momentum", 0.9,
            "--weight-decay", "5e-4", "--label-smoothing", 0.1, "--schedule", "cosine", "--warmup", 2,
            "--threads", 1, "--seed", 7, "--quiet")


def weights(onnx):
    return {t.name: struct.unpack(f"<{len(t.data) // 4}f", t.data) for t in wire.read_model(onnx).tensors.values()
            if t.dtype == 1}


class Cycle(cli.Case):
    def check(self, name, *more, model="model.onnx", train=None, pool=cli.Case.POOL, normalize=(), both=()):
        """Obfuscates, trains the job with the cloud's program and the model alone, extracts, and demands
        the same file. both: options of obfuscating and of training alone."""
        train = train or self.TRAIN
        said = self.obfuscate(name, *more, *normalize, *both, model=model, train=train, pool=pool)
        self.ok(name, *TRAINING, program=cli.AMALGAM_TRAIN)
        self.ok("train", "--model", model, "--train", train, "-o", f"{name}-alone.onnx", *normalize,
                *both, *TRAINING)
        self.ok("extract", "--key", f"{name}.key", "--weights", f"{name}/out/weights.safetensors",
                "-o", f"{name}.onnx")
        self.assertEqual(cli.read(self.path(f"{name}.onnx")), cli.read(self.path(f"{name}-alone.onnx")))
        self.assertNotEqual(cli.read(self.path(f"{name}.onnx")), cli.read(self.path(model)),
                            "nothing was trained")
        return said

    def test_lenet_in_one_decoy_equals_training_alone(self):
        cli.write_idx(self.path("mnist"), (1, 28, 28), 10, train=96, test=24)
        self.ok("zoo", "lenet", "--input", "1x28x28", "--classes", 10, "--seed", 1, "-o", "lenet.onnx")
        train, pool = "mnist@train[33%:seed=3]", "mnist@train[33%-100%:seed=3]"
        said = self.check("lenet1", "--decoys", 1, "--val", "mnist@test[0:8]", model="lenet.onnx",
                          train=train, pool=pool)
        self.assertIn("the cloud's guess is right 1 time in 2", said)
        out = self.ok("verify", "--key", "lenet1.key", "--job", "lenet1", "--steps", 3, "--batch", 8,
                      "--threads", 1, "--quiet")
        self.assertRegex(out, r"^verify: [\d,]+ parameters, 0 bits differ \(3 steps, 1 thread\)\n$")
        said = self.ok("eval", "--model", "lenet1.onnx", "--data", "mnist@test", "--threads", 1)
        self.assertEqual(said, self.ok("eval", "--model", "lenet1-alone.onnx", "--data", "mnist@test",
                                       "--threads", 1))
        self.assertRegex(said, r"^24 samples: loss \d+\.\d+, top-1 [\d.]+ %, top-5 [\d.]+ %\n$")

    def test_augmented_images_equal_training_alone(self):
        augment = ("--augment", "crop4,hflip")
        self.obfuscate("moved", "--decoys", 2)
        self.ok("moved", *augment, *TRAINING, program=cli.AMALGAM_TRAIN)
        for name, more in (("with", augment), ("without", ())):
            self.ok("train", "--model", "model.onnx", "--train", self.TRAIN, "-o", f"{name}.onnx", *more, *TRAINING)
        self.ok("extract", "--key", "moved.key", "--weights", "moved/out/weights.safetensors", "-o", "moved.onnx")
        self.assertEqual(cli.read(self.path("moved.onnx")), cli.read(self.path("with.onnx")))
        self.assertNotEqual(cli.read(self.path("moved.onnx")), cli.read(self.path("without.onnx")))
        out = self.ok("verify", "--key", "moved.key", "--job", "moved", "--steps", 3, "--batch", 8,
                      "--threads", 1, "--quiet", *augment)
        self.assertIn(", 0 bits differ", out)

    def test_weighted_classes_equal_training_alone(self):
        for name, weights in (("own", "3,1,0.5"), ("even", "balanced")):
            self.check(name, "--decoys", 2, both=("--class-weights", weights))
            heads = json.loads(cli.read(self.path(f"{name}/job.json")))["heads"]
            self.assertEqual([len(h["class_weights"]) for h in heads], [3] * 3)
            out = self.ok("verify", "--key", f"{name}.key", "--job", name, "--steps", 3, "--batch", 8,
                          "--threads", 1, "--quiet")
            self.assertIn(", 0 bits differ", out)

    def test_frozen_weights_come_back_as_they_were(self):
        self.ok("zoo", "lenet", "--input", "1x28x28", "--classes", 10, "--seed", 1, "-o", "deep.onnx")
        cli.write_idx(self.path("digits"), (1, 28, 28), 10, train=96, test=24)
        self.check("frozen", "--decoys", 2, model="deep.onnx", train="digits@train[33%:seed=3]",
                          pool="digits@train[33%-100%:seed=3]", both=("--freeze", "conv1.*,conv2.*", "--freeze", "fc1.bias"))
        self.assertEqual(len(json.loads(cli.read(self.path("frozen/job.json")))["frozen"]), 3 * 5)
        before, after = (weights(cli.read(self.path(f"{name}.onnx"))) for name in ("deep", "frozen"))
        self.assertEqual({n for n in before if before[n] == after[n]},
                         {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.bias"})
        out = self.ok("verify", "--key", "frozen.key", "--job", "frozen", "--steps", 3, "--batch", 8,
                      "--threads", 1, "--quiet")
        self.assertIn(", 0 bits differ", out)

    def mixed(self, name, model, *more, flag="--symmetry"):
        """A job with --symmetry: bits that are those of the original mixed alike, weights that are its own but for
        rounding. What obfuscate says."""
        said = self.obfuscate(name, flag, *more, "--decoys", 2, model=model)
        told = json.loads(cli.read(self.path(f"{name}/job.json")))["input"]
        self.assertIs(told["mixed"], True)
        self.assertEqual(told.get("rotated", False), flag == "--symmetry-rotate")
        refused = cli.run(name, "--augment", "hflip", program=cli.AMALGAM_TRAIN, cwd=self.dir)
        self.assertEqual(refused.rc, 1)
        self.assertIn("mixed: they have no neighbours to crop or mirror", refused.stderr)
        self.ok(name, *TRAINING, program=cli.AMALGAM_TRAIN)
        self.ok("extract", "--key", f"{name}.key", "--weights", f"{name}/out/weights.safetensors", "-o", f"{name}.onnx")
        self.ok("train", "--model", model, "--train", self.TRAIN, "-o", f"{name}-alone.onnx", *more, *TRAINING)
        extracted, alone = (weights(cli.read(self.path(f"{name}{which}.onnx"))) for which in ("", "-alone"))
        before = weights(cli.read(self.path(model)))
        self.assertEqual(list(extracted), list(before))
        for weight, values in alone.items():
            most = max(map(abs, values))
            self.assertLess(max(abs(a - b) for a, b in zip(values, extracted[weight])), 1e-4 * most, weight)
            self.assertGreater(max(abs(a - b) for a, b in zip(values, before[weight])), 1e-3 * most, weight)
        found = json.loads(self.ok("verify", "--key", f"{name}.key", "--job", name, "--steps", 4, "--batch", 8,
                                   "--threads", 1, "--json"))
        self.assertEqual(found["bits_different"], 0)
        self.assertLess(found["rounding"], 1e-4)
        return said

    def test_mixed_values_come_back_and_change_nothing_but_rounding(self):
        self.ok("zoo", "mlp", "--input", "1x6x6", "--classes", 3, "--seed", 1, "-o", "mlp.onnx")
        said = self.mixed("mixed", "mlp.onnx")
        self.assertIn("values are mixed within blocks of 6x6 in the job; extract puts the columns back", said)
        self.assertNotIn("patches", said)

    def test_mixed_patches_come_back_with_their_positions(self):
        cli.write(self.path("vit.onnx"), wire.tiny_vit())
        said = self.mixed("patches", "vit.onnx")
        self.assertIn("values are mixed within blocks of 3x3, and the blocks among themselves, in the job", said)
        self.assertIn("columns and positions", said)

    def test_patches_that_a_layer_tells_apart_keep_their_order(self):
        """The values within them are mixed all the same."""
        cli.write(self.path("flat.onnx"), wire.tiny_vit(flat=True))
        self.assertIn("values are mixed within blocks of 3x3 in the job", self.mixed("ordered", "flat.onnx"))
        r = cli.run("obfuscate", "--model", "flat.onnx", "--train", self.TRAIN, "--decoys-from", self.POOL,
                    "--symmetry", "--key", "kept.key", "-o", "kept", cwd=self.dir)
        self.assertRegex(r.stderr, "note: patches keep their order: one of its layers has weights for each patch")

    def refused(self, words, *args, program=None):
        before = cli.snapshot(self.dir)
        r = cli.run(*args, cwd=self.dir, **({"program": program} if program else {}))
        self.assertEqual(r.rc, 1, r.stdout + r.stderr)
        self.assertRegex(r.stderr, words)
        self.assertEqual(cli.snapshot(self.dir), before)

    def test_rotated_values_come_back_and_change_nothing_but_rounding(self):
        self.ok("zoo", "mlp", "--input", "1x6x6", "--classes", 3, "--seed", 1, "-o", "mlp.onnx")
        said = self.mixed("rows", "mlp.onnx", "--normalize", "0.4/0.3", flag="--symmetry-rotate")
        self.assertIn("values are rotated within blocks of 6x6 in the job; extract puts the columns back", said)
        self.assertRegex(said, r"upload 12\.0x")  # three streams of four bytes a value
        dtype, _, _ = cli.read_npy(self.path("rows/data/train-x-00000.npy"))
        self.assertEqual(dtype, "<f4")

    def test_rotated_patches_come_back_with_their_positions(self):
        cli.write(self.path("vit.onnx"), wire.tiny_vit())
        said = self.mixed("turned", "vit.onnx", flag="--symmetry-rotate")
        self.assertIn("values are rotated within blocks of 3x3, and the blocks among themselves, in the job", said)

    def test_rotated_values_are_trained_by_sgd_alone(self):
        cli.write(self.path("vit.onnx"), wire.tiny_vit())
        self.obfuscate("sgd", "--symmetry-rotate", model="vit.onnx")
        for optimizer in ("adam", "adamw"):
            self.refused("rotated: only SGD trains them as it trains the original", "sgd", "--optimizer", optimizer,
                         program=cli.AMALGAM_TRAIN)

    def test_what_cannot_be_rotated_is_refused(self):
        cli.write(self.path("vit.onnx"), wire.tiny_vit())
        cli.write_idx(self.path("large"), (1, 33, 33), 3, train=16, test=8)
        self.ok("zoo", "mlp", "--input", "1x33x33", "--classes", 3, "-o", "large.onnx")
        self.refused("no rotation: the paper's noise", "obfuscate", "--model", "vit.onnx", "--train", self.TRAIN, "--noise",
                     "uniform", "--symmetry-rotate", "--key", "no.key", "-o", "no")
        self.refused("no rotation: blocks of more than 1024 values", "obfuscate", "--model", "large.onnx", "--train",
                     "large@train[50%:seed=3]", "--decoys-from", "large@train[50%-100%:seed=3]", "--symmetry-rotate",
                     "--key", "no.key", "-o", "no")

    def test_networks_whose_values_have_neighbours_are_refused(self):
        cli.write_idx(self.path("clothes"), (1, 28, 28), 10, train=64, test=8)
        self.ok("zoo", "lenet", "--input", "1x28x28", "-o", "stem.onnx")
        before = cli.snapshot(self.dir)
        r = cli.run("obfuscate", "--model", "stem.onnx", "--train", "clothes@train[50%:seed=3]", "--decoys-from",
                    "clothes@train[50%-100%:seed=3]", "--symmetry", "--key", "no.key", "-o", "no", cwd=self.dir)
        self.assertEqual(r.rc, 1, r.stdout + r.stderr)
        self.assertRegex(r.stderr, "no symmetry: .*; expected a dense layer over the whole sample")
        self.assertEqual(cli.snapshot(self.dir), before)

    def test_three_decoys_of_random_architecture(self):
        self.check("k3", "--decoys", 3)

    def test_three_decoys_of_the_same_architecture(self):
        said = self.check("same", "--decoys", 3, "--decoy-arch", "same")
        self.assertRegex(said, r"3 decoys: 1,292 parameters in the job, 323 of them yours")

    def test_float_data_from_npy_with_normalisation(self):
        data = cli.write_npy_pair(self.dir, "f", (1, 6, 6), 3)
        self.check("floats", train=f"{data}[50%:seed=3]", pool=f"{data}[50%-100%:seed=3]",
                   normalize=("--normalize", "0.1/2"))

    def test_a_model_of_two_inputs_comes_back_with_both(self):
        cli.write(self.path("scan-and-row.onnx"), wire.two_inputs())
        scans, labels = cli.write_npy_pair(self.dir, "s", (1, 6, 6), 3).split(",")
        rows = cli.write_npy_pair(self.dir, "r", (1, 1, 4), 3, seed=2).split(",")[0]
        data = f"{scans}+{rows},{labels}"
        self.check("two", model="scan-and-row.onnx", train=f"{data}[50%:seed=3]", pool=f"{data}[50%-100%:seed=3]")
        self.assertEqual(wire.read_model(cli.read(self.path("two.onnx"))).inputs, ["scan", "row"])
        for name in ("model.onnx", "model.py", "job.json"):
            self.assertNotIn(b"amalgam.", cli.read(self.path("two", name)), name)

    def several_outputs(self):
        """Data of a model of two inputs and two outputs; the model is there."""
        cli.write(self.path("detector.onnx"), wire.two_outputs())
        scans, labels = cli.write_npy_pair(self.dir, "s", (1, 6, 6), 3).split(",")
        rows = cli.write_npy_pair(self.dir, "r", (1, 1, 4), 3, seed=2).split(",")[0]
        boxes = cli.write_npy_pair(self.dir, "b", (1, 2, 2), 3, seed=4).split(",")[0]
        return f"{scans}+{rows},{labels}+{boxes}"

    def test_a_model_of_two_outputs_comes_back_with_both(self):
        data, loss = self.several_outputs(), ("--loss", "cross_entropy+0.5*huber:0.25")
        self.check("both", "--val", f"{data}[80:88]", "--val-decoys-from", f"{data}[88:96]", "--decoys", 1,
                   model="detector.onnx", train=f"{data}[0:40]", pool=f"{data}[40:80]", both=loss)
        made = wire.read_model(cli.read(self.path("both.onnx")))
        self.assertEqual((made.inputs, made.outputs), (["scan", "row"], ["class", "box"]))
        for name in ("model.onnx", "model.py", "job.json"):
            self.assertNotIn(b"amalgam.", cli.read(self.path("both", name)), name)
        out = self.ok("verify", "--key", "both.key", "--job", "both", "--steps", 3, "--batch", 8, "--threads", 1,
                      "--quiet")
        self.assertIn(" 0 bits differ", out)
        measure = ("eval", "--model", "both.onnx", "--data", f"{data}[80:88]", *loss)
        self.assertRegex(self.ok(*measure), r"^8 samples: loss [\d.]+\noutput 0: loss [\d.]+, [\d.]+ % right\n"
                                            r"output 1: loss [\d.]+\n$")
        measured = json.loads(self.ok(*measure, "--json"))
        a, b = measured["outputs"]
        self.assertAlmostEqual(measured["loss"], a["loss"] + 0.5 * b["loss"], 6)
        self.assertEqual((sorted(a), sorted(b)), (["accuracy", "loss"], ["loss"]))
        heads = self.ok("inspect", "both", "--json")
        self.assertEqual([h["losses"] for h in json.loads(heads)["subnetworks"]],
                         [[{"loss": "cross_entropy", "weight": 1.0, "shape": [3]},
                           {"loss": "huber", "weight": 0.5, "shape": [2, 2]}]] * 2)

    def test_the_audit_counts_classes_among_several_outputs(self):
        data = self.several_outputs()
        one_class = os.path.join(self.dir, "one-class.npy")
        cli.write(one_class, cli.npy_bytes("<i8", (96,), struct.pack("<96q", *[1] * 96)))
        samples, targets = data.split(",")
        skewed = f"{samples},{one_class}+{targets.split('+')[1]}"
        for name, pool, alike in (("fair", data, True), ("skewed", skewed, False)):
            self.ok("obfuscate", "--model", "detector.onnx", "--train", f"{data}[0:40]", "--decoys-from",
                    f"{pool}[40:80]", "--decoys", 1, "--loss", "cross_entropy+mse", "--key", f"{name}.key",
                    "--quiet", "-o", name)
            found = {f["metric"]: f for f in json.loads(cli.run(
                "audit", "--key", f"{name}.key", name, "--attacks", "graph", "--json", cwd=self.dir).stdout)["findings"]}
            self.assertIn("All heads have 3 classes", found["heads with another number of classes"]["text"])
            self.assertEqual(found["p that columns of labels have one class balance"]["value"] > 0.001, alike)

    def test_several_outputs_need_a_loss_each(self):
        data = self.several_outputs()
        for more, words in (((), 'loss: 0 terms for the model.s 2 outputs: "class" F32.N,3., "box" F32.N,2,2.'),
                            (("--loss", "cross_entropy"), "loss: 1 term for the model's 2 outputs"),
                            (("--loss", "cross_entropy+2huber"), 'loss: found "2huber", expected WEIGHT'),
                            (("--loss", "mse+mse"), r"targets .*F32\[5\].* F32\[7\]"),
                            (("--task", "classify"), "it is classification, for a model of 2 outputs multi_task")):
            self.refused(words, "train", "--model", "detector.onnx", "--train", data, "--batch", 8, "-o", "no.onnx",
                         *more)
            self.refused(words, "obfuscate", "--model", "detector.onnx", "--train", f"{data}[0:40]",
                         "--decoys-from", f"{data}[40:80]", "--key", "no.key", "-o", "no", *more)
        self.refused(r"sample \d+ of the batch for output 1 is [-\d.]+, expected 0 to 1", "train", "--model",
                     "detector.onnx", "--train", data, "--batch", 8, "-o", "no.onnx", "--loss", "cross_entropy+bce")
        self.refused(r"sample \d+ has the target [-\d.]+ for output 1, expected 0 to 1", "obfuscate", "--model",
                     "detector.onnx", "--train", f"{data}[0:40]", "--decoys-from", f"{data}[40:80]", "--loss",
                     "cross_entropy+bce", "--key", "no.key", "-o", "no")
        for left in ("no.onnx", "no.key", "no"):
            self.assertFalse(os.path.exists(self.path(left)))

    def test_paper_mode_with_each_noise(self):
        cli.write(self.path("noise.txt"), b"0 17 255\n3\n")
        for i, noise in enumerate(("uniform", "gaussian", "laplace", "values:noise.txt")):
            with self.subTest(noise=noise):
                said = self.check(f"paper{i}", "--noise", noise, "--amount", 0.5, "--decoys", 2, pool=None)
                self.assertIn("1x6x6 -> 1x9x9", said)
                self.assertNotIn("1 time in", said)

    def test_paper_mode_names_its_search_space_and_what_makes_it_irrelevant(self):
        r = cli.run("obfuscate", "--model", "model.onnx", "--train", self.TRAIN, "--noise", "uniform", "--amount", 0.5,
                    "--key", "space.key", "-o", "space", cwd=self.dir)
        self.assertEqual(r.rc, 0, r.stderr)
        ways = len(str(math.comb(81, 36))) - 1
        self.assertIn(f"10^{ways} ways to choose 36 of 81 positions", r.stderr)
        self.assertIn("undone exactly from 64-256 images without the model", r.stderr)

    def test_noise_values_are_the_only_noise(self):
        cli.write(self.path("v.txt"), b"7")
        self.obfuscate("seven", "--noise", "values:v.txt", "--amount", 1, pool=None)
        _, shape, data = cli.read_npy(self.path("seven/data/train-x-00000.npy"))
        self.assertEqual(shape, (32, 1, 12, 12))
        for row in range(32):  # 144 positions, at most 36 of them the sample's
            self.assertGreaterEqual(data[row * 144:(row + 1) * 144].count(7), 108)

    def test_stopped_and_resumed_training_ends_in_the_same_file(self):
        self.obfuscate("part")
        self.ok("part", *TRAINING, "--max-steps", 3, program=cli.AMALGAM_TRAIN)
        self.ok("train", "part", *TRAINING, "--resume")
        self.ok("train", "--model", "model.onnx", "--train", self.TRAIN, "-o", "part-alone.onnx", *TRAINING)
        self.ok("extract", "--key", "part.key", "--weights", "part/out/weights.safetensors", "-o", "part.onnx")
        self.assertEqual(cli.read(self.path("part.onnx")), cli.read(self.path("part-alone.onnx")))

    def test_extracted_safetensors_hold_the_original_names(self):
        self.obfuscate("st")
        self.ok("extract", "--key", "st.key", "--weights", "st/weights.safetensors", "-o", "st.onnx",
                "--safetensors", "st.safetensors")
        header, data = cli.read_safetensors(self.path("st.safetensors"))
        self.assertEqual(sorted(header), sorted(n for n in wire.TINY_NAMES if "tumour" in n))
        begin, end = header["embed_tumour.weight"]["data_offsets"]
        original = wire.read_model(cli.read(self.path("model.onnx"))).tensors["embed_tumour.weight"]
        self.assertEqual(data[begin:end], original.data, "initial weights come back as they went")


class Keys(cli.Case):
    SEED = "00112233445566778899aabbccddeeff" * 2

    def test_the_same_secret_gives_the_same_bytes(self):
        for name in ("a", "b"):
            self.obfuscate(name, "--seed-hex", self.SEED, "--decoys", 2)
        self.assertEqual(cli.snapshot(self.path("a")), cli.snapshot(self.path("b")))

    def test_two_secrets_give_two_jobs(self):
        self.obfuscate("c", "--seed-hex", self.SEED)
        self.obfuscate("d", "--seed-hex", self.SEED[:-1] + "0")
        self.obfuscate("e")
        self.obfuscate("f")
        jobs = [cli.snapshot(self.path(n)) for n in "cdef"]
        for file in ("model.onnx", "weights.safetensors", "data/train-x-00000.npy"):
            self.assertEqual(len({j[file] for j in jobs}), 4, file)

    def test_the_key_is_for_its_owner_alone(self):
        self.obfuscate("mode")
        self.assertEqual(os.stat(self.path("mode.key")).st_mode & 0o777, 0o600)
        os.chmod(self.path("mode.key"), 0o644)
        r = cli.run("extract", "--key", "mode.key", "--weights", "mode/weights.safetensors", "-o", "m.onnx",
                    cwd=self.dir)
        self.assertEqual(r.rc, 0)
        self.assertRegex(r.stderr, r"amalgam: warning: mode\.key may be read by others: chmod 600")

    def with_passphrase(self, phrase, *args):
        """Runs with phrase behind --passphrase-fd."""
        reader, writer = os.pipe()
        os.write(writer, phrase)
        os.close(writer)
        try:
            return cli.run(*args, "--passphrase-fd", reader, cwd=self.dir, pass_fds=(reader,))
        finally:
            os.close(reader)

    def test_a_passphrase_opens_what_it_closed(self):
        r = self.with_passphrase(b"correct horse\n", "obfuscate", "--model", "model.onnx", "--train",
                                 self.TRAIN, "--decoys-from", self.POOL, "--key", "pp.key", "-o", "pp")
        self.assertEqual(r.rc, 0, r.stderr)
        self.assertTrue(json.loads(self.ok("inspect", "pp.key", "--json"))["passphrase"])
        extract = ("extract", "--key", "pp.key", "--weights", "pp/weights.safetensors", "-o", "pp.onnx")
        before = cli.snapshot(self.dir)
        r = self.with_passphrase(b"correct horsf\n", *extract)
        self.assertEqual(r.rc, 1)
        self.assertRegex(r.stderr, r"^amalgam: error: pp\.key: [^\n]*passphrase")
        r = cli.run(*extract, cwd=self.dir)  # no terminal, no descriptor
        self.assertEqual(r.rc, 1)
        self.assertIn("amalgam: hint: give it through a file descriptor", r.stderr)
        self.assertEqual(cli.snapshot(self.dir), before)
        r = self.with_passphrase(b"correct horse", *extract)  # no newline: the same
        self.assertEqual(r.rc, 0, r.stderr)


class Json(cli.Case):
    def test_everything_machine_readable_parses(self):
        self.obfuscate("j", "--decoys", 2)
        shown = json.loads(self.ok("eval", "--model", "model.onnx", "--data", "data@test", "--json"))
        self.assertEqual(sorted(shown), ["loss", "samples", "top1", "top5"])
        shown = json.loads(self.ok("verify", "--key", "j.key", "--job", "j", "--steps", 2, "--json"))
        self.assertEqual((shown["bits_different"], shown["steps"], shown["parameters"]), (0, 2, 323))
        shown = json.loads(self.ok("inspect", "j", "--json"))
        self.assertEqual((shown["kind"], len(shown["subnetworks"]), shown["train_samples"]),
                         ("job folder", 3, 32))
        self.assertAlmostEqual(shown["chance"], 1 / 3)
        self.assertEqual({s["selected_positions"] for s in shown["subnetworks"]}, {36})
        for file, kind in (("j/model.onnx", "onnx model"), ("j/weights.safetensors", "safetensors"),
                           ("j/data/train-x-00000.npy", "npy array"), ("j.key", "key file (sealed)")):
            self.assertEqual(json.loads(self.ok("inspect", file, "--json"))["kind"], kind)
            self.assertIn(f"kind: {kind}\n", self.ok("inspect", file))


class DataForms(cli.Case):
    def test_cifar_and_image_sized_npy_go_through(self):
        cli.write_cifar(self.path("cifar"), count=40)
        self.ok("zoo", "lenet", "--input", "3x32x32", "--classes", 10, "-o", "c.onnx")
        said = self.obfuscate("cj", model="c.onnx", train="cifar@train[50%:seed=1]",
                              pool="cifar@train[50%-100%:seed=1]")
        self.assertIn("20 training and 0 validation samples, 3x32x32 -> 3x64x32", said)


if __name__ == "__main__":
    unittest.main()
