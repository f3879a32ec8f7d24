"""The programs as such: help, version, usage; what the cloud's program is linked from; the layer check."""
import os
import re
import subprocess
import sys
import unittest

import cli

CHECK_LAYERS = os.path.join(cli.SOURCE_ROOT, "tools", "check_layers")

# The flags of each verb, and those that every user will look for.
FLAGS = {
    "zoo": ("--input", "--classes", "--vocab", "--seq", "--d-model", "--layers", "--heads", "--hidden", "--dropout",
            "--pad", "--seed", "-o", "--list"),
    "obfuscate": ("--model", "--train", "--val", "--decoys", "--decoys-from", "--amount", "--model-amount",
                  "--noise", "--key", "-o", "--passphrase", "--passphrase-fd", "--seed-hex", "--decoy-arch",
                  "--normalize", "--task", "--seq", "--stride", "--keep-classes", "--keep-tokens"),
    "pack": ("-o", "--seed-hex", "--quiet"),
    "train": ("--model", "--train", "--val", "-o", "--epochs", "--batch", "--optimizer", "--lr", "--momentum",
              "--weight-decay", "--schedule", "--threads", "--seed", "--resume", "--label-smoothing",
              "--nesterov", "--warmup", "--clip"),
    "extract": ("--key", "--weights", "-o", "--safetensors", "--passphrase-fd"),
    "eval": ("--model", "--data", "--json", "--normalize", "--task", "--seq", "--stride"),
    "generate": ("--model", "--vocab", "--prompt", "--tokens", "--temperature", "--top-k", "--top-p", "--seed"),
    "tokenize": ("--tokenizer", "--vocab", "--label", "--text", "--format", "--max-vocab", "-o"),
    "split": ("--shares", "--seed", "--chunk", "--documents", "-o"),
    "verify": ("--key", "--job", "--steps", "--json", "--passphrase-fd", "--lr"),
    "inspect": ("--json",),
    "audit": ("--key", "--source", "--aux", "--other", "--attacks", "--secrets", "--json", "--html", "--max-id", "--rows",
              "--seed", "--passphrase-fd", "--quiet"),
    "demo": ("--text", "--data", "--decoys", "-o"),
}


def option_strings(verb):
    """Every option name in the verb's source, from its table: --help must mention each."""
    names = set()
    for file in {f"verb_{verb}.c", "train_options.c" if verb in ("train",) else f"verb_{verb}.c"}:
        with open(os.path.join(cli.SOURCE_ROOT, "src", "cli", file), encoding="utf-8") as f:
            names |= set(re.findall(r'\{"([a-z0-9-]+)", CLI_', f.read()))
    return {("-" if len(n) == 1 else "--") + n for n in names}


class Help(unittest.TestCase):
    def test_each_verb_explains_each_of_its_options(self):
        for verb, flags in FLAGS.items():
            with self.subTest(verb=verb):
                r = cli.run(verb, "--help")
                self.assertEqual((r.rc, r.stderr), (0, ""))
                self.assertTrue(r.stdout.startswith(f"usage: amalgam {verb} "), r.stdout)
                listed = set(re.findall(r"(?m)^  (--?[a-z0-9-]+)\b", r.stdout))
                self.assertEqual(set(flags) - listed, set())
                self.assertEqual(option_strings(verb) - listed, set())
                self.assertTrue(option_strings(verb), "no options were found in the source")
                for line in r.stdout.splitlines():
                    self.assertLessEqual(len(line), 100, line)

    def test_help_wins_over_everything_else_on_the_line(self):
        r = cli.run("extract", "--key", "--help")
        self.assertEqual((r.rc, r.stdout.split("\n")[0][:22]), (0, "usage: amalgam extract"))
        self.assertEqual(cli.run("train", "job", "--nonsense", "-h").rc, 0)

    def test_the_program_lists_its_verbs_and_the_cycle(self):
        for args in (("--help",), ("-h",), ("help",)):
            r = cli.run(*args)
            self.assertEqual((r.rc, r.stderr), (0, ""))
            self.assertEqual(set(re.findall(r"(?m)^  ([a-z]+)  ", r.stdout)), set(FLAGS))
            self.assertIn("amalgam extract --key job.key", r.stdout)

    def test_without_arguments_it_is_wrong_usage(self):
        r = cli.run()
        self.assertEqual((r.rc, r.stdout), (2, ""))
        self.assertIn("usage: amalgam VERB", r.stderr)
        r = cli.run(program=cli.AMALGAM_TRAIN)
        self.assertEqual((r.rc, r.stdout), (2, ""))
        self.assertTrue(r.stderr.startswith("amalgam: error: amalgam-train: missing JOB"), r.stderr)

    def test_versions(self):
        with open(os.path.join(cli.SOURCE_ROOT, "meson.build"), encoding="utf-8") as f:
            version = re.search(r"version: '([\d.]+)'", f.read()).group(1)
        self.assertEqual(cli.run("--version"), (0, f"amalgam {version}\n", ""))
        self.assertEqual(cli.run("--version", program=cli.AMALGAM_TRAIN),
                         (0, f"amalgam-train {version}\n", ""))

    def test_the_cloud_program_has_the_training_options_of_the_owner_s(self):
        options = lambda r: set(re.findall(r"(?m)^  (--[a-z0-9-]+)\b", r.stdout))
        cloud, owner = cli.run("--help", program=cli.AMALGAM_TRAIN), cli.run("train", "--help")
        self.assertEqual(cloud.rc, 0)
        self.assertEqual(options(owner) - options(cloud), {"--model", "--train", "--val", "--normalize", "--task", "--seq",
                                                           "--stride", "--loss", "--class-weights", "--freeze", "--freeze-norm-stats"})
        self.assertEqual(options(cloud) - options(owner), set())

    def test_the_list_of_models_stands_alone(self):
        r = cli.run("zoo", "--list")
        self.assertEqual((r.rc, r.stderr), (0, ""))
        models = r.stdout.split()
        self.assertEqual(set(models), {"lenet", "mlp", "resnet18", "resnet34", "resnet50", "vgg16", "vgg16_bn",
                                       "densenet121", "mobilenet_v2", "transformer_lm", "gpt", "text_cnn",
                                       "embedding_bag", "lstm"})
        self.assertEqual(cli.run("zoo", "lenet", "--list", "--classes", 5).stdout.split(), models)


class CloudSide(unittest.TestCase):
    """The cloud's program holds no code of the owner's side."""

    def check_layers(self, *args):
        return subprocess.run([sys.executable, CHECK_LAYERS, *args], capture_output=True, text=True,
                              check=False)

    def test_includes_keep_to_the_layer_table(self):
        r = self.check_layers()
        self.assertEqual((r.returncode, r.stdout), (0, ""))

    def test_the_check_can_fail(self):
        r = self.check_layers("--self-test")
        self.assertEqual((r.returncode, r.stdout), (0, ""))
        owner = self.check_layers("--symbols", cli.AMALGAM)
        self.assertEqual(owner.returncode, 1, "the owner's program holds the owner's symbols")
        for symbol in ("amg_obfuscate", "amg_extract", "amg_secret_new", "amg_keyfile_open"):
            self.assertIn(symbol, owner.stdout)

    def test_no_symbol_of_the_owner_s_side_is_in_the_cloud_program(self):
        r = self.check_layers("--symbols", cli.AMALGAM_TRAIN)
        self.assertEqual((r.returncode, r.stdout), (0, ""))

    def test_no_symbol_of_the_owner_s_side_is_in_the_libraries_it_links(self):
        libraries = [os.path.join(cli.BUILD_ROOT, "src", f, f"libamg_{f}.a")
                     for f in ("base", "formats", "graph", "engine")]
        r = self.check_layers("--symbols", *libraries)
        self.assertEqual((r.returncode, r.stdout), (0, ""))

    def test_no_owner_s_verb_or_word_is_in_the_cloud_program(self):
        """Strings betray what symbols do not: stripped code, inlined functions."""
        with open(cli.AMALGAM_TRAIN, "rb") as f:
            cloud = f.read()
        with open(cli.AMALGAM, "rb") as f:
            owner = f.read()
        for word in (b"AMGKEY1", b"--decoys-from", b"argon2id", b"the key must not lie in the job folder"):
            self.assertNotIn(word, cloud)
        self.assertIn(b"AMGKEY1", owner)
        self.assertIn(b"the key must not lie in the job folder", owner)


if __name__ == "__main__":
    unittest.main()
