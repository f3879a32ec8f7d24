"""Nothing secret is in a job folder: a search of every byte of every file, also behind the encodings
that JSON, ONNX, safetensors and npy give it. The search itself is tested on jobs that hold one secret."""
import base64
import calendar
import datetime
import getpass
import json
import os
import random
import shutil
import re
import socket
import struct
import time
import unittest

import cli
import wire

SEED = "c7199b2d6e04f8a35190ab7d33ee8241fa0c6bd95c3217e8904d1fb2a6735ec8"

PART_SEED = 0x7E57DA7A5EED  # of the random part: whoever knows it and the source knows the rows


def encodings(raw):
    """The usual ways to write bytes down."""
    yield raw
    yield raw[::-1]
    for text in (raw.hex(), raw.hex().upper(), base64.b64encode(raw).decode().rstrip("="),
                 base64.urlsafe_b64encode(raw).decode().rstrip("="),
                 base64.b32encode(raw).decode().rstrip("="), ",".join(map(str, raw)),
                 ", ".join(map(str, raw))):
        yield text.encode()


def words(word):
    """A word as programs store it."""
    for form in {word, word.upper(), word.lower()}:
        yield form.encode()
        yield form.encode("utf-16-le")
        yield base64.b64encode(form.encode()).rstrip(b"=")
        yield form.encode().hex().encode()


def dates(day):
    """A day in the usual forms; forms of fewer than eight characters would be found by chance."""
    month, short = calendar.month_name[day.month], calendar.month_abbr[day.month]
    for f in ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y:%m:%d"):
        yield day.strftime(f).encode()
    for text in (f"{month} {day.day}", f"{day.day} {short} {day.year}", f"{short} {day.day:2} "):
        yield text.encode()


def search(folder, secrets):
    """(file, name of the secret) for every secret in a file's bytes or path. secrets: name -> needles."""
    found = []
    for here, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(here, name)
            shown = os.path.relpath(path, folder)
            data = shown.encode() + b"\n" + (cli.read(path) if os.path.isfile(path) else b"")
            found += [(shown, secret) for secret, needles in secrets.items()
                      if any(n in data for n in needles)]
    return found


class Secrecy(cli.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.secrets = {"secret": list(encodings(bytes.fromhex(SEED))),
                       # the secret in parts, as two words or four
                       "half a secret": [n for i in (0, 16) for n in encodings(bytes.fromhex(SEED)[i:i + 16])],
                       "seed of the part": [str(PART_SEED).encode(), f"{PART_SEED:x}".encode(),
                                            struct.pack("<Q", PART_SEED)[:6], struct.pack(">Q", PART_SEED)[2:]],
                       "quarter of a secret": [bytes.fromhex(SEED)[i:i + 8] for i in (0, 8, 16, 24)]}
        for word in wire.TINY_NAMES + ("my-exporter", "9.8.7", "private_model", "hospital_scans", "pool_scans",
                                       "job_secret.key", "amalgam-cli-", os.path.basename(cls.dir)):
            cls.secrets[word] = list(words(word))
        for word in (getpass.getuser(), socket.gethostname(), os.getcwd(), os.path.expanduser("~")):
            if len(word) > 4:  # "root" is found by chance in random bytes once in a while, and in words
                cls.secrets[word] = list(words(word))
        today = datetime.datetime.now(datetime.timezone.utc)
        # seconds since 1970 without the last four digits: three hours each
        cls.secrets["time"] = [str(int(time.time()) // 10000 + n).encode() for n in (-1, 0, 1)]
        cls.secrets["date"] = [d for n in (-1, 0, 1) for d in dates(today + datetime.timedelta(days=n))]
        for k in ("data", "pool"):
            shutil.copytree(cls.path("data"), cls.path({"data": "hospital_scans", "pool": "pool_scans"}[k]))
        # covers that are no copies of the data
        cli.write_idx(cls.path("pool_scans"), (1, 6, 6), 3, seed=2)
        os.rename(cls.path("model.onnx"), cls.path("private_model.onnx"))
        cls().make("job", "--decoys", 2, "--val", "hospital_scans@test[0:8]")

    def make(self, name, *more):
        self.ok("obfuscate", "--model", "private_model.onnx", "--train", f"hospital_scans@train[25%:seed={PART_SEED}]",
                "--decoys-from", "pool_scans", "--key", f"{name}_secret.key", "-o", name, "--seed-hex",
                SEED, *more)

    def test_nothing_is_found_in_a_job(self):
        self.assertEqual(search(self.path("job"), self.secrets), [])

    def test_nothing_is_found_in_a_job_of_the_paper_s_mode(self):
        self.ok("obfuscate", "--model", "private_model.onnx", "--train", f"hospital_scans@train[25%:seed={PART_SEED}]",
                "--noise", "gaussian", "--normalize", "0.123456/0.654321", "--key", "paper_secret.key",
                "-o", "paper", "--seed-hex", SEED)
        self.assertEqual(search(self.path("paper"), self.secrets), [])

    def test_nothing_is_found_after_training(self):
        shutil.copytree(self.path("job"), self.path("trained"))
        self.ok("trained", "--threads", 1, "--batch", 16, "--epochs", 2, program=cli.AMALGAM_TRAIN)
        without_dates = {k: v for k, v in self.secrets.items() if k not in ("date", "time")}  # the cloud knows
        self.assertEqual(search(self.path("trained"), without_dates), [])

    def test_the_program_names_itself_in_the_readme_and_the_script_alone(self):
        names = {"amalgam": list(words("amalgam")) + list(words("Amalgam"))}
        self.assertEqual({f for f, _ in search(self.path("job"), names)}, {"README.md", "train.py"})
        readme = cli.read(self.path("job/README.md")).decode()
        self.assertEqual(set(re.findall(r"(?i)amalgam\S*", readme)), {"amalgam-train"})
        model = wire.read_model(cli.read(self.path("job/model.onnx")))
        # ModelProto: ir_version, graph, opset; GraphProto: nodes, name, tensors, inputs, outputs
        self.assertEqual({f.number for f in model.top}, {1, 7, 8})
        self.assertEqual({f.number for f in model.graph}, {1, 2, 5, 11, 12})
        for node in model.nodes:
            self.assertEqual((node.name, set(node.fields) - {1, 2, 4, 5}), ("", set()))

    def test_the_readme_is_the_same_for_every_job(self):
        self.obfuscate("unlike", "--decoys", 1, "--noise", "uniform", model="private_model.onnx", pool=None)
        self.assertEqual(cli.read(self.path("job/README.md")), cli.read(self.path("unlike/README.md")))

    def test_a_job_holds_its_files_and_no_other(self):
        self.assertEqual(set(cli.snapshot(self.path("job"))), {
            "README.md", "job.json", "model.onnx", "weights.safetensors", "model.py", "train.py",
            "constants.safetensors", "requirements.txt", "examples", "examples/colab.ipynb",
            "examples/kubernetes.yaml", "examples/sagemaker.py", "examples/slurm.sbatch", "data",
            "data/train-x-00000.npy", "data/train-y-00000.npy", "data/val-x-00000.npy", "data/val-y-00000.npy"})
        modes = {os.stat(os.path.join(h, n)).st_mode & 0o777 for h, _, f in os.walk(self.path("job")) for n in f}
        self.assertEqual(modes, {0o644})

    def test_the_weights_file_has_opaque_names_and_no_metadata(self):
        header, _ = cli.read_safetensors(self.path("job/weights.safetensors"))
        self.assertNotIn("__metadata__", header)
        for name in header:
            self.assertRegex(name, r"^p\d+$")

    def test_the_search_finds_what_it_is_for(self):
        """One secret of each kind, planted in a job in each of its forms."""
        r = random.Random(1)
        for secret, needles in self.secrets.items():
            for i, needle in enumerate(needles):
                folder = self.path("planted")
                shutil.copytree(self.path("job"), folder)
                file = r.choice(["model.onnx", "weights.safetensors", "job.json", "data/train-x-00000.npy"])
                data = cli.read(os.path.join(folder, file))
                cut = r.randrange(len(data))
                cli.write(os.path.join(folder, file), data[:cut] + needle + data[cut:])
                found = search(folder, self.secrets)
                shutil.rmtree(folder)
                self.assertIn((file, secret), found, f"form {i}")
        os.makedirs(self.path("planted/hospital_scans"))
        self.assertEqual(search(self.path("planted"), self.secrets), [("hospital_scans", "hospital_scans")])
        shutil.rmtree(self.path("planted"))


class TextSecrecy(cli.Case):
    """A language model's and a classifier's job: no word, no class, no name of a file, and not the hash by which
    a vocabulary could be recognised."""

    NOUNS = ("zzpatient", "zztumour", "zzbiopsy", "zzscanner", "zzsurgeon", "zzdosage")
    CLASSES = ("zz.oncology", "zz.cardiology")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        r = random.Random(3)
        lines = [" ".join(r.choice(cls.NOUNS) for _ in range(6)) for _ in range(300)]
        cli.write(cls.path("notes.txt"), "".join(l + "\n" for l in lines).encode())
        cli.write(cls.path("records.csv"), "".join(f"{r.choice(cls.CLASSES)},{l}\n" for l in lines).encode())
        case = cls()
        case.ok("tokenize", "notes.txt", "-o", "hospital_notes")
        case.ok("tokenize", "records.csv", "-o", "hospital_records", "--label", 1)
        case.ok("zoo", "transformer_lm", "--vocab", 8, "--seq", 6, "--d-model", 8, "--layers", 1, "--heads", 2, "--hidden",
                8, "-o", "private_lm.onnx")
        case.ok("zoo", "embedding_bag", "--vocab", 9, "--seq", 8, "--d-model", 4, "--pad", 0, "--classes", 2, "-o",
                "private_bag.onnx")
        for job, model, data, task in (("lm", "private_lm.onnx", "hospital_notes", ("--task", "lm")),
                                       ("bag", "private_bag.onnx", "hospital_records", ("--task", "classify"))):
            case.ok("obfuscate", "--model", model, "--train", f"text:{data}[40%:seed=5]", "--val",
                    f"text:{data}[40%-45%:seed=5]", "--decoys-from", f"text:{data}[45%-100%:seed=5]", "--key",
                    f"{job}_secret.key", "-o", job, *task)
        cls.secrets = {}
        for word in cls.NOUNS + cls.CLASSES + ("hospital_", "private_", "_secret.key", "vocabulary", "tokens.json",
                                               "transformer_lm", os.path.basename(cls.dir)):
            cls.secrets[word] = list(words(word))
        for data in ("hospital_notes", "hospital_records"):
            digest = json.loads(cli.read(cls.path(data, "tokens.json")))["vocabulary"]
            cls.secrets[f"vocabulary of {data}"] = list(encodings(bytes.fromhex(digest)))

    def test_no_word_no_class_and_no_path_is_in_a_job(self):
        for job in ("lm", "bag"):
            self.assertEqual(search(self.path(job), self.secrets), [], job)

    def test_training_adds_none(self):
        for job in ("lm", "bag"):
            shutil.copytree(self.path(job), self.path(f"{job}-trained"))
            self.ok(f"{job}-trained", "--threads", 1, "--batch", 16, program=cli.AMALGAM_TRAIN)
            self.assertEqual(search(self.path(f"{job}-trained"), self.secrets), [], job)

    def test_the_search_finds_a_token_set(self):
        """What it is for: the sets themselves, put into a job by mistake."""
        for data in ("hospital_notes", "hospital_records"):
            found = {secret for _, secret in search(self.path(data), self.secrets)}
            self.assertLessEqual({*self.NOUNS, "vocabulary", f"vocabulary of {data}"}, found)
        self.assertLessEqual({*self.CLASSES}, found)

    def test_renumbering_moves_tokens_and_keep_tokens_does_not(self):
        """<unk>, token 0, is not in the text: it is in a job only where others have got its number."""
        for name, more in (("kept", ("--keep-tokens",)), ("moved", ())):
            self.ok("obfuscate", "--model", "private_lm.onnx", "--train", "text:hospital_notes[40%:seed=5]",
                    "--decoys-from", "text:hospital_notes[45%-100%:seed=5]", "--key", f"{name}_secret.key", "-o", name,
                    "--task", "lm", "--seed-hex", SEED, *more)
            descr, shape, data = cli.read_npy(self.path(name, "data/train-x-00000.npy"))
            self.assertEqual((descr, shape[1:]), ("<i4", (1, 14, 1)))
            found = set(struct.unpack(f"<{len(data) // 4}i", data))
            self.assertLessEqual(found, set(range(8)))
            self.assertEqual(0 in found, name == "moved", found)


if __name__ == "__main__":
    unittest.main()
