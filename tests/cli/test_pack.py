"""Several owners in one job: each extracts what training alone gives, byte for byte, and nobody else's."""
import json
import os
import unittest

import cli
import wire

SEEDS = ("a1" * 32, "b2" * 32, "c3" * 32, "d4" * 32)
OWNERS = ("ann", "bob", "cem", "dia")
TRAINING = ("--epochs", 2, "--batch", 16, "--lr", 0.05, "--momentum", 0.9, "--threads", 1, "--seed", 7, "--quiet")


class Pack(cli.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        cli.write_idx(cls.path("digits"), (1, 12, 12), 3, train=64, test=16)
        cli.write_idx(cls.path("shirts"), (1, 12, 12), 5, train=96, test=32)
        for net in ("mlp", "lenet"):
            for classes in (3, 5):
                case.ok("zoo", net, "--input", "1x12x12", "--classes", classes, "--seed", classes, "-o",
                        f"{net}{classes}.onnx")
        cls.parts = {"ann": ("mlp3.onnx", "digits"), "bob": ("lenet3.onnx", "digits"),
                     "cem": ("mlp5.onnx", "shirts"), "dia": ("lenet5.onnx", "shirts")}
        for owner, seed in zip(OWNERS, SEEDS):
            case.spec(owner, seed_hex=seed)
        cls.said = case.ok("pack", *(f"{o}.json" for o in OWNERS), "-o", "job", "--seed-hex", "e5" * 32)
        case.ok("job", *TRAINING, program=cli.AMALGAM_TRAIN)

    def spec(self, owner, name=None, **more):
        model, data = self.parts[owner]
        spec = {"model": model, "train": f"{data}@train[0:64]", "val": f"{data}@test[0:16]", "key": f"{owner}.key",
                "normalize": f"0.{len(owner)}/0.5" if owner in ("ann", "dia") else "0.4/0.3", **more}
        cli.write(self.path(f"{name or owner}.json"), json.dumps({k: v for k, v in spec.items() if v is not None}).encode())

    def test_each_owner_gets_what_training_alone_gives(self):
        for owner in OWNERS:
            with self.subTest(owner=owner):
                model, data = self.parts[owner]
                normalize = json.loads(cli.read(self.path(f"{owner}.json")))["normalize"]
                self.ok("train", "--model", model, "--train", f"{data}@train[0:64]", "--normalize", normalize, "-o",
                        f"{owner}-alone.onnx", *TRAINING)
                self.ok("extract", "--key", f"{owner}.key", "--weights", "job/out/weights.safetensors", "-o",
                        f"{owner}.onnx")
                self.assertEqual(cli.read(self.path(f"{owner}.onnx")), cli.read(self.path(f"{owner}-alone.onnx")))
                self.assertNotEqual(cli.read(self.path(f"{owner}.onnx")), cli.read(self.path(model)))

    def test_it_says_what_it_costs(self):
        self.assertRegex(self.said, r"job: 4 owners, each with 64 training and 16 validation samples, "
                                    r"1x12x12 -> 1x48x12")
        self.assertIn("compute 1.00x that of the owners' own trainings together", self.said)
        self.assertRegex(self.said, r"ann.key: the key of mlp3.onnx, [\d,]+ parameters")
        self.assertIn("among owners of alike data", self.said)

    def test_the_job_is_a_job_like_any_other(self):
        heads = json.loads(cli.read(self.path("job/job.json")))["heads"]
        self.assertEqual(sorted(h["num_classes"] for h in heads), [3, 3, 5, 5])
        r = cli.run("audit", "job", "--key", "cem.key", "--attacks", "corr", "--json", "--quiet", cwd=self.dir)
        self.assertIn(r.rc, (0, 3), r.stderr)  # random bytes, told apart or not
        self.assertEqual(json.loads(r.stdout)["candidates"], 4)

    def test_verify_trains_each_owner_s_part_alone(self):
        for owner in OWNERS:
            with self.subTest(owner=owner):
                out = self.ok("verify", "--key", f"{owner}.key", "--job", "job", "--steps", 3, "--batch", 8,
                              "--threads", 1, "--quiet")
                self.assertRegex(out, r"^verify: [\d,]+ parameters, 0 bits differ \(3 steps, 1 thread\)\n$")

    def test_an_owner_s_values_may_be_mixed(self):
        self.spec("ann", "mixed", key="mixed.key", seed_hex="77" * 32, symmetry=True)
        self.spec("bob", "other", key="other.key", seed_hex="88" * 32)
        self.ok("pack", "mixed.json", "other.json", "-o", "mixed", "--seed-hex", "99" * 32)
        for owner in ("mixed", "other"):
            found = json.loads(self.ok("verify", "--key", f"{owner}.key", "--job", "mixed", "--steps", 3, "--batch", 8,
                                       "--threads", 1, "--json"))
            self.assertEqual(found["bits_different"], 0)
            self.assertEqual("rounding" in found, owner == "mixed")
        r = cli.run("audit", "mixed", "--key", "mixed.key", "--attacks", "symmetry", "--json", "--quiet", cwd=self.dir)
        self.assertEqual(json.loads(r.stdout)["findings"][0]["verdict"], "report")
        self.refused("no symmetry: neighbouring blocks", bob={"symmetry": True}, ann={})

    def test_owners_freeze_and_weigh_as_they_like(self):
        wishes = {"ann": {"freeze": "fc1.*"}, "cem": {"class_weights": "1,2,0.5,3,1"},
                  "dia": {"class_weights": "balanced", "freeze": "conv*"}}
        for owner in ("ann", "cem", "dia"):
            self.spec(owner, f"{owner}-own", key=f"{owner}-own.key", **wishes[owner])
        self.ok("pack", *(f"{o}-own.json" for o in wishes), "-o", "own")
        job = json.loads(cli.read(self.path("own/job.json")))
        self.assertEqual(len(job["frozen"]), 2 + 4)
        self.assertEqual(sorted("class_weights" in h for h in job["heads"]), [False, True, True])
        self.ok("own", *TRAINING, program=cli.AMALGAM_TRAIN)
        for owner, wish in wishes.items():
            model, data = self.parts[owner]
            normalize = json.loads(cli.read(self.path(f"{owner}-own.json")))["normalize"]
            more = [a for k, v in wish.items() for a in (f"--{k.replace('_', '-')}", v)]
            self.ok("train", "--model", model, "--train", f"{data}@train[0:64]", "--normalize", normalize, "-o",
                    "own-alone.onnx", *more, *TRAINING)
            self.ok("extract", "--key", f"{owner}-own.key", "--weights", "own/out/weights.safetensors", "-o", "own.onnx")
            self.assertEqual(cli.read(self.path("own.onnx")), cli.read(self.path("own-alone.onnx")), owner)
            out = self.ok("verify", "--key", f"{owner}-own.key", "--job", "own", "--steps", 3, "--batch", 8,
                          "--threads", 1, "--quiet")
            self.assertIn(", 0 bits differ", out)
        self.refused("freeze_norm_stats needs freeze", ann={"freeze_norm_stats": True}, bob={})

    def test_an_owner_s_patches_may_change_places(self):
        cli.write(self.path("vit.onnx"), wire.tiny_vit(side=12, patch=4))
        self.spec("ann", "patches", model="vit.onnx", key="patches.key", seed_hex="66" * 32, symmetry=True)
        self.spec("bob", "beside", key="beside.key", seed_hex="67" * 32)
        self.ok("pack", "patches.json", "beside.json", "-o", "patches", "--seed-hex", "98" * 32)
        found = json.loads(self.ok("verify", "--key", "patches.key", "--job", "patches", "--steps", 3, "--batch", 8,
                                   "--threads", 1, "--json"))
        self.assertEqual(found["bits_different"], 0)
        self.assertLess(found["rounding"], 1e-4)

    def refused(self, words, **specs):
        before = cli.snapshot(self.dir)
        names = []
        for owner, more in specs.items():
            self.spec(owner, f"{owner}-bad", **{"key": f"{owner}-bad.key", **more})
            names.append(f"{owner}-bad.json")
        r = cli.run("pack", *names, "-o", "bad", cwd=self.dir)
        self.assertEqual(r.rc, 1, r.stdout + r.stderr)
        for word in words if isinstance(words, tuple) else (words,):
            self.assertIn(word, r.stderr)
        for name in names:
            os.remove(self.path(name))
        self.assertEqual(cli.snapshot(self.dir), before, "something was left behind")

    def test_what_differs_is_refused(self):
        self.refused(("50 samples", "has 64"), ann={}, bob={"train": "digits@train[0:50]"})
        self.refused(("validation", "all have some or none"), ann={}, bob={"val": None})
        cli.write_idx(self.path("wide"), (1, 12, 14), 3, train=64, test=16)
        self.ok("zoo", "mlp", "--input", "1x12x14", "--classes", 3, "--seed", 1, "-o", "wide.onnx")
        self.refused(("U8[1,12,14]", "U8[1,12,12]"), ann={}, bob={"model": "wide.onnx", "train": "wide@train",
                                                                   "val": "wide@test"})

    def test_bad_parts_are_refused(self):
        self.refused("exists already", ann={}, bob={"key": "ann.key"})
        self.refused("is the key of owner 1 and of owner 2", ann={"key": "x.key"}, bob={"key": "x.key"})
        self.refused("the key must not lie in the job folder", ann={}, bob={"key": "bad/x.key"})
        self.refused(("no such option", "there are model, train"), ann={}, bob={"modle": "x"})
        self.refused('lacks "key"', ann={}, bob={"key": None})
        self.refused("expected true or false", ann={}, bob={"keep_classes": 1})
        self.refused('there is no "sort"', ann={}, bob={"task": "sort"})
        self.refused("No such file", ann={}, bob={"model": "none.onnx"})
        r = cli.run("pack", "ann.json", "-o", "bad", cwd=self.dir)
        self.assertEqual(r.rc, 2)
        self.assertIn("expected two SPECs or more", r.stderr)


if __name__ == "__main__":
    unittest.main()
