"""Text through the programs: tokenize, split, and the whole cycle of a language model and of a classifier on a
tiny language; generated text; and every refusal, with line and column, that leaves nothing behind."""
import json
import math
import os
import random
import re
import struct
import unittest

import cli
from test_errors import Refusals, USAGE

TRAINING = ("--epochs", 2, "--batch", 8, "--optimizer", "adamw", "--lr", 0.01, "--clip", 1, "--schedule", "cosine",
            "--warmup", 2, "--threads", 1, "--seed", 7, "--quiet")

NOUNS = ["patient", "tumour", "biopsy", "scanner", "surgeon", "dosage"]
VERBS = ["shrinks", "reveals", "follows", "delays"]
CLASSES = ["zz.oncology", "zz.cardiology", "zz.radiology"]


def sentences(count, seed):
    """A small language that can be learned: the patient shrinks the tumour ."""
    r = random.Random(seed)
    return [f"the {r.choice(NOUNS)} {r.choice(VERBS)} the {r.choice(NOUNS)} ." for _ in range(count)]


def write_text(path, count=400, seed=1):
    return cli.write(path, "".join(s + "\n" for s in sentences(count, seed)).encode())


def write_csv(path, count=240, seed=2):
    """Rows "class","text" of two sentences; the first noun gives the class away."""
    rows = []
    for first, second in zip(sentences(count, seed), sentences(count, seed + 1)):
        rows.append(f'"{CLASSES[NOUNS.index(first.split()[1]) % 3]}","{first} {second}"\n')
    return cli.write(path, "".join(rows).encode())


class TextCase(cli.Case):
    """With the token sets notes (a stream) and cases (with labels) and a model for each."""

    LM = ("--task", "lm", "--seq", 6)
    STREAM = {"train": "text:notes[0%-40%:seed=5]", "pool": "text:notes[40%-100%:seed=5]"}
    LABELLED = {"train": "text:cases[0%-30%:seed=5]", "pool": "text:cases[30%-100%:seed=5]"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        write_text(cls.path("notes.txt"))
        write_csv(cls.path("cases.csv"))
        case = cls()
        cls.said = case.ok("tokenize", "notes.txt", "-o", "notes", "--threads", 2)
        case.ok("tokenize", "cases.csv", "-o", "cases", "--label", 1, "--lower", "--punctuation")
        cls.vocab = json.loads(cli.read(cls.path("notes/tokens.json")))["vocab_size"]
        cls.case_vocab = json.loads(cli.read(cls.path("cases/tokens.json")))["vocab_size"]
        case.ok("zoo", "transformer_lm", "--vocab", cls.vocab, "--seq", 6, "--d-model", 8, "--layers", 1, "--heads", 2,
                "--hidden", 8, "--dropout", 0.1, "--seed", 3, "-o", "lm.onnx")
        case.ok("zoo", "embedding_bag", "--vocab", cls.case_vocab, "--seq", 16, "--d-model", 4, "--pad", 0, "--classes",
                3, "--seed", 3, "-o", "bag.onnx")


class Tokens(TextCase):
    def test_a_stream_says_what_it_holds(self):
        # 12 words with "the" and ".", <unk> and <eos>; each sentence six words and a line end
        self.assertRegex(self.said, r"^notes: 400 documents, 2,800 tokens, vocabulary 14\nunknown 0\.00 % \(0\)")
        found = json.loads(cli.read(self.path("notes/tokens.json")))
        self.assertEqual((found["vocab_size"], sum(found["shards"]), found["documents"], found["classes"]),
                         (14, 2800, 400, []))
        descr, shape, data = cli.read_npy(self.path("notes/tokens-00000.npy"))
        self.assertEqual((descr, shape), ("<u2", (2800,)))
        words = json.loads(cli.read(self.path("notes/vocabulary.json")))["tokens"]
        text = " ".join(words[t] for t in struct.unpack("<2800H", data)).replace(" <eos> ", "\n")
        self.assertEqual(text.split("\n")[:2], sentences(2, 1))

    def test_labels_are_classes_by_name(self):
        found = json.loads(cli.read(self.path("cases/tokens.json")))
        self.assertEqual(found["classes"], sorted(CLASSES))

    def test_the_same_text_gives_the_same_bytes_on_any_number_of_threads(self):
        self.ok("tokenize", "notes.txt", "-o", "again", "--threads", 1)
        self.assertEqual(cli.snapshot(self.path("notes")), cli.snapshot(self.path("again")))

    def test_one_document_is_a_document(self):
        self.assertRegex(self.ok("tokenize", "notes.txt", "-o", "whole", "--whole-file"), "^whole: 1 document, ")

    def test_split_parts_hold_every_token_once(self):
        said = self.ok("split", "notes", "-o", "own", "rest", "--shares", "25,75", "--seed", 7, "--documents")
        self.assertRegex(said, r"(?m)^own: 100 documents, 700 tokens \(25\.00 %\)$")
        parts = [json.loads(cli.read(self.path(p, "tokens.json"))) for p in ("own", "rest")]
        self.assertEqual([sum(p["shards"]) for p in parts], [700, 2100])
        self.assertEqual(len({p["vocabulary"] for p in parts}), 1)

    def test_another_file_is_read_with_the_same_vocabulary(self):
        cli.write(self.path("more.txt"), b"the surgeon sleeps .\n")
        self.assertIn("unknown 20.00 % (1)", self.ok("tokenize", "more.txt", "-o", "more", "--vocab", "notes"))


class TextCycle(TextCase):
    def check(self, name, model, data, obfuscate=(), train=()):
        """The trained original out of a job equals the one trained alone; returns obfuscate's words."""
        r = cli.run("obfuscate", "--model", model, "--train", data["train"], "--decoys-from", data["pool"], "--key",
                    f"{name}.key", "-o", name, *train, *obfuscate, cwd=self.dir)
        self.assertEqual(r.rc, 0, r.stderr)
        self.ok(name, *TRAINING, program=cli.AMALGAM_TRAIN)
        self.ok("train", "--model", model, "--train", data["train"], "-o", f"{name}-alone.onnx", *train, *TRAINING)
        self.ok("extract", "--key", f"{name}.key", "--weights", f"{name}/out/weights.safetensors", "-o",
                f"{name}.onnx")
        files = cli.snapshot(self.dir)
        self.assertEqual(files[f"{name}.onnx"], files[f"{name}-alone.onnx"])
        self.assertNotEqual(files[f"{name}.onnx"], files[model], "nothing was trained")
        return r.stdout + r.stderr

    def test_a_language_model(self):
        said = self.check("words", "lm.onnx", self.STREAM, train=self.LM)
        self.assertRegex(said, r"words: 186 training and 0 validation samples, 7 -> 14")
        self.assertIn("14 tokens are renumbered in the job, for each network in its own way; extract", said)
        said = self.ok("verify", "--key", "words.key", "--job", "words", "--steps", 3, "--batch", 8, "--threads", 1, "--quiet")
        self.assertRegex(said, r"^verify: [\d,]+ parameters, 0 bits differ \(3 steps, 1 thread\)\n$")

    def test_a_classifier(self):
        said = self.check("topics", "bag.onnx", self.LABELLED, train=("--task", "classify"))
        self.assertRegex(said, r"topics: 72 training and 0 validation samples, 16 -> 32")
        self.assertRegex(said, rf"{self.case_vocab} tokens are renumbered in the job, .*, and classes; extract")

    def test_every_verb_counts_the_same_parameters(self):
        # the embedding, an LSTM of two layers as PyTorch's, the linear layer
        count = self.case_vocab * 6 + 4 * 5 * (6 + 5 + 2) + 4 * 5 * (5 + 5 + 2) + 3 * 5 + 3
        said = self.ok("zoo", "lstm", "--vocab", self.case_vocab, "--seq", 16, "--d-model", 6, "--hidden", 5, "--layers",
                       2, "--pad", 0, "--classes", 3, "--seed", 3, "-o", "lstm.onnx")
        self.assertIn(f", {count} parameters", said)
        seen = json.loads(self.ok("inspect", "lstm.onnx", "--json"))["graph"]
        self.assertEqual((seen["trainable_parameters"], sum(seen["trained"].values())), (count, count))
        said = self.ok("obfuscate", "--model", "lstm.onnx", "--train", self.LABELLED["train"], "--decoys-from",
                       self.LABELLED["pool"], "--key", "lstm.key", "-o", "lstm", "--task", "classify")
        self.assertIn(f" {count} of them yours", said)

    def test_the_results_of_a_language_model_have_perplexities(self):
        said = self.ok("train", "--model", "lm.onnx", "--train", "text:notes", "--val", "text:notes", "-o", "said.onnx",
                       *self.LM, *TRAINING)
        titles, row = said.splitlines()[:2]
        self.assertEqual(re.split(r"\s{2,}", titles), ["head", "train loss", "train ppl", "train acc", "val loss",
                                                       "val ppl", "val top-1", "val top-5"])
        cells = row.split()
        for loss, perplexity in (cells[1:3], cells[5:7]):
            self.assertAlmostEqual(float(perplexity), math.exp(float(loss)), delta=0.006)
        self.assertEqual(len(titles), len(row))
        self.assertLessEqual(len(row), 80)

    def test_tokens_and_classes_can_keep_their_numbers(self):
        said = self.check("kept", "bag.onnx", self.LABELLED, ("--keep-tokens", "--keep-classes", "--decoys", 2),
                          ("--task", "classify"))
        self.assertNotIn("renumbered in the job", said)
        self.assertIn("note: tokens keep their numbers (--keep-tokens): whoever has the vocabulary", said)

    def test_paper_mode_with_each_noise_and_its_measured_weakness(self):
        for noise, weakness in (("uniform", "how often each occurs alone (AUC 1.000)"),
                                ("unigram", "pairs of neighbours alone (AUC 1.000)"),
                                ("bigram", "a trigram score told the text from such noise every time")):
            with self.subTest(noise=noise):
                r = cli.run("obfuscate", "--model", "lm.onnx", "--train", self.STREAM["train"], "--noise", noise,
                            "--amount", 1, "--key", f"{noise}.key", "-o", noise, *self.LM, cwd=self.dir)
                self.assertEqual(r.rc, 0, r.stderr)
                self.assertIn("7 -> 14", r.stdout)
                self.assertIn(weakness, r.stderr)
                self.assertIn("hint: --decoys-from POOL", r.stderr)
                self.assertNotIn("images", r.stderr)

    def test_eval_counts_tokens_and_gives_a_perplexity(self):
        ask = ("eval", "--model", "lm.onnx", "--data", "text:notes", "--threads", 1, *self.LM)
        # 2,800 tokens: 466 windows of six, each with the one after it
        found = json.loads(self.ok(*ask, "--json"))
        self.assertEqual((found["samples"], found["tokens"]), (466, 2796))
        self.assertAlmostEqual(found["perplexity"], 2.718281828459045 ** found["loss"], places=9)
        self.assertRegex(self.ok(*ask), r"^466 windows, 2,796 tokens to predict: loss \d\.\d+, perplexity \d+\.\d\d, "
                                        r"top-1 [\d.]+ %, top-5 [\d.]+ %\n$")
        # overlapping windows predict tokens more than once
        self.assertEqual(json.loads(self.ok(*ask, "--stride", 3, "--json"))["samples"], 932)
        self.assertRegex(self.ok("eval", "--model", "bag.onnx", "--data", "text:cases", "--threads", 1),
                         r"^240 samples: loss \d\.\d+, top-1 [\d.]+ %")


class Generate(TextCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        case = cls()
        case.ok("zoo", "transformer_lm", "--vocab", cls.vocab, "--seq", 6, "--d-model", 32, "--layers", 1, "--heads", 2,
                "--hidden", 32, "--dropout", 0, "--seed", 3, "-o", "talker.onnx")
        case.ok("train", "--model", "talker.onnx", "--train", "text:notes", "-o", "trained.onnx", *cls.LM, "--epochs", 15,
                "--batch", 16, "--optimizer", "adamw", "--lr", 0.01, "--threads", 1, "--quiet")

    def text(self, *more, **options):
        return self.ok("generate", "--model", "trained.onnx", "--vocab", "notes", "--threads", 1, *more, **options)

    def test_what_was_learned_comes_back_as_sentences(self):
        said = self.text("--tokens", 70, "--temperature", 0.5, "--seed", 2)
        whole = said.strip("\n").split("\n")[:-1]
        self.assertGreater(len(whole), 5)
        good = [s for s in whole if re.fullmatch(r"the \w+ \w+ the \w+ \.", s)]
        self.assertGreater(len(good), 0.7 * len(whole), said)

    def test_a_seed_gives_its_text_again(self):
        a = self.text("--prompt", "the patient", "--seed", 4)
        self.assertEqual(a, self.text("--prompt", "the patient", "--seed", 4))
        self.assertNotEqual(a, self.text("--prompt", "the patient", "--seed", 5))
        self.assertTrue(a.startswith("the patient "), a)

    def test_the_most_likely_needs_no_luck(self):
        greedy = self.text("--prompt", "the", "--tokens", 9, "--temperature", 0)
        for more in (("--temperature", 0, "--seed", 9), ("--temperature", 5, "--top-k", 1), ("--top-p", 1e-6)):
            self.assertEqual(self.text("--prompt", "the", "--tokens", 9, *more), greedy, more)

    def test_a_prompt_from_stdin_may_be_longer_than_the_window(self):
        prompt = "the patient shrinks the tumour .\nthe surgeon follows the"
        cli.write(self.path("prompt"), prompt.encode())
        with open(self.path("prompt"), "rb") as f:
            said = self.text("--prompt", "-", "--tokens", 3, "--temperature", 0, stdin=f)
        self.assertTrue(said.startswith(prompt + " "), said)

    def test_bytes_come_out_as_they_are(self):
        self.ok("tokenize", "notes.txt", "-o", "raw", "--tokenizer", "byte", "--whole-file")
        self.ok("zoo", "gpt", "--vocab", 258, "--seq", 8, "--d-model", 8, "--layers", 1, "--heads", 2, "--hidden", 8,
                "--seed", 1, "-o", "gpt.onnx")
        said = self.ok("generate", "--model", "gpt.onnx", "--vocab", "raw", "--prompt", "a\tb \n", "--tokens", 1,
                       "--temperature", 0)
        self.assertTrue(said.startswith("a\tb \n"), repr(said))


class TextRefusals(TextCase, Refusals):
    def test_files_that_are_no_text(self):
        cli.write(self.path("empty.txt"), b"")
        cli.write(self.path("latin.txt"), b"fine\nca\xe9t\n")
        cli.write(self.path("nul.txt"), b"one\ntwo\0\n")
        with open(self.path("endless.txt"), "wb") as f:
            for _ in range(65):
                f.write(b"x" * (1 << 20))
        cli.write(self.path("quote.csv"), b'1,"fine"\n2,"no "end\n')
        cli.write(self.path("open.csv"), b'1,"fine"\n2,"never closed\n3,x\n')
        cli.write(self.path("few.csv"), b"1,a\n2\n")
        cli.write(self.path("broken.jsonl"), b'{"text": "a"}\n{"text": \n')
        go = lambda file, *more: ["tokenize", file, "-o", "x", "--threads", "1", "--quiet", *more]
        self.refuse_all([
            (go("none.txt"), "none.txt: .*No such file"),
            (go("empty.txt"), "empty.txt: line 1, column 1: the file is empty"),
            (go("latin.txt"), "latin.txt: line 2, column 3: .*UTF-8"),
            (go("nul.txt"), "nul.txt: line 2, column 4: .*NUL"),
            (go("endless.txt"), r"endless.txt: line 1, column 1: a line of more than 64 MiB \(at byte 0\)"),
            (go("quote.csv", "--label", "1"), "quote.csv: line 2, column 8: a quote closes a field and more follows"),
            (go("open.csv", "--label", "1"), "open.csv: line 2, column 3: "),
            (go("few.csv", "--label", "1", "--text", "2"), "few.csv: line 2"),
            (go("broken.jsonl"), "broken.jsonl: line 2"),
            (go("notes.txt", "--vocab", "none"), "none: "),
        ])
        os.remove(self.path("endless.txt"))

    def test_labels_that_are_in_no_list(self):
        cli.write(self.path("names"), b"zz.oncology\nzz.cardiology\n")
        self.refuse(["tokenize", "cases.csv", "-o", "x", "--label", "1", "--classes", "names", "--quiet"],
                    r"cases.csv: line \d+, column \d+: .*zz\.radiology")

    def test_sets_that_are_damaged(self):
        for name, file, at, data in (("high", "tokens-00000.npy", -200, b"\xff\xff"),
                                     ("label", "labels.npy", -4, b"\x03\0\0\0"),
                                     ("order", "documents.npy", -16, b"\xff" * 7 + b"\x7f")):
            source = "cases" if file == "labels.npy" else "notes"
            os.makedirs(self.path(name))
            for f in os.listdir(self.path(source)):
                old = cli.read(self.path(source, f))
                new = old[:at] + data + old[len(old) + at + len(data):] if f == file else old
                cli.write(self.path(name, f), new)
        go = lambda data, model="lm.onnx": ["eval", "--model", model, "--data", f"text:{data}", "--threads", "1"]
        self.refuse_all([
            (go("high"), r"high: tokens-00000.npy: token 65535, expected 0 to 13 \(at byte \d+\)"),
            (go("label", "bag.onnx"), r"label: labels.npy: label 3 of document 239, expected 0 to 2 \(at byte \d+\)"),
            (go("order"), r"order: documents.npy: entry 399 is \d+, expected \d+ to 2800 \(at byte \d+\)"),
            (go("notes.txt"), "notes.txt: "),
        ])

    def test_vocabularies_that_do_not_fit_the_model(self):
        self.ok("zoo", "transformer_lm", "--vocab", 9, "--seq", 6, "--d-model", 8, "--layers", 1, "--heads", 2,
                "--hidden", 8, "-o", "nine.onnx")
        self.refuse_all([
            (["eval", "--model", "nine.onnx", "--data", "text:notes", "--threads", "1"], ".*14.*9|.*9.*14"),
            (["train", "--model", "nine.onnx", "--train", "text:notes", "-o", "x.onnx", "--threads", "1"],
             ".*14.*9|.*9.*14"),
            (["obfuscate", "--model", "nine.onnx", "--train", self.STREAM["train"], "--decoys-from",
              self.STREAM["pool"], "--key", "k", "-o", "j"], ".*14.*9|.*9.*14"),
            (["generate", "--model", "nine.onnx", "--vocab", "notes"], "notes: has 14 tokens, nine.onnx predicts 9",
             {"hint": "give the token set or vocabulary that the model was trained on"}),
            (["obfuscate", "--model", "lm.onnx", "--train", self.STREAM["train"], "--decoys-from",
              "text:cases", "--key", "k", "-o", "j"], ".*cases"),
        ])

    def test_covers_whose_windows_follow_each_other_otherwise(self):
        r = random.Random(3)
        lines = [" ".join(f"w{r.randrange(50)}" for _ in range(r.randrange(3, 13))) for _ in range(400)]
        cli.write(self.path("varied.txt"), "".join(line + "\n" for line in lines).encode())
        self.ok("tokenize", "varied.txt", "-o", "varied")
        self.ok("split", "varied", "-o", "mine", "theirs", "--shares", "1,5", "--seed", 7, "--chunk", 60)
        self.ok("zoo", "transformer_lm", "--vocab", 52, "--seq", 6, "--d-model", 8, "--layers", 1, "--heads", 2,
                "--hidden", 8, "-o", "varied.onnx")
        go = lambda own, pool: ["obfuscate", "--model", "varied.onnx", "--task", "lm", "--train", f"text:{own}",
                                "--decoys-from", f"text:{pool}", "--decoys", 2, "--key", "chained.key", "-o", "chained"]
        dealt = {"hint": r"deal out one set, text:SET\[0%-25%:seed=1\] and text:SET\[25%-100%:seed=1\], or take "
                         "whole sets that amalgam split made"}
        self.refuse_all([
            (go("mine", "theirs[0%-60%:seed=1]"),
             r".*mine: 100\.0 % of the windows of the training data go on where the one before ends; covers would "
             r"[\d.]+ % of the time \(random rows of the cover pool\) or \d\d\.\d % \(stretches of it\), which tells "
             "them apart", dealt),
            (go("mine[0%-70%:seed=1]", "theirs"), r".*mine: \d\d\.\d % of the windows of the training data", dealt),
            (go("varied[0:150]", "varied[150:450]"),
             r".*varied: the cover pool has 300 samples \(0 equal to others were met\): no room for 2 stretches of 150 "
             "for the training data, 1 apart, each from where a window and a document begin",
             {"hint": r".*leave out the first window of the data, DATA\[1:\]"}),
        ])
        self.ok(*go("mine", "theirs"))

    def test_generate(self):
        go = lambda *more, model="lm.onnx": ["generate", "--model", model, "--vocab", "notes", *more]
        with open(self.path("long"), "wb") as f:
            f.write(b"the " * (1 << 18) + b"t")
        self.refuse_all([
            (go("--prompt", "the nurse shrinks"), r"prompt: the vocabulary has no token for 'nurse' \(at byte 4\)",
             {"hint": "write <unk> in its place"}),
            (go("--prompt", "the ca\udce9t"), "prompt: .*UTF-8"),
            (go(model="bag.onnx"), "bag.onnx: no language model: from .* it makes F32"),
            (go(model="model.onnx"), "model.onnx: no language model"),
            (go(model="none.onnx"), "none.onnx: .*No such file"),
            (["generate", "--model", "lm.onnx", "--vocab", "none"], "none: "),
            (["generate", "--model", "lm.onnx", "--vocab", "model.onnx"], "model.onnx: "),
            (["generate", "--model", "lm.onnx"], "amalgam generate: missing --vocab", USAGE),
            (go("--top-p", "1.5"), "--top-p: found '1.5', expected a number", USAGE),
            (go("--temperature", "-1"), "--temperature: found '-1'", USAGE),
        ])
        with open(self.path("long"), "rb") as f:
            self.refuse(go("--prompt", "-"), "stdin: the prompt is longer than 1048576 bytes", stdin=f)

    def test_options_that_say_nothing_together(self):
        self.refuse_all([
            (["tokenize", "-o", "x"], "amalgam tokenize: missing FILE", USAGE),
            (["split", "notes", "-o", "x", "--seed", "1"], "-o: found one set", USAGE),
            (["train", "job", "--seq", "5"], r"a job \('job'\) has its model and data in it", USAGE),
            (["obfuscate", "--model", "lm.onnx", "--train", "text:notes", "--noise", "trigram", "--key", "k", "-o",
              "j"], "--noise: found 'trigram', expected uniform, .* unigram, bigram or values:FILE", USAGE),
            (["eval", "--model", "lm.onnx", "--data", "text:notes", "--task", "translate"],
             "--task: found 'translate', expected one of data lm classify", USAGE),
            (["eval", "--model", "lm.onnx", "--data", "text:notes", "--task", "classify"], ".*"),
            (["eval", "--model", "bag.onnx", "--data", "text:cases", "--task", "lm"], ".*"),
        ])

    def test_outputs_that_are_there_stay(self):
        self.refuse_all([
            (["tokenize", "notes.txt", "-o", "cases", "--quiet"], "cases: exists already"),
            (["split", "notes", "-o", "fresh", "cases", "--seed", "1", "--quiet"], "cases: exists already"),
        ])


class TextDemo(Refusals):
    """amalgam demo --text on a WordNet of a few hundred made-up words."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        r = random.Random(4)
        os.makedirs(cls.path("wordnet"))
        for i, name in enumerate(("noun", "verb", "adj", "adv")):
            lines = ["  1 A licence.  "]
            for n in range(400):
                category = r.randrange(45)
                example = '; "he said ""so"""' if n % 3 == 0 else ""
                gloss = " ".join(f"w{category}" if r.random() < 0.5 else f"x{r.randrange(50)}" for _ in range(5))
                lines.append(f"{n:08d} {category:02d} {name[0]} 01 word{n} 0 000 | {gloss} n{i}d{n}{example}  ")
            cls.write_data(name, lines)

    @classmethod
    def write_data(cls, name, lines, folder="wordnet"):
        cli.write(cls.path(folder, f"data.{name}"), "".join(l + "\n" for l in lines).encode())

    def test_the_whole_cycle_on_a_small_wordnet(self):
        said = self.ok("demo", "--text", "--data", "wordnet", "-o", "d", timeout=600)
        self.assertIn("d/glosses.csv: 1,600 definitions of WordNet in 45 categories", said)
        self.assertEqual(len(re.findall(r"(?m)^\$ amalgam", said)), 9)
        self.assertIn("the same file", said)
        self.assertRegex(said, r"(?m)^verify: [\d,]+ parameters, 0 bits differ")
        rows = cli.read(self.path("d/glosses.csv")).decode().splitlines()
        self.assertEqual(rows[0], "category,gloss")
        self.assertRegex(rows[1], r'^\w+\.\w+,"(?:[wx]\d+ ){5}n0d0"$')

    def test_what_is_no_wordnet_is_refused(self):
        bad = {"category": "00000000 45 n 01 a 0 000 | gloss  ", "gloss": "00000000 03 n 01 a 0 000 no gloss",
               "short": "000"}
        for name, line in bad.items():
            os.makedirs(self.path(name))
            self.write_data("noun", ["  1 A licence.", line], folder=name)
        for name in bad:
            self.refuse(["demo", "--text", "--data", name, "-o", "e"],
                        rf"{name}/data.noun: line 2 is no synset .* \(at byte 15\)")
        self.refuse(["demo", "--text", "--data", "nowhere", "-o", "e"], "nowhere: no such folder",
                    hint="apt-get install wordnet-base")


if __name__ == "__main__":
    unittest.main()
