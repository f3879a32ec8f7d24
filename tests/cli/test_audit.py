"""amalgam audit: what it prints, its exit codes, its JSON and its page, and what it refuses. Whether
attacks measure rightly is tests/audit's matter."""
import html.parser
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import time
import unittest

import cli
import wire

SEED = "0123456789abcdef" * 4
SIDE, TRAIN, POOL = 6, "smooth@train[25%:seed=3]", "smooth@train[25%-100%:seed=3]"
MEMBERS = ["version", "amalgam", "verdict", "sentence", "scored", "candidates", "paper_mode", "rows",
           "total_rows", "seconds", "peak_bytes", "failed", "findings", "attack_seconds"]


def write_smooth(folder, count, seed):
    """IDX images whose pixels go with their neighbours', brighter by class."""
    r = random.Random(seed)
    os.makedirs(folder)
    x, y = bytearray(), bytearray()
    for _ in range(count):
        label, level = r.randrange(3), r.gauss(128, 30)
        slope = r.gauss(0, 8), r.gauss(0, 8)
        for i in range(SIDE * SIDE):
            v = level + 12 * label + slope[0] * (i // SIDE) + slope[1] * (i % SIDE) + r.gauss(0, 4)
            x.append(max(0, min(255, round(v))))
        y.append(label)
    for stem in ("train", "t10k"):
        cli.write(os.path.join(folder, f"{stem}-images-idx3-ubyte"),
                  struct.pack(">IIII", 0x803, count, SIDE, SIDE) + bytes(x))
        cli.write(os.path.join(folder, f"{stem}-labels-idx1-ubyte"), struct.pack(">II", 0x801, count) + bytes(y))


class Page(html.parser.HTMLParser):
    """Demands that tags are closed in order; collects attributes and the text."""
    VOID = {"meta", "img", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.text, self.tags = [], [], "", []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


class Audit(cli.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        write_smooth(cls.path("smooth"), 1200, 5)
        cls.make("clean")
        cls.make("noise", "--noise", "uniform", "--amount", "0.5", pool=None)

    @classmethod
    def make(cls, name, *more, pool=POOL):
        covers = ("--decoys-from", pool) if pool else ()
        r = cli.run("obfuscate", "--model", "model.onnx", "--train", TRAIN, *covers, "--key", f"{name}.key",
                    "-o", name, "--seed-hex", SEED, "--decoys", 2, "--decoy-arch", "same", *more, cwd=cls.dir)
        assert r.rc == 0, r.stderr

    def audit(self, name, *args, rc=0, key=True, **options):
        """Runs it on a job; demands the exit code and an untouched job; returns the result."""
        before = cli.snapshot(self.path(name))
        key_args = ("--key", f"{name}.key") if key else ()
        r = cli.run("audit", name, *key_args, "--quiet", *args, cwd=self.dir, **options)
        self.assertEqual(r.rc, rc, f"{args}\n{r.stdout}{r.stderr}")
        self.assertEqual(cli.snapshot(self.path(name)), before, "the job was touched")
        return r

    def said_of(self, name, model, *more):
        """Makes a job; what was said on stderr."""
        r = cli.run("obfuscate", "--model", model, "--train", TRAIN, "--decoys-from", POOL, "--key", f"{name}.key", "-o",
                    name, "--seed-hex", SEED, "--decoys", 2, *more, cwd=self.dir)
        self.assertEqual(r.rc, 0, r.stderr)
        return r.stderr

    # --- architecture ------------------------------------------------------------------------------

    def test_a_textbook_network_has_decoys_of_its_own_architecture(self):
        self.ok("zoo", "mlp", "--input", f"1x{SIDE}x{SIDE}", "--classes", 3, "--seed", 1, "-o", "mlp.onnx")
        said = {}
        for arch in ("auto", "walk"):  # a short walk may come back to a textbook's
            said[arch] = self.said_of(f"book-{arch}", "mlp.onnx", "--decoy-arch", arch, "--walk-steps", 8)
        self.assertIn("note: --decoy-arch same: your model is the catalogue's mlp", said["auto"])
        self.assertIn("warning: your model is the catalogue's mlp", said["walk"])
        self.assertIn("Every sub-network is a textbook mlp",
                      self.audit("book-auto", "--attacks", "graph", "--json").stdout)
        r = self.audit("book-walk", "--attacks", "graph", rc=3)
        self.assertRegex(r.stdout, "graph +1[^\n]*FAIL +the original taken for a")

    # --- weights that were trained before ----------------------------------------------------------

    def test_decoys_of_a_pretrained_model_start_where_it_does(self):
        self.ok("zoo", "mlp", "--input", f"1x{SIDE}x{SIDE}", "--classes", 3, "--seed", 1, "-o", "drawn.onnx")
        self.ok("train", "--model", "drawn.onnx", "--train", POOL, "--epochs", 8, "--batch", 8, "--lr", 0.1,
                "--momentum", 0.9, "--quiet", "-o", "trained.onnx")
        said = {}
        for start in ("auto", "drawn"):
            said[start] = self.said_of(f"start-{start}", "trained.onnx", "--decoy-start", start)
        self.assertIn("so decoys start from the same weights", said["auto"])
        self.assertIn("freshly drawn decoys beside them are recognisable", said["drawn"])
        self.assertIn("All sub-networks start from the same weights.",
                      self.audit("start-auto", "--attacks", "graph", "--json").stdout)
        r = self.audit("start-drawn", "--attacks", "graph", rc=3)
        self.assertRegex(r.stdout, "graph +1[^\n]*FAIL +(weights that look trained|laws of initial)")

        self.ok("train", "start-auto", "--epochs", 1, "--batch", 8, "--quiet")
        self.ok("extract", "--key", "start-auto.key", "--weights", "start-auto/out/weights.safetensors", "-o",
                "tuned.onnx")
        self.ok("train", "--model", "trained.onnx", "--train", TRAIN, "--epochs", 1, "--batch", 8, "--quiet", "-o",
                "alone.onnx")
        self.assertEqual(pathlib.Path(self.path("tuned.onnx")).read_bytes(),
                         pathlib.Path(self.path("alone.onnx")).read_bytes())
        r = cli.run("obfuscate", "--model", "trained.onnx", "--train", TRAIN, "--decoys-from", POOL, "--key", "no.key",
                    "-o", "no", "--decoy-start", "same", "--decoy-arch", "walk", cwd=self.dir)
        self.assertEqual(r.rc, 2)
        self.assertIn("needs decoys of the model's own architecture", r.stderr)

    # --- the table ---------------------------------------------------------------------------------

    def test_a_clean_job_passes(self):
        out = self.audit("clean").stdout
        lines = out.splitlines()
        self.assertRegex(lines[0], r"^300 of 300 samples, 3 candidates, [\d.]+ s, [\d.]+ MB of memory$")
        self.assertRegex(lines[2], r"^attack +figure +chance +verdict +of what$")
        self.assertIn("\nAt chance in all that was scored: a guess is right 1 time in 3.", out)
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertNotIn("FAIL", out)
        self.assertRegex(out, r"\nnaturalness 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]  0\.333  pass ")
        for attack in ("lattice", "marginal", "corr", "cluster", "c2st", "training", "lookup", "graph"):
            self.assertRegex(out, rf"\n{attack} ")
        for attack in ("shadow", "reupload"):
            self.assertNotRegex(out, rf"\n{attack} ")

    def test_noise_fails_and_says_why(self):
        r = self.audit("noise", "--attacks", "corr,naturalness", rc=3)
        lines = r.stdout.splitlines()
        self.assertRegex(lines[-1], "^Identified: .*naturalness picked your network out of 3 candidates.$")
        self.assertRegex(r.stdout, r"\ncorr .* FAIL ")
        self.assertRegex(r.stdout, r"\nFAIL naturalness: \w")
        self.assertLessEqual(max(map(len, lines)), 80)
        self.assertEqual(r.stderr, "")

    def test_without_the_key_nothing_is_scored(self):
        out = self.audit("noise", "--attacks", "naturalness,corr", key=False).stdout
        self.assertRegex(out, r"guess: \d")
        self.assertNotRegex(out, "FAIL|pass ")
        self.assertTrue(out.endswith("\nNot scored: without the key nobody can say which guess is right.\n"))

    def test_a_script_stops_where_nothing_was_measured(self):
        out = self.audit("clean", "--attacks", "reupload", rc=1).stdout
        self.assertRegex(out, r"\nreupload +skipped: \w")
        self.assertTrue(out.endswith("\nNothing was measured: no attack that was run applies to this job.\n"))

    def test_mixed_values_are_told_as_seen_and_put_back(self):
        self.ok("zoo", "mlp", "--input", f"1x{SIDE}x{SIDE}", "--classes", 3, "--seed", 1, "-o", "mlp.onnx")
        self.ok("obfuscate", "--model", "mlp.onnx", "--train", TRAIN, "--decoys-from", POOL, "--symmetry", "--seed-hex",
                "7c" * 32, "--key", "mixed.key", "-o", "mixed", "--quiet")

        def findings(*more, key=True, rc=0):
            said = json.loads(self.audit("mixed", "--json", *more, key=key, rc=rc).stdout)
            return [f for f in said["findings"] if f["attack"] == "symmetry"]
        seen, = findings("--attacks", "symmetry")
        self.assertEqual(seen["verdict"], "report")
        self.assertLess(seen["value"], 0.5)
        again, put_back = findings("--attacks", "symmetry", "--aux", POOL)
        self.assertEqual(again, seen)
        self.assertGreater(put_back["value"], seen["value"] + 0.3)
        out = self.audit("mixed", "--attacks", "lookup", "--aux", POOL).stdout
        self.assertRegex(out, r"\nlookup +skipped: the sets of --aux: images are mixed")
        # By default it runs where there is something to see.
        said = json.loads(cli.run("audit", "mixed", "--key", "mixed.key", "--json", cwd=self.dir).stdout)
        self.assertIn("symmetry", said["attack_seconds"])
        out = self.audit("clean", "--attacks", "symmetry", rc=1).stdout
        self.assertRegex(out, r"\nsymmetry +skipped: the job does not mix")
        other, = findings("--attacks", "symmetry", key=False, rc=1)
        self.assertEqual(other["verdict"], "skipped")

    def test_patches_are_put_back_like_values(self):
        cli.write(self.path("vit.onnx"), wire.tiny_vit(side=SIDE, patch=2))
        self.ok("obfuscate", "--model", "vit.onnx", "--train", TRAIN, "--decoys-from", POOL, "--symmetry", "--seed-hex",
                "7d" * 32, "--key", "patches.key", "-o", "patches", "--quiet")
        said = json.loads(self.audit("patches", "--json", "--attacks", "symmetry", "--aux", POOL).stdout)
        seen, put_back = (f["value"] for f in said["findings"])
        self.assertLess(seen, 0.5)
        self.assertGreater(put_back, seen + 0.3)

    def test_rotated_values_are_told_as_seen_and_turned_back(self):
        self.ok("zoo", "mlp", "--input", f"1x{SIDE}x{SIDE}", "--classes", 3, "--seed", 1, "-o", "flat.onnx")
        self.ok("obfuscate", "--model", "flat.onnx", "--train", TRAIN, "--decoys-from", POOL, "--symmetry-rotate",
                "--normalize", "0.5/0.25", "--seed-hex", "7c" * 32, "--key", "turned.key", "-o", "turned", "--quiet")
        said = json.loads(cli.run("audit", "turned", "--key", "turned.key", "--aux", POOL, "--json", cwd=self.dir).stdout)
        seen, back = [f for f in said["findings"] if f["attack"] == "symmetry"]
        self.assertIn("values rotated", seen["text"])
        self.assertLess(seen["value"], 0.4)
        self.assertGreater(back["value"], seen["value"] + 0.3)

    def test_a_limit_on_the_identification_rate(self):
        found = json.loads(self.audit("clean", "--json", "--attacks", "naturalness").stdout)["findings"][0]
        for limit, verdict in ((found["value"] + 0.01, "pass"), (found["value"] - 0.01, "FAIL")):
            r = self.audit("clean", "--json", "--attacks", "naturalness", "--max-id", f"{limit:.4f}",
                           rc=3 if verdict == "FAIL" else 0)
            self.assertEqual(json.loads(r.stdout)["findings"][0]["verdict"], verdict)

    def test_the_same_seed_finds_the_same(self):
        def found():
            said = json.loads(self.audit("clean", "--json", "--seed", 3, "--rows", 200, "--attacks",
                                         "naturalness,c2st,lattice").stdout)
            self.assertEqual((said["rows"], said["total_rows"]), (200, 300))
            return said["findings"]
        self.assertEqual(found(), found())

    def test_every_attack_on_request(self):
        self.make("second")
        r = cli.run("audit", "clean", "--key", "clean.key", "--attacks", "all", "--secrets", 4, "--source",
                    "smooth@train", "--other", "second", "--aux", "smooth@test[0:100]", "--aux", POOL, "--json",
                    cwd=self.dir)
        self.assertIn(r.rc, (0, 3), r.stderr)  # its own data are in --aux: lookup may say so
        self.assertEqual(list(json.loads(r.stdout)["attack_seconds"]),
                         ["lattice", "marginal", "corr", "cluster", "naturalness", "c2st", "shadow", "training",
                          "lookup", "graph", "reupload", "symmetry"])

    # --- JSON and the page -------------------------------------------------------------------------

    def test_json(self):
        r = self.audit("noise", "--json", "--attacks", "lattice,naturalness,reupload", rc=3)
        said = json.loads(r.stdout)
        self.assertEqual(r.stderr, "")
        self.assertEqual(list(said), MEMBERS)
        self.assertEqual((said["verdict"], said["scored"], said["candidates"], said["paper_mode"]),
                         ("FAIL", True, 3, True))
        self.assertEqual(said["failed"], sum(f["verdict"] == "FAIL" for f in said["findings"]))
        self.assertEqual({f["attack"] for f in said["findings"]}, set(said["attack_seconds"]))
        for f in said["findings"]:
            self.assertIn(f["verdict"], ("pass", "FAIL", "report", "skipped"))
            self.assertTrue(f["text"])
            if f["verdict"] == "skipped":
                self.assertEqual(list(f), ["attack", "verdict", "text"])
        self.assertFalse(json.loads(self.audit("noise", "--json", "--attacks", "lattice", key=False).stdout)["scored"])

    def page(self, name, *args, **options):
        self.audit(name, "--html", f"{name}.html", *args, **options)
        self.assertEqual(os.stat(self.path(f"{name}.html")).st_mode & 0o777, 0o600)
        text = cli.read(self.path(f"{name}.html")).decode()
        return text, Page(text)

    def test_the_page_is_self_contained(self):
        text, page = self.page("noise", "--attacks", "corr,naturalness,lattice", rc=3)
        self.assertNotRegex(text, r"https?:|@import|url\(|javascript:")
        self.assertFalse({"script", "link", "iframe", "object", "base"} & set(page.tags))
        for name, value in page.attributes:
            self.assertFalse(name.startswith("on") or name in ("srcset", "href", "action"), name)
            if name == "src":
                self.assertTrue(value.startswith("data:image/png;base64,"))
        self.assertGreaterEqual(page.tags.count("img"), 5)  # sample, row, three candidates
        for heading in ("Identified: ", "What the cloud sees", "Attacks", "Loss curves", "What cannot be hidden",
                        "How this was measured", "A passing audit is no proof"):
            self.assertIn(heading, page.text)
        self.assertIn("has not been trained", page.text)

    def test_the_page_draws_the_curves_of_a_trained_job(self):
        shutil.copytree(self.path("clean"), self.path("trained"))
        shutil.copy(self.path("clean.key"), self.path("trained.key"))
        self.ok("trained", "--epochs", 3, "--batch", 16, "--quiet", "--threads", 1, program=cli.AMALGAM_TRAIN)
        text, page = self.page("trained", "--attacks", "lattice")
        self.assertEqual(len(re.findall(r'class="curve own"', text)), 1)
        self.assertEqual(len(re.findall(r'class="curve decoy"', text)), 2)
        cli.write(self.path("trained/out/metrics.jsonl"), b"<script>\n")
        text, page = self.page("trained", "--attacks", "lattice")
        self.assertIn("cannot be drawn: this line is no JSON", page.text)
        self.assertNotIn("script", page.tags)

    # --- refusals ----------------------------------------------------------------------------------

    def refuse(self, rc, error, *args, hint=None):
        before = cli.snapshot(self.dir)
        r = cli.run("audit", *args, cwd=self.dir)
        self.assertEqual((r.rc, r.stdout), (rc, ""), f"{args}\n{r.stdout}{r.stderr}")
        self.assertRegex(r.stderr, f"^amalgam: error: (?:{error})")
        if hint:
            self.assertRegex(r.stderr, f"\namalgam: hint: {hint}")
        self.assertLess(r.stderr.count("\n"), 3)
        self.assertEqual(cli.snapshot(self.dir), before)

    def test_wrong_options(self):
        for args, error in ((["--key", "clean.key"], "amalgam audit: missing JOB"),
                            (["clean", "noise"], "amalgam audit: unexpected argument 'noise'"),
                            (["clean", "--max-id", "0.3"], "--max-id needs --key"),
                            (["clean", "--key", "clean.key", "--max-id", "1.5"], "--max-id: found '1.5'"),
                            (["clean", "--secrets", "1"], "--secrets: found '1', expected a whole number from 2"),
                            (["clean", "--aux"], "--aux: its value is missing"),
                            (["clean", "--key", "clean.key", "--html", "./clean.key"],
                             "./clean.key: would be written and is also the key"),
                            (["clean", "--key", "a", "--key", "b"], "--key is given twice")):
            with self.subTest(args=args):
                self.refuse(2, error, *args)

    def test_what_cannot_be_done(self):
        names = "the attacks are lattice, marginal, corr, cluster, naturalness, c2st, shadow, training, lookup"
        self.refuse(1, "attacks: 'magic' is no attack", "clean", "--attacks", "corr,magic", hint=names)
        self.refuse(1, "nowhere", "nowhere")
        self.refuse(1, "none.key: .*No such file", "clean", "--key", "none.key")
        self.refuse(1, "model.onnx", "clean", "--key", "model.onnx")
        self.refuse(1, ".*(another|other) job|.*not the job", "clean", "--key", "noise.key")
        for inside in ("clean/audit.html", "./clean/data/audit.html"):
            self.refuse(1, f"{inside}: the report must not lie in the job folder", "clean", "--html", inside,
                        hint="the job goes to the cloud")
        self.refuse(1, "no/such/a.html: the folder it should be in", "clean", "--html", "no/such/a.html")

    def test_a_job_that_was_changed_is_refused(self):
        shutil.copytree(self.path("clean"), self.path("changed"))
        data = self.path("changed/data/train-x-00000.npy")
        cli.write(data, cli.read(data)[:-1] + b"\x7f")
        self.refuse(1, ".*train-x-00000.npy", "changed", "--key", "clean.key")

    def test_a_full_disk_leaves_no_page(self):
        before = cli.snapshot(self.dir)
        r = cli.run("audit", "clean", "--attacks", "lattice", "--html", "full.html", cwd=self.dir, file_limit=2048)
        self.assertEqual(r.rc, 1)
        self.assertRegex(r.stderr, "^amalgam: error: full.html: .*File too large")
        self.assertEqual(cli.snapshot(self.dir), before)

    def test_help_lists_the_attacks_and_fits_the_terminal(self):
        out = self.ok("audit", "--help")
        for word in ("lattice", "reupload", "Exit code 0", "no proof", "&& rsync"):
            self.assertIn(word, out)
        self.assertLessEqual(max(map(len, out.splitlines())), 82)
        self.assertRegex(self.ok("--help"), r"\n  audit +what the cloud can learn")


class Interrupted(cli.Case):
    def test_an_interrupt_leaves_nothing(self):
        cli.write_idx(self.path("large"), (1, 48, 48), 3, train=2400)
        cli.write(self.path("large.onnx"), wire.tiny_model(side=48))
        self.obfuscate("job", model="large.onnx", train="large@train[25%:seed=1]",
                       pool="large@train[25%-100%:seed=1]")
        before = cli.snapshot(self.dir)
        p = cli.start("audit", "job", "--key", "job.key", "--html", "a.html", "--attacks", "shadow,c2st", "--secrets",
                      "1000", "--source", "large@train", cwd=self.dir)
        time.sleep(2)
        self.assertIsNone(p.poll(), "it ended before it was interrupted")
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=60)
        cli.check_sanitizers(err.decode())
        self.assertEqual((p.returncode, out), (1, b""), err)
        self.assertIn(b"stopped on request", err)
        self.assertEqual(cli.snapshot(self.dir), before)


if __name__ == "__main__":
    unittest.main()
