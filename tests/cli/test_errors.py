"""Every verb refuses bad input: the exit code, one line that says what and where, a hint where one helps,
and no file left behind."""
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import time
import unittest

import cli
import wire

SEED = "0f" * 32


class Refusals(cli.Case):
    """Runs a verb that must fail."""

    def refuse(self, args, error, rc=1, hint=None, **options):
        """error: what the line after "amalgam: error: " must match, hint: the hint's line."""
        before = cli.snapshot(self.dir)
        r = cli.run(*args, cwd=self.dir, **options)
        after = cli.snapshot(self.dir)
        for name in set(after) - set(before):  # one failure must not make the next
            self.remove(self.path(name))
        lines = r.stderr.splitlines()
        shown = f"{args}\n{r.stdout}{r.stderr}"
        self.assertEqual(r.rc, rc, shown)
        self.assertEqual(r.stdout, "", shown)
        self.assertTrue(lines and lines[0].startswith("amalgam: error: "), shown)
        self.assertRegex(lines[0], f"^amalgam: error: (?:{error})")
        self.assertLess(len(lines), 3, shown)
        if len(lines) == 2 or hint:
            self.assertEqual(len(lines), 2, shown)
            self.assertRegex(lines[1], f"^amalgam: hint: {hint or ''}")
        self.assertEqual(after, before, shown)

    @staticmethod
    def remove(path):
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.remove(path)

    def refuse_all(self, table):
        for case in table:
            with self.subTest(args=case[0]):
                self.refuse(*case[:2], **dict(case[2] if len(case) > 2 else {}))


USAGE = {"rc": 2, "hint": ".*--help"}


class Usage(Refusals):
    def test_options_that_are_wrong_exit_with_2(self):
        self.refuse_all([
            (["nonsense"], "unknown verb 'nonsense'", USAGE),
            (["zoo"], "amalgam zoo: missing -o", USAGE),
            (["zoo", "-o", "x.onnx"], "amalgam zoo: missing MODEL", USAGE),
            (["zoo", "lenet", "mlp", "-o", "x.onnx"], "amalgam zoo: unexpected argument 'mlp'", USAGE),
            (["zoo", "lenet", "--input", "3x32", "-o", "x.onnx"], "--input: found '3x32', expected CxHxW",
             USAGE),
            (["zoo", "lenet", "--input", "3x32x0", "-o", "x.onnx"], "--input: found '3x32x0'", USAGE),
            (["zoo", "lenet", "--input", "1x99999999999999999999x3", "-o", "x.onnx"], "--input: found",
             USAGE),
            (["zoo", "lenet", "--classes", "many", "-o", "x.onnx"],
             "--classes: found 'many', expected a whole number from 2 to 1048576", USAGE),
            (["zoo", "lenet", "--classes", "1", "-o", "x.onnx"], "--classes: found '1'", USAGE),
            (["zoo", "lenet", "--classes", "10", "--classes", "11", "-o", "x"], "--classes is given twice",
             USAGE),
            (["zoo", "lenet", "--list=yes"], "--list takes no value", USAGE),
            (["zoo", "lenet", "--vocab", "10", "-o", "x.onnx"], "--vocab is not an option of lenet", USAGE),
            (["zoo", "lenet", "--pad", "0", "-o", "x.onnx"], "--pad is not an option of lenet", USAGE),
            (["zoo", "gpt", "--vocab", "10", "--input", "1x28x28", "-o", "x.onnx"], "--input is not an option of gpt", USAGE),
            (["zoo", "gpt", "--vocab", "10", "--classes", "4", "-o", "x.onnx"], "--classes is not an option of gpt", USAGE),
            (["zoo", "gpt", "--vocab", "10", "--dropout", "1", "-o", "x.onnx"], "--dropout: found '1'", USAGE),
            (["zoo", "lenet", "-o"], "-o: its value is missing", USAGE),
            (["zoo", "--o", "x.onnx"], "amalgam zoo: unknown option --o", USAGE),
            (["extract", "--key", "k"], "amalgam extract: missing --weights", USAGE),
            (["extract", "--key", "model.onnx", "--weights", "w", "-o", "model.onnx"],
             "model.onnx: would be written and is also the key", USAGE),
            (["extract", "--key", "k", "--weights", "w", "-o", "./w", "--safetensors", "./w"],
             "./w: would be written and is also the other output", USAGE),
            (["eval", "--model", "model.onnx"], "amalgam eval: missing --data", USAGE),
            (["eval", "--model", "model.onnx", "--data", "data", "--normalize", "1,2/3"],
             "--normalize: found '1,2/3', expected as many means as deviations", {"rc": 2}),
            (["verify", "--key", "k"], "amalgam verify: missing --job", USAGE),
            (["verify", "--key", "k", "--job", "j", "--resume"], "amalgam verify: unknown option --resume",
             USAGE),
            (["inspect"], "amalgam inspect: missing FILE|JOB".replace("|", r"\|"), USAGE),
            (["inspect", "a", "b"], "amalgam inspect: unexpected argument 'b'", USAGE),
            (["demo", "now"], "amalgam demo: unexpected argument 'now'", USAGE),
            (["train"], "amalgam train: missing a job folder, or --model, --train and -o", USAGE),
            (["train", "--model", "model.onnx", "-o", "x.onnx"], "amalgam train: missing --train", USAGE),
            (["train", "job", "--model", "m.onnx"], r"a job \('job'\) has its model and data in it", USAGE),
            (["train", "job", "--optimizer", "rprop"],
             "--optimizer: found 'rprop', expected one of sgd adam adamw", USAGE),
            (["train", "job", "--lr", "nan"], "--lr: found 'nan', expected a number", USAGE),
            (["train", "job", "--lr", "-1"], "--lr: found '-1', expected a number from 0", USAGE),
        ])

    def test_obfuscate_wants_one_way_to_fill_the_decoys(self):
        base = ["obfuscate", "--model", "model.onnx", "--train", "data", "--key", "k", "-o", "j"]
        self.refuse_all([
            (base, "nothing to fill the decoys' streams with: no --decoys-from",
             {"rc": 2, "hint": "split your source at random"}),
            (base + ["--decoys-from", "data", "--noise", "uniform"], "--decoys-from and --noise/--amount",
             {"rc": 2, "hint": "covers hide"}),
            (base + ["--noise", "pink"], "--noise: found 'pink', expected uniform, gaussian", USAGE),
            (base + ["--noise", "values:"], "--noise: found 'values:'", USAGE),
            (base + ["--decoys-from", "data", "--model-amount", "2"], "--model-amount goes with paper mode",
             {"rc": 2, "hint": "decoys of another size"}),
            (base + ["--noise", "uniform", "--val-decoys-from", "data"], "--val-decoys-from needs", USAGE),
            (base + ["--noise", "uniform", "--pair-classes"], "--pair-classes needs --decoys-from", USAGE),
            (base + ["--decoys", "0", "--noise", "uniform"], "--decoys: found '0', expected a whole number "
             "from 1 to 63", USAGE),
        ])

    def test_the_cloud_program_has_the_same_manners(self):
        self.refuse(["--epochs", "0"], "--epochs: found '0'", program=cli.AMALGAM_TRAIN, **USAGE)
        self.refuse([], "amalgam-train: missing JOB", program=cli.AMALGAM_TRAIN, **USAGE)


class Zoo(Refusals):
    def test_refusals(self):
        self.refuse_all([
            (["zoo", "alexnet", "-o", "x.onnx"], "alexnet: unknown model", {"hint": "the models are lenet"}),
            (["zoo", "alexnet", "--vocab", "10", "-o", "x.onnx"], "alexnet: unknown model", {"hint": "the models are lenet"}),
            (["zoo", "lenet", "--input", "1x2x2", "-o", "x.onnx"], "lenet: height is 2, expected 12"),
            (["zoo", "gpt", "-o", "x.onnx"], "gpt: vocab is 0, expected 2", {"hint": "give the number of tokens: `amalgam tokenize`"}),
            (["zoo", "gpt", "--vocab", "10", "--heads", "5", "-o", "x.onnx"],
             "gpt: d_model is 384, expected a multiple of the 5 heads"),
            (["zoo", "lstm", "--vocab", "10", "--pad", "10", "-o", "x.onnx"], "lstm: pad is 10, expected 0 to 9"),
            (["zoo", "embedding_bag", "--vocab", "10", "--heads", "2", "-o", "x.onnx"],
             "embedding_bag: heads is 2, but this model has none"),
            (["zoo", "mlp", "-o", "no/such/folder/x.onnx"], "no/such/folder/x.onnx: cannot write it: No such"),
            (["zoo", "mlp", "-o", "data"], "data: cannot write it: Is a directory"),
        ])

    def test_a_full_disk(self):
        self.refuse(["zoo", "mlp", "-o", "x.onnx"], "x.onnx: cannot write it: File too large",
                    file_limit=4096)

    def test_stdout_that_is_full(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([cli.AMALGAM, "zoo", "--list"], stdout=full, stderr=subprocess.PIPE,
                                  env=cli.environment(), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.decode(), "amalgam: error: stdout: cannot write\n")


class Obfuscate(Refusals):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cli.write(cls.path("broken.onnx"), cli.read(cls.path("model.onnx"))[:-20])
        cli.write(cls.path("noise.onnx"), random.Random(1).randbytes(500))
        cli.write(cls.path("det.onnx"), wire.tiny_model(activation="Det"))
        cli.write(cls.path("two.onnx"), wire.tiny_model(classes=2))
        cli.write(cls.path("big.onnx"), wire.tiny_model(side=7))
        cli.write_idx(cls.path("wide"), (1, 6, 7), 3)
        shutil.copytree(cls.path("data"), cls.path("cut"))
        os.truncate(cls.path("cut/train-images-idx3-ubyte"), 500)
        shutil.copytree(cls.path("data"), cls.path("unequal"))
        labels = cli.read(cls.path("data/train-labels-idx1-ubyte"))
        cli.write(cls.path("unequal/train-labels-idx1-ubyte"), struct.pack(">II", 0x801, 5) + labels[8:13])
        cli.write(cls.path("words.txt"), b"1 2 three")
        cli.write(cls.path("empty.txt"), b"")
        cli.write(cls.path("taken.key"), b"a key")
        os.mkdir(cls.path("taken"))
        cls.floats = cli.write_npy_pair(cls.dir, "f", (1, 6, 6), 3)
        cls.hwc = cli.write_npy_pair(cls.dir, "hwc", (6, 6, 1), 3, floats=False)

    def base(self, model="model.onnx", train=cli.Case.TRAIN, pool=cli.Case.POOL, key="k", out="j"):
        return ["obfuscate", "--model", model, "--train", train, "--decoys-from", pool, "--key", key,
                "-o", out]

    def test_models(self):
        self.refuse_all([
            (self.base(model="none.onnx"), "none.onnx: .*No such file"),
            (self.base(model="broken.onnx"), "broken.onnx: ", {"hint": "is this an ONNX file, and complete"}),
            (self.base(model="noise.onnx"), "noise.onnx: "),
            (self.base(model="data"), "data: "),
            (self.base(model="det.onnx"), ".*node_activate.*Det|.*Det.*node_activate"),
            (self.base(model="two.onnx"), "data@train.*has 3 classes, two.onnx gives .*2",
             {"hint": "the model's last layer needs one output for each class"}),
            (self.base(model="big.onnx"), r"data@train.*samples are .*6, ?6.*, big.onnx expects .*7, ?7"),
        ])

    def test_data(self):
        self.refuse_all([
            (self.base(train="nowhere"), "nowhere: no such file"),
            (self.base(train="data@holdout"), "data@holdout: "),
            (self.base(train="data[5:2]"), r"data\[5:2\]: "),
            (self.base(train="data[0:9999]"), "data"),
            (self.base(train="cut"), "cut/train-images-idx3-ubyte: "),
            (self.base(train="unequal"), "unequal.*5.*128|unequal.*128.*5"),
            (self.base(train="model.onnx"), "model.onnx: "),
            (self.base(train=self.hwc), r".*samples are .*6, ?6, ?1.*expects .*1, ?6, ?6"),
            (self.base(pool="nowhere"), "nowhere: no such file"),
            (self.base(pool="wide@train"), r".*wide@train: samples of the covers are U8\[1,6,7\], expected U8\[1,6,6\]"),
            (self.base(pool=self.floats), r".*f-x.npy.* of the covers are F32\[1,6,6\], expected U8\[1,6,6\]"),
            (self.base(pool="data@train[25%-30%:seed=3]"), ".*the cover pool has 6 samples",
             {"hint": "use fewer decoys, a larger pool"}),
            (self.base(pool=self.TRAIN), ".*row 3 is in the training data and in the cover pool",
             {"hint": "take parts of one set that do not overlap"}),
            (self.base() + ["--val", "wide@test"], "wide@test: samples are .*6, ?7"),
        ])

    def test_paths(self):
        self.refuse_all([
            (self.base(key="taken.key"), "taken.key: exists already; a key is never overwritten",
             {"hint": "choose another --key"}),
            (self.base(out="taken"), "taken: exists already; a job is never overwritten",
             {"hint": "choose another -o"}),
            (self.base(key="j/job.key"), "j/job.key: the key must not lie in the job folder",
             {"hint": "the job goes to the cloud, the key never does"}),
            (self.base(key="./j/job.key", out="data/../j/"), "./j/job.key: the key must not lie in"),
            (self.base(key="j", out="./j"), "j: is both the key and the job"),
            (self.base(key="no/such/k"), "no/such/k: .*No such file"),
            (self.base(out="no/such/j"), "no/such/j: .*No such file"),
            (self.base(out="model.onnx/j"), "model.onnx/j: .*Not a directory"),
        ])
        if os.geteuid():
            os.mkdir(self.path("locked"), 0o555)
            self.refuse(self.base(key="locked/k"), "locked/k: cannot write into its folder: Permission")

    def test_other_options(self):
        self.refuse_all([
            (self.base() + ["--seed-hex", "abc"], "seed: found 3 characters, expected 64 hex digits"),
            (self.base() + ["--normalize", "0,0/1,1"], r"patient_scans: mean and std of 2 channels"),
            (self.base() + ["--passphrase"], "passphrase: there is no terminal to ask on",
             {"hint": "give it through a file descriptor"}),
            (self.base() + ["--passphrase-fd", "77"], "--passphrase-fd: cannot read it: Bad file desc"),
            (self.base() + ["--passphrase-fd", "0"], "--passphrase-fd: is empty"),
        ])
        noise = [a for a in self.base() if a not in ("--decoys-from", self.POOL)]
        self.refuse_all([
            (noise + ["--noise", "values:none.txt"], "none.txt: .*No such file"),
            (noise + ["--noise", "values:words.txt"], r"words.txt: expected a number \(at byte 4\)"),
            (noise + ["--noise", "values:empty.txt"], "noise: found a list of 0 values, expected 1"),
        ])

    def test_augmenting_what_is_no_image(self):
        self.refuse_all([
            (["train", "--model", "model.onnx", "--train", "data", "-o", "t.onnx", "--augment", "flip"],
             "--augment: found 'flip', expected one of none crop4 hflip", USAGE),
        ])

    def test_losses(self):
        self.refuse_all([
            (self.base() + ["--loss", "mse"], "loss: mse is no loss of the task classification",
             {"hint": "numbers are the task regression"}),
            (self.base() + ["--loss", "crossentropy"], 'loss: found "crossentropy", expected cross_entropy, mse, l1'),
            (self.base() + ["--class-weights", "1,2"], "class weights: fewer than 3, one for each class"),
            (self.base() + ["--class-weights", "1,2,nan"], 'class weights: weight 2 is "nan", expected a number'),
            (self.base() + ["--task", "multi_label"], "data@train.*: targets are I32.*, multi_label with model.onnx expects"),
            (["train", "--model", "model.onnx", "--train", "data", "-o", "t.onnx", "--class-weights", "1,2,3,4"],
             "class weights: more than 3"),
            (["train", "job", "--loss", "l1"], "a job .'job'. has its model and data in it: .*--loss", USAGE),
        ])

    def test_freezing(self):
        self.refuse_all([
            (self.base() + ["--freeze", "no.such"], 'freeze: "no.such" matches none of the model\'s weights',
             {"hint": "there are .*, .* .amalgam inspect names them all"}),
            (self.base() + ["--freeze", "*"], "freeze: all [0-9]+ weights of the model are frozen: nothing would"),
            (self.base() + ["--freeze", "*[!a],"], 'freeze: "" matches none'),
            (self.base() + ["--freeze-norm-stats"], "--freeze-norm-stats needs --freeze", USAGE),
            (["train", "--model", "model.onnx", "--train", "data", "-o", "t.onnx", "--freeze", "no.such"],
             'freeze: "no.such" matches none'),
            (["train", "job", "--freeze", "x"], "a job .'job'. has its model and data in it: .*--freeze", USAGE),
        ])

    def test_a_full_disk_at_every_file(self):
        """Just too little room for each of the files, the key among them, and for anything at all."""
        self.obfuscate("enough", "--seed-hex", SEED)
        sizes = {os.path.getsize(os.path.join(f, n)) for f, _, names in os.walk(self.path("enough"))
                 for n in names}
        for limit in sorted({0, 1, os.path.getsize(self.path("enough.key")) - 1} | {s - 1 for s in sizes}):
            with self.subTest(limit=limit):
                self.refuse(self.base() + ["--seed-hex", SEED, "--quiet"], ".*: .*File too large",
                            file_limit=limit)


class Killed(cli.Case):
    """A larger job, interrupted while its data are written."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cli.write_idx(cls.path("large"), (1, 60, 60), 3, train=12000)
        cli.write(cls.path("large.onnx"), wire.tiny_model(side=60))
        cls.args = ("obfuscate", "--model", "large.onnx", "--train", "large@train[25%:seed=1]",
                    "--decoys-from", "large@train[25%-100%:seed=1]", "--decoys", 3)

    def begin(self, name):
        """Starts and waits until the first data file grows; returns the process, the folder and what
        was there before."""
        before = set(os.listdir(self.dir))
        p = cli.start(*self.args, "--key", f"{name}.key", "-o", name, cwd=self.dir)
        end = time.monotonic() + 60
        while time.monotonic() < end and p.poll() is None:
            for folder in set(os.listdir(self.dir)) - before:
                data = self.path(folder, "data")
                if os.path.isdir(data) and os.listdir(data):
                    return p, before
            time.sleep(0.001)
        out, err = p.communicate(timeout=60)
        self.fail(f"no data were seen being written: {p.returncode} {out} {err}")

    def test_kill_leaves_a_clearly_named_folder_and_no_key(self):
        p, before = self.begin("dead")
        p.kill()
        p.communicate(timeout=60)
        left = set(os.listdir(self.dir)) - before
        self.assertEqual(p.returncode, -signal.SIGKILL, "it ended before it was killed")
        self.assertEqual(len(left), 1)
        self.assertRegex(left.pop(), r"^dead\.tmp-\w{6}$")

    def test_an_interrupt_or_a_termination_leaves_nothing(self):
        for name, number in (("int", signal.SIGINT), ("term", signal.SIGTERM), ("hup", signal.SIGHUP)):
            with self.subTest(signal=name):
                p, before = self.begin(name)
                p.send_signal(number)
                _, err = p.communicate(timeout=60)
                err = err.decode()
                cli.check_sanitizers(err)
                self.assertEqual(p.returncode, 1, err)
                self.assertRegex(err, r"(?m)^amalgam: error: .*stopped on request")
                self.assertEqual(set(os.listdir(self.dir)), before)


class Job(Refusals):
    """Verbs that read a job or a key: damaged ones, and others' ones."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        case.obfuscate("job", "--seed-hex", SEED, "--decoys", 2, "--decoy-arch", "same")
        case.obfuscate("other", "--seed-hex", "a0" * 32, "--decoys", 2, "--decoy-arch", "same")
        key = bytearray(cli.read(cls.path("job.key")))
        key[len(key) // 2] ^= 1
        cli.write(cls.path("flipped.key"), key)
        cli.write(cls.path("short.key"), key[:40])
        cli.write(cls.path("empty"), b"")

    def damaged(self, name, file, change):
        """A copy of the job in which change(bytes) was applied to file; None removes it."""
        shutil.copytree(self.path("job"), self.path(name))
        data = change(cli.read(self.path(name, file)))
        os.remove(self.path(name, file))
        if data is not None:
            cli.write(self.path(name, file), data)
        return name

    def test_train(self):
        grow = ("--threads", "1", "--batch", "16")
        self.refuse_all([
            (["train", "nowhere", *grow], "nowhere/job.json: .*No such file"),
            (["train", "data", *grow], "data/job.json: .*No such file"),
            (["train", "model.onnx", *grow], "model.onnx.*: .*Not a directory"),
            (["train", "job", "--batch", "33", "--threads", "1"], ".*32.*33|.*33.*32"),
            (["train", "job", "--resume", *grow], ".*checkpoint"),
            (["train", self.damaged("nomodel", "model.onnx", lambda d: None), *grow], "nomodel/model.onnx"),
            (["train", self.damaged("nojson", "job.json", lambda d: d[:-9]), *grow], "nojson/job.json"),
            (["train", self.damaged("badsize", "data/train-x-00000.npy", lambda d: d[:-1]), *grow],
             "badsize/data/train-x-00000.npy"),
            (["train", self.damaged("badname", "job.json", lambda d: d.replace(b"data/train-x", b"../data/t-x")),
              *grow], "badname/job.json"),
            (["train", self.damaged("badhead", "job.json", lambda d: d.replace(b'"h1"', b'"h9"')), *grow],
             "h1: an output of the model, but no head of the manifest"),
            (["train", self.damaged("badlabel", "data/train-y-00000.npy", lambda d: d[:-1] + b"\x7f"), *grow],
             "badlabel/data/train-y|.*label"),
            (["train", self.damaged("badweights", "weights.safetensors", lambda d: b"\xff" * 8 + d[8:]), *grow],
             "badweights/weights.safetensors"),
        ])

    def test_plain_training(self):
        base = ["train", "--model", "model.onnx", "--train", "data", "-o", "t.onnx", "--threads", "1"]
        cli.write(self.path("two.onnx"), wire.tiny_model(classes=2))
        self.refuse_all([
            (["train", "--model", "none.onnx", "--train", "data", "-o", "t.onnx"], "none.onnx: .*No such"),
            (["train", "--model", "two.onnx", "--train", "data", "-o", "t.onnx"], ".*3 classes.*2"),
            (base + ["--batch", "4096"], ".*128.*4096|.*4096.*128"),
            (["train", "--model", "model.onnx", "--train", "data", "-o", "no/such/t.onnx"], "no/such/t.onnx"),
            (base + ["--val", "nowhere"], "nowhere: no such file"),
            (base + ["--batch", "16", "--accumulate", "3"], ".*16 does not divide into 3 parts"),
            (base + ["--early-stop", "2"], "validation data: there are none, stopping early needs them"),
            (base + ["--best"], "validation data: there are none, keeping the best weights needs them"),
            (base + ["--schedule", "one-cycle", "--warmup", "5"], ".*one-cycle schedule has a warm-up of its own"),
            (base + ["--centered"], ".*centered is RMSprop's"),
        ])

    def test_training_on_a_full_disk(self):
        shutil.copytree(self.path("job"), self.path("full"))
        before = cli.snapshot(self.path("full"))
        r = cli.run("train", "full", "--quiet", "--threads", 1, "--batch", 16, cwd=self.dir, file_limit=1000)
        self.assertEqual(r.rc, 1)
        self.assertRegex(r.stderr, r"^amalgam: error: .*File too large")
        after = cli.snapshot(self.path("full"))
        self.assertEqual({n: h for n, h in after.items() if not n.startswith("out")}, before)
        self.assertNotIn("out/weights.safetensors", after)
        self.assertFalse([n for n in after if ".tmp-" in n], after)

    def test_eval(self):
        cli.write(self.path("two.onnx"), wire.tiny_model(classes=2))
        model = cli.read(self.path("model.onnx"))
        weight = wire.read_model(model).tensors["embed_tumour.weight"].data
        cli.write(self.path("nan.onnx"), model.replace(weight[:4], b"\x00\x00\xc0\x7f", 1))
        self.refuse_all([
            (["eval", "--model", "none.onnx", "--data", "data"], "none.onnx: .*No such"),
            (["eval", "--model", "model.onnx", "--data", "nowhere"], "nowhere: no such file"),
            (["eval", "--model", "two.onnx", "--data", "data"], ".*3 classes.*2", {"hint": ".*3 classes"}),
            (["eval", "--model", "nan.onnx", "--data", "data", "--json"], "nan.onnx: .*NaN|.*embed_tumour"),
            (["eval", "--model", "job/model.onnx", "--data", "data"], "loss: 0 terms for the model.s 3 outputs: .h0."),
        ])

    def test_keys(self):
        extract = lambda key: ["extract", "--weights", "job/weights.safetensors", "-o", "t.onnx", "--key", key]
        verify = lambda key: ["verify", "--job", "job", "--steps", "1", "--threads", "1", "--key", key]
        for verb in (extract, verify):
            self.refuse_all([
                (verb("none.key"), "none.key: .*No such file"),
                (verb("flipped.key"), "flipped.key: "),
                (verb("short.key"), "short.key: "),
                (verb("empty"), "empty: "),
                (verb("model.onnx"), "model.onnx: "),
                (verb("other.key"), r"p\d+: |job: is not the job of this key", {"hint": ".*job.*key"}),
            ])

    def test_verify(self):
        base = ["verify", "--key", "job.key", "--steps", "1", "--threads", "1", "--quiet", "--job"]
        self.refuse_all([
            (base + ["nowhere"], "nowhere"),
            (base + [self.damaged("hash", "data/train-x-00000.npy", lambda d: d[:-1] + b"\0")],
             "hash/data/train-x-00000.npy"),
        ])
        self.refuse(base + ["job"], "no/such: cannot make a temporary folder in it",
                    env={"TMPDIR": "no/such"})
        self.refuse(base + ["job"], ".*File too large", file_limit=100)

    def test_a_job_whose_samples_shrank_is_no_job_of_the_key(self):
        """A manifest, data and graph that agree with each other but not with the key: reading at the
        key's positions would leave the sample."""
        case = "other-shape"
        cli.write_idx(self.path("small"), (1, 4, 4), 3)
        cli.write(self.path("small.onnx"), wire.tiny_model(side=4))
        self.obfuscate(case, "--seed-hex", SEED, "--decoys", 2, model="small.onnx",
                       train="small@train[25%:seed=3]", pool="small@train[25%-100%:seed=3]")
        self.refuse(["verify", "--key", "job.key", "--steps", "1", "--job", case],
                    f"{case}: is not the job of this key", hint="key and job are made together")

    def test_inspect(self):
        cli.write(self.path("text.txt"), b"hello")
        self.refuse_all([
            (["inspect", "nowhere"], "nowhere: .*No such file"),
            (["inspect", "text.txt"], "text.txt: is no kind of file that Amalgam knows",
             {"hint": "known: a job folder"}),
            (["inspect", "empty"], "empty: is no kind"),
            (["inspect", "data"], "data/job.json: "),
            (["inspect", self.damaged("changed", "README.md", lambda d: d[:-1] + b"!")], "changed/README.md"),
        ])

    def test_inspect_says_whether_a_model_can_be_trained(self):
        def look(activation):
            cli.write(self.path("tried.onnx"), wire.tiny_model(activation=activation))
            return json.loads(self.ok("inspect", "tried.onnx", "--json"))
        seen = look("Relu")
        self.assertTrue(seen["trainable"])
        self.assertNotIn("why", seen)
        self.assertEqual(seen["graph"]["operators"], {"Flatten": 1, "Gemm": 2, "Relu": 1})
        seen = look("Det")
        self.assertFalse(seen["trainable"])
        self.assertRegex(seen["why"], r'node "node_activate" \(Det\): .*Det')
        self.assertEqual(seen["operators_not_covered"], {"Det": 1})
        self.assertNotIn("graph", seen)

    def test_inspect_prints_no_control_characters_of_a_file(self):
        cli.write_safetensors(self.path("evil.safetensors"), {
            "__metadata__": {"title": "\x1b]0;owned\x07", "c1": "\u009b31m"},
            "t\x1b[2J": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)
        for more in ((), ("--json",)):
            out = self.ok("inspect", "evil.safetensors", *more)
            self.assertIn("owned", out)
            self.assertFalse([c for c in out if c != "\n" and (ord(c) < 32 or ord(c) == 127)], out)

    def test_demo(self):
        os.mkdir(self.path("nothing"))
        self.refuse_all([
            (["demo", "--data", "nowhere", "-o", "d"], "nowhere: no such folder",
             {"hint": "apt-get install dataset-fashion-mnist"}),
            (["demo", "--data", "data", "-o", "data"], "data: cannot make the folder: File exists",
             {"hint": "remove it"}),
        ])
        before = cli.snapshot(self.dir)
        r = cli.run("demo", "--data", "nothing", "-o", "d", cwd=self.dir)
        self.assertEqual(r.rc, 1)
        self.assertIn("amalgam: error: ", r.stderr)
        self.assertEqual(cli.snapshot(self.dir), before)


class Poison(Refusals):
    """Weights that come back from the cloud wrong: extract refuses each and writes nothing."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        case.obfuscate("job", "--seed-hex", SEED, "--decoys", 2, "--decoy-arch", "same")
        case.obfuscate("other", "--seed-hex", "a0" * 32, "--decoys", 2, "--decoy-arch", "same")
        cls.header, cls.data = cli.read_safetensors(cls.path("job/weights.safetensors"))
        # The tensors of the original are those whose loss makes extraction fail.
        cls.own = []
        for name in cls.header:
            cls.make("probe.safetensors", lambda h, d, n=name: h.pop(n))
            args = ("--key", "job.key", "--weights", "probe.safetensors", "-o", "probe.onnx")
            if name in cli.run("extract", *args, cwd=cls.dir).stderr:
                cls.own.append(name)
        assert len(cls.own) == 4, cls.own
        cls.foreign = sorted(set(cls.header) - set(cls.own))
        for name in ("probe.safetensors", "probe.onnx"):
            if os.path.exists(cls.path(name)):
                os.remove(cls.path(name))

    @classmethod
    def make(cls, name, change):
        """A weights file after change(header, data); data are packed anew from the header's tensors."""
        header = json.loads(json.dumps(cls.header))
        data = bytearray(cls.data)
        change(header, data)
        packed, at = b"", 0
        for entry in header.values():
            begin, end = entry["data_offsets"]
            packed += data[begin:end]
            entry["data_offsets"] = [at, at + end - begin]
            at += end - begin
        return cli.write_safetensors(cls.path(name), header, packed)

    def refuse_weights(self, file, error, **options):
        self.refuse(["extract", "--key", "job.key", "--weights", file, "-o", "t.onnx", "--safetensors",
                     "t.safetensors"], error, **options)

    def test_the_untouched_file_is_accepted(self):
        self.make("good.safetensors", lambda h, d: None)
        self.ok("extract", "--key", "job.key", "--weights", "good.safetensors", "-o", "good.onnx")

    def test_tensors(self):
        own, foreign = self.own[0], self.foreign[0]

        def put(name, bits):
            def change(header, data):
                at = header[name]["data_offsets"][0]
                data[at:at + 4] = bits
            return change

        def transposed(header, data):
            header[own]["shape"] = header[own]["shape"][::-1] + [1]

        def half(header, data):
            begin, end = header[own]["data_offsets"]
            header[own].update(dtype="F16", data_offsets=[begin, begin + (end - begin) // 2])

        hint = {"hint": "is this the weights file of the job that this key"}
        nan, inf = b"\x00\x00\xc0\x7f", b"\x00\x00\x80\xff"
        for name, change, error, more in (
                ("missing", lambda h, d: h.pop(own), own, hint),
                ("shape", transposed, f"{own}: ", hint),
                ("half", half, f"{own}: found element type F16, expected F32", {}),
                ("nan", put(own, nan), f"{own}: element 0 is NaN or infinite", {"hint": "training diverged"}),
                ("inf", put(own, inf), f"{own}: element 0 is NaN or infinite", {}),
                ("decoy-nan", put(foreign, nan), f"{foreign}: element 0 is NaN", {})):
            with self.subTest(name):
                self.make(f"{name}.safetensors", change)
                self.refuse_weights(f"{name}.safetensors", error, **more)

    def test_files(self):
        raw = cli.read(self.path("job/weights.safetensors"))
        first, second = list(self.header)[:2]
        overlap = json.loads(json.dumps(self.header))
        overlap[second]["data_offsets"] = [o - 4 for o in overlap[second]["data_offsets"]]
        cli.write_safetensors(self.path("overlap.safetensors"), overlap, self.data)
        outside = json.loads(json.dumps(self.header))
        outside[first]["data_offsets"][1] += 10 ** 6
        cli.write_safetensors(self.path("outside.safetensors"), outside, self.data)
        for name, data in (("huge", struct.pack("<Q", 1 << 62) + raw[8:]),
                           ("truncated", raw[:-1]), ("header-cut", raw[:40]), ("tiny", raw[:5]), ("void", b""),
                           ("trailing", raw + b"\0" * 4),
                           ("pickle", b"\x80\x04\x95" + raw),
                           ("twice", struct.pack("<Q", 0x82) + (b'{"p":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                            b'"p":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}').ljust(0x82) + b"\0" * 8)):
            cli.write(self.path(f"{name}.safetensors"), data)
        for name in ("overlap", "outside", "huge", "truncated", "header-cut", "tiny", "void", "trailing", "pickle",
                     "twice"):
            with self.subTest(name):
                self.refuse_weights(f"{name}.safetensors", f"{name}.safetensors: ")
        self.refuse_weights("none.safetensors", "none.safetensors: .*No such file")
        self.refuse_weights("data", "data: ")

    def test_weights_of_another_job(self):
        self.refuse_weights("other/weights.safetensors", "p",
                            hint="is this the weights file of the job that this key")

    def test_a_full_disk_leaves_neither_output(self):
        self.refuse_weights("job/weights.safetensors", "t.*File too large", file_limit=1000)
        self.refuse_weights("job/weights.safetensors", "t.onnx: .*File too large", file_limit=1700)


if __name__ == "__main__":
    unittest.main()
