"""Real results on text: a model trained alone, inside an obfuscated job, and in PyTorch, by the
same recipe on the same data. Prints a Markdown table; ends with exit 1 if the first two are not
the same file.

    python text_results.py BUILD [wikitext-2 | ag-news | tiny-shakespeare ...]

BUILD holds the programs; the Python has torch, numpy, onnx and safetensors. Data from
$AMALGAM_DATA, else ../shared/data. A little less than half of the training text, dealt out by
`amalgam split`, is the owner's; the rest is the pool of covers. PyTorch trains the plain
module on the owner's part from the same initial weights with the same batches
(tests/interop/plain_loop.py; dropout draws other numbers), and all three are evaluated by
`amalgam eval`. Three quarters of an hour on two cores for all.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import safetensors.numpy

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("AMALGAM_DATA", ROOT / ".." / "shared" / "data"))
THREADS = os.cpu_count()
ADAMW = {"optimizer": "adamw", "schedule": "cosine", "seed": 7}

# Per case: files with their flags, the zoo's model with its options, its PyTorch twin's name
# and further options (twins.build_text), and the recipe.
CASES = {
    "wikitext-2": {
        "train": ["wikitext-2/train.txt"], "test": ["wikitext-2/valid.txt"],
        "model": "transformer_lm", "twin": "samples_first_lm", "task": "lm",
        "options": {"seq": 35, "d_model": 200, "layers": 2, "heads": 2, "hidden": 200,
                    "dropout": 0.2},
        "recipe": {**ADAMW, "batch": 32, "epochs": 1, "lr": 1e-3, "weight_decay": 0.01,
                   "clip": 0.25, "warmup": 100}},
    "ag-news": {
        "train": ["ag_news_csv/train-subset.csv.gz", "--text", "2,3", "--label", "1", "--lower",
                  "--punctuation", "--max-vocab", "20000", "--min-count", "2"],
        "test": ["ag_news_csv/test.csv.gz", "--text", "2,3", "--label", "1"],
        "model": "embedding_bag", "twin": "embedding_bag", "task": "classify",
        "options": {"seq": 128, "d_model": 64, "pad": 0}, "classes": 4, "last": "fc",
        "recipe": {**ADAMW, "batch": 64, "epochs": 8, "lr": 5e-3, "weight_decay": 0.01}},
    "tiny-shakespeare": {
        "train": ["tinyshakespeare/input.txt", "--tokenizer", "byte", "--whole-file"],
        "model": "gpt", "twin": "gpt", "task": "lm",
        "options": {"seq": 128, "d_model": 128, "layers": 4, "heads": 4, "hidden": 512,
                    "dropout": 0.1},
        "recipe": {**ADAMW, "batch": 32, "epochs": 10, "lr": 2e-3, "weight_decay": 0.01,
                   "clip": 1.0, "warmup": 50}},
}


def note(text):
    print(text, file=sys.stderr, flush=True)


def flags(options):
    return [str(x) for k, v in options.items() for x in (f"--{k.replace('_', '-')}", v)]


class Results:
    def __init__(self, build, name, folder):
        self.build, self.case, self.folder = Path(build).resolve(), CASES[name], Path(folder)
        self.recipe = self.case["recipe"]
        self.lm = self.case["task"] == "lm"

    def path(self, name):
        return str(self.folder / name)

    def amalgam(self, *args):
        note("amalgam " + " ".join(map(str, args)))
        start = time.monotonic()
        done = subprocess.run([self.build / "src" / "cli" / "amalgam", *map(str, args)],
                              check=True, stdout=subprocess.PIPE, text=True, cwd=self.folder)
        note(f"  {time.monotonic() - start:.0f} s")
        return done.stdout

    def prepare(self):
        """Token sets own, pool and test; the model with its vocabulary."""
        file, *options = self.case["train"]
        self.amalgam("tokenize", DATA / file, "-o", "all", *options)
        if "test" in self.case:
            file, *options = self.case["test"]
            self.amalgam("tokenize", DATA / file, "-o", "test", "--vocab", "all", *options)
            self.amalgam("split", "all", "-o", "own", "pool", "--shares", "49,51", "--seed", 3)
        else:   # a tenth of its own
            self.amalgam("split", "all", "-o", "own", "pool", "test", "--shares", "44,46,10",
                         "--seed", 3)
        sizes = json.loads((self.folder / "all" / "tokens.json").read_text())
        self.options = {"vocab": sizes["vocab_size"], **self.case["options"]}
        classes = ["--classes", self.case["classes"]] if "classes" in self.case else []
        self.amalgam("zoo", self.case["model"], "-o", "model.onnx", "--seed", 1,
                     *flags(self.options), *classes)

    def data(self):
        return ["--task", self.case["task"], "--train", "text:own"]

    def train(self):
        """Alone and inside a job; True if both are the same file."""
        recipe = [*flags(self.recipe), "--threads", THREADS, "--quiet"]
        self.amalgam("train", "--model", "model.onnx", *self.data(), *recipe, "-o", "alone.onnx")
        self.amalgam("obfuscate", "--model", "model.onnx", *self.data(), "--decoys-from",
                     "text:pool", "--key", "job.key", "-o", "job")
        self.amalgam("train", "job", *recipe)
        self.amalgam("extract", "--key", "job.key", "--weights", "job/out/weights.safetensors",
                     "-o", "extracted.onnx")
        return (self.folder / "alone.onnx").read_bytes() == \
            (self.folder / "extracted.onnx").read_bytes()

    def samples(self):
        """What the owner's set trains on: x, and y of documents."""
        tokens = np.concatenate([np.load(p).astype(np.int32)
                                 for p in sorted((self.folder / "own").glob("tokens-*.npy"))])
        seq = self.options["seq"]
        if self.lm:
            starts = np.arange(0, len(tokens) - seq, seq)
            return np.stack([tokens[s:s + seq + 1] for s in starts]), None
        bounds = np.load(self.path("own/documents.npy"))
        x = np.full((len(bounds) - 1, seq), self.options["pad"], np.int32)
        for row, (begin, end) in enumerate(zip(bounds, bounds[1:])):
            document = tokens[begin:min(end, begin + seq)]
            x[row, :len(document)] = document
        return x, np.load(self.path("own/labels.npy")).astype(np.int32)

    def initial(self):
        model = onnx.load(self.path("model.onnx"))
        return model, {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer
                       if t.data_type == onnx.TensorProto.FLOAT}

    def train_in_pytorch(self):
        """torch.onnx: the model with what the plain module learned."""
        model, weights = self.initial()
        safetensors.numpy.save_file({k: v for k, v in weights.items() if v.ndim},
                                    self.path("initial.safetensors"))
        arrays = {}
        for name, array in zip("xy", self.samples()):
            if array is not None:
                np.save(self.path(f"{name}.npy"), array)
            arrays[name] = None if array is None else {
                "path": self.path(f"{name}.npy"), "dtype": "I32", "shape": list(array.shape)}
        batches = arrays["x"]["shape"][0] // self.recipe["batch"]
        text = {**self.options}
        if "classes" in self.case:
            text["classes"] = self.case["classes"]
        recipe = {"train_py": str(ROOT / "src" / "emit" / "train.py"), "model": self.case["twin"],
                  "text": text, "windows": self.lm, **arrays, "last": self.case.get("last"),
                  "weights": self.path("initial.safetensors"), "options": self.recipe,
                  "steps": batches * self.recipe["epochs"],
                  "out": self.path("torch.safetensors")}
        Path(self.path("recipe.json")).write_text(json.dumps(recipe))
        start = time.monotonic()
        subprocess.run([sys.executable, ROOT / "tests" / "interop" / "plain_loop.py",
                        self.path("recipe.json")], check=True)
        note(f"PyTorch: {time.monotonic() - start:.0f} s")
        learned = safetensors.numpy.load_file(self.path("torch.safetensors"))
        for tensor in model.graph.initializer:
            if tensor.name in learned:
                tensor.CopyFrom(onnx.numpy_helper.from_array(learned[tensor.name], tensor.name))
        onnx.save(model, self.path("torch.onnx"))

    def evaluate(self, model):
        return json.loads(self.amalgam("eval", "--model", model, "--task", self.case["task"],
                                       "--data", "text:test", "--json"))


def main():
    build, *names = sys.argv[1:]
    print("| | trained | loss | perplexity | top-1 | the bytes of alone |")
    print("|---|---|---|---|---|---|")
    same = True
    for name in names or CASES:
        with tempfile.TemporaryDirectory(prefix="text-results-", dir=build) as folder:
            r = Results(build, name, folder)
            r.prepare()
            equal = r.train()
            same = same and equal
            r.train_in_pytorch()
            for how, model in (("alone", "alone"), ("in a job, extracted", "extracted"),
                               ("PyTorch", "torch")):
                e = r.evaluate(f"{model}.onnx")
                perplexity = f"{np.exp(e['loss']):.2f}" if r.lm else ""
                said = {"extracted": "yes" if equal else "NO"}.get(model, "")
                print(f"| {name} | {how} | {e['loss']:.6f} | {perplexity} | "
                      f"{100 * e['top1']:.2f} % | {said} |", flush=True)
            if r.case["model"] == "gpt":
                print(r.amalgam("generate", "--model", "extracted.onnx", "--vocab", "all",
                                "--prompt", "ROMEO:", "--tokens", 300, "--temperature", 0.8,
                                "--seed", 3), file=sys.stderr)
    sys.exit(not same)


main()
