"""Text: windows of tokens, streams of them, token sets; a language model's cycle with and without a module."""
import json
import math
import os
import subprocess
import unittest

import support

np = support.require("numpy")

import amalgam  # noqa: E402
from amalgam import _data  # noqa: E402
from amalgam import _library as lib  # noqa: E402

VOCAB, SEQ = 40, 8


def stream(count, seed=0, follows=0.8):
    """A text whose next token follows from the one before, mostly or rarely. Where it does
    rarely, no window of two texts is the same: the stretches that covers are need that."""
    r = np.random.RandomState(seed)
    tokens = [0]
    for _ in range(count - 1):
        tokens.append((3 * tokens[-1] + 1) % VOCAB if r.rand() < follows else r.randint(VOCAB))
    return np.array(tokens)


def windows(count, seed=0):
    return stream(count * (SEQ + 1), seed).reshape(count, SEQ + 1)


def tokens_of(data, seq=None, stride=None):
    return _data.open_tokens(data, "the text", None, seq, stride)


class Tokens(support.Case):
    def test_a_row_of_tokens_is_cut_into_windows(self):
        rows = tokens_of(np.arange(20), 4, 3)
        self.assertEqual((rows.num, rows.shape, rows.dtype, rows.target_dtype), (6, (5,), "I32", None))
        np.testing.assert_array_equal(rows.samples([0, 5])[0], [range(5), range(15, 20)])
        self.assertEqual(tokens_of(np.arange(9), 4).num, 2)
        self.assertEqual(tokens_of(np.arange(8), 4).num, 1)

    def test_bytes_are_tokens_too(self):
        rows = tokens_of(np.array([[250, 1, 2], [3, 4, 5]], np.uint8))
        self.assertEqual(rows.samples([0])[0].dtype, np.int32)
        self.assertEqual(rows.samples([0])[0].tolist(), [[250, 1, 2]])

    def test_what_is_no_text_is_refused(self):
        for data, seq, what in [
                (np.arange(20), None, "is one row of tokens, and it is not said how many"),
                (np.arange(4), 4, "has no samples"),
                ((windows(4), np.arange(4)), None, "has targets"),
                (windows(4).astype(np.float32), None, r"samples are F32\[9\]"),
                (windows(4)[:, :2], None, r"samples are I32\[2\]"),
                (windows(4), 5, "windows are of 9 tokens, expected 6")]:
            with self.subTest(what=what), self.refused(amalgam.DataError, what, where="the text"):
                tokens_of(data, seq)

    def test_a_token_out_of_the_vocabulary_is_named_with_its_row(self):
        rows = tokens_of(windows(4))
        rows.vocab = VOCAB
        rows.base[2, 3] = VOCAB
        with self.refused(amalgam.DataError, f"row 2: token {VOCAB}, expected 0 to {VOCAB - 1}", "INVALID"):
            rows.samples([1, 2])[0]

    def test_two_cuts_of_one_text_share_rows(self):
        text = np.arange(40)
        with self.refused(amalgam.DataError, "shares"):
            _data.check_disjoint(tokens_of(text, 4), tokens_of(text, 4))
        _data.check_disjoint(tokens_of(text[:20], 4), tokens_of(text[20:], 4))


class Library(support.Case):
    """The cycle on a model of the zoo, without torch."""

    def setUp(self):
        super().setUp()
        lib.call("amalgam_zoo", lib.options({"name": "gpt", "out": "gpt.onnx", "vocab": VOCAB, "seq": SEQ,
                                             "width": 16, "layers": 1, "heads": 2, "seed": 3}))

    def job(self, **more):
        options = {"decoys_from": windows(140, 1), "key": "job.key", "out": "job", "progress": False, "task": "lm",
                   "seed_hex": support.SEED, **more}
        return amalgam.obfuscate("gpt.onnx", options.pop("train", windows(64)), **options)

    def heads(self, folder="job"):
        with open(f"{folder}/job.json", encoding="utf-8") as f:
            job = json.load(f)
        self.assertEqual(job["task"], "language_model")
        return job["heads"]

    def test_a_language_model_comes_home_trained(self):
        job = self.job(val=windows(20, 2), val_decoys_from=windows(60, 3))
        self.assertFalse([note for note in job.notes if "tokens" in note], job.notes)
        self.assertTrue(all(h["num_classes"] == VOCAB and "ignore_index" not in h for h in self.heads()))
        trained = amalgam.train(job, batch=16, epochs=8, optimizer="adamw", lr=0.01, progress=False)
        self.assertTrue(all(h["val_loss"] < math.log(VOCAB) - 0.3 for h in trained.heads), trained.heads)
        state = amalgam.extract("job.key", trained.weights, onnx="trained.onnx")
        self.assertEqual(state["transformer.wte.weight"].shape, (VOCAB, 16))
        text = windows(20, 2)
        logits = lib.run("trained.onnx", "I64", np.ascontiguousarray(text[:, :-1]))
        shifted = logits - logits.max(2, keepdims=True)
        scores = shifted - np.log(np.exp(shifted).sum(2, keepdims=True))
        loss = -np.take_along_axis(scores, text[:, 1:, None], 2).mean()
        self.assertLess(min(abs(loss - h["val_loss"]) for h in trained.heads), 1e-4)

    def test_padding_does_not_count(self):
        padded = windows(64)
        padded[::2, 5:] = 7
        self.job(train=padded, pad=7)
        self.assertTrue(all(h["ignore_index"] == 7 for h in self.heads()))

    def test_tokens_keep_their_numbers_only_when_asked(self):
        self.job()
        self.job(out="kept", key="kept.key", keep_tokens=True, keep_classes=True)
        seen = {}
        for folder in ("job", "kept"):
            x = np.load(f"{folder}/data/train-x-00000.npy").reshape(64, -1)
            seen[folder] = set(map(tuple, np.sort(x, 1).tolist()))
        self.assertFalse(seen["job"] & seen["kept"])
        follows = {tuple(w) for w in windows(64).tolist()}
        self.assertTrue(all(any(not set(w) - set(row) for row in seen["kept"]) for w in follows))

    def test_what_does_not_fit_is_refused(self):
        wrong, data = amalgam.AmalgamError, amalgam.DataError
        for options, kind, what, code in [
                ({"train": windows(64)[:, :-1]}, wrong, r"samples are I32\[8\]", "MISMATCH"),
                ({"train": windows(64) + VOCAB}, data, "row 0: token .*, expected 0 to 39", "INVALID"),
                ({"pad": VOCAB}, wrong, f"is {VOCAB}, expected a token", "INVALID"),
                ({"task": "reconstruction", "pad": 1}, wrong, "is for a language model", "INVALID")]:
            with self.subTest(what=what), self.refused(kind, what, code):
                self.job(**options)


class Modules(support.Case):
    def setUp(self):
        super().setUp()
        self.torch = support.require("torch")
        support.require("onnx")  # which exporters need
        nn, torch = self.torch.nn, self.torch

        class Model(nn.Module):
            def __init__(self, by_token):
                super().__init__()
                self.embedding, self.by_token = nn.Embedding(VOCAB, 12), by_token
                self.lstm = nn.LSTM(12, 16, batch_first=True)
                self.project = nn.Linear(16, 12)
                self.head = nn.Linear(12, VOCAB, bias=False)
                self.head.weight = self.embedding.weight

            def forward(self, x):
                y = self.head(self.project(self.lstm(self.embedding(x))[0]))
                return y.flatten(0, 1) if self.by_token else y

        torch.manual_seed(1)
        self.models = [Model(False), Model(True)]

    def test_logits_by_sample_or_by_token_and_tied_weights(self):
        for i, model in enumerate(self.models):
            job = amalgam.obfuscate(model, self.torch.from_numpy(stream(1000, 0, 0.1)), seq=SEQ, task="lm",
                                    decoys_from=self.torch.from_numpy(stream(1400, 1, 0.1)), key=f"{i}.key", out=f"{i}",
                                    progress=False)
            self.assertEqual(job.train_samples, (1000 - SEQ - 1) // SEQ + 1)
            trained = amalgam.train(job, batch=16, epochs=2, lr=0.1, progress=False)
            state = amalgam.extract(f"{i}.key", trained.weights)
            self.assertTrue(self.torch.equal(state["head.weight"], state["embedding.weight"]))
            self.assertFalse(self.torch.equal(state["head.weight"], model.embedding.weight))
            model.load_state_dict(state)

    def test_a_classifier_that_masks_its_padding(self):
        torch, nn = self.torch, self.torch.nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.embedding, self.head = nn.Embedding(VOCAB, 12), nn.Linear(12, 3)
                self.instead = nn.Parameter(torch.randn(12))

            def forward(self, x):
                kept = (x != 0).unsqueeze(-1)
                y = torch.where(kept, self.embedding(x), self.instead)
                y = torch.tanh(y).masked_fill(~kept & (y < 0) | (y >= 2), -0.5)
                return self.head((y * kept.float()).sum(1) + y.mean(1))

        model, data = Model(), {}
        for seed, name in enumerate(("own", "pool")):
            x = windows(96 + 200 * seed, seed)
            x[::2, 5:] = 0
            data[name] = (x, x[:, 0] % 3)
        job = amalgam.obfuscate(model, data["own"], decoys_from=data["pool"], task="classify", key="job.key", out="job",
                                progress=False)
        trained = amalgam.train(job, batch=16, epochs=3, lr=0.1, progress=False)
        state = amalgam.extract("job.key", trained.weights)
        for name, before in model.state_dict().items():
            self.assertFalse(torch.equal(state[name], before), name)

    def test_a_token_set(self):
        program = os.path.join(os.path.dirname(lib._find()), "..", "cli", "amalgam")
        if not os.path.exists(program):
            self.skipTest("no amalgam beside the library")
        for seed, name in enumerate(("own", "pool")):
            with open(f"{name}.txt", "w", encoding="utf-8") as f:
                lines = stream((200 + 300 * seed) * 9, seed, 0.1).reshape(-1, 9)
                f.write("\n".join(" ".join(f"w{t}" for t in line) for line in lines))
        subprocess.run([program, "tokenize", "own.txt", "-o", "own", "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        subprocess.run([program, "tokenize", "pool.txt", "--vocab", "own", "-o", "pool", "--quiet"], check=True,
                       stdout=subprocess.DEVNULL)
        vocab = lib.call("amalgam_data_info", b"text:own")["vocab_size"]
        model = self.torch.nn.Sequential(self.torch.nn.Embedding(vocab, 8), self.torch.nn.Linear(8, vocab))
        with self.refused(amalgam.AmalgamError, "does not say how many tokens", hint="seq="):
            amalgam.obfuscate(model, "text:own", decoys_from="text:pool", key="job.key", out="job", progress=False)
        job = amalgam.obfuscate(model, "text:own", decoys_from="text:pool", seq=5, stride=3, key="job.key", out="job",
                                progress=False)
        trained = amalgam.train(job, batch=16, lr=0.1, progress=False)
        self.assertEqual(amalgam.extract("job.key", trained.weights)["0.weight"].shape, (vocab, 8))


if __name__ == "__main__":
    unittest.main()
