#!/usr/bin/env python3
"""Writes tests/text/golden/bpe.json: small tokenizers trained here, and what Hugging Face's
`tokenizers` (0.23) makes of texts with them.

Run from the source root, with `pip install tokenizers`. The sentences are proverbs and lines
whose authors died centuries ago.
"""
import json
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = """A bird in the hand is worth two in the bush. It's the early bird that catches the worm.
All that glitters is not gold. Better late than never, they'll say; we've said it, too.
To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer
the slings and arrows of outrageous fortune, or to take arms against a sea of troubles.
It was the best of times, it was the worst of times, in the year 1775 and again in 1793.
Wer den Pfennig nicht ehrt, ist des Talers nicht wert. Übung macht den Meister.
L'été s'en va, et l'hiver est là. Ça ira, ça ira! Où sont les neiges d'antan?
Тише едешь, дальше будешь. 千里の道も一歩から。 Ἐν ἀρχῇ ἦν ὁ λόγος.
    for (i = 0; i < 10; i++)
        sum += i * 3.14159;
The end justifies the means. The proof of the pudding is in the eating. Don't cry over spilt milk!
Where there's smoke, there's fire. Where there is a will, there is a way. I'd rather you'd come.
""".splitlines(keepends=True) * 3

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")

TEXTS = [
    "", " ", "a", "\n", "the bird's hand isn't WORTH two, they'LL say we'VE 'tis",
    "   three leading, two  inside,   three trailing   ", "tabs\t\tand\r\nlines\n\n\n  end",
    "1 22 333 4444 12345678 1,000.50 ½ ² ٣٤ Ⅷ", "naïve café Übung Ça où e\u0301 ﬁ ß İ ſ 'ſ",
    "👍🏽 family: 👩‍👩‍👧 flag 🇩🇪 end👍", "日本語のテキスト と English混在 한국어 ไทย עברית العربية",
    "nbsp\u00a0ideographic\u3000line\u2028nel\x85zero\u200bbom\ufeffmvs\u180e x\u180e\u180e y\x1c\x1dz",
    "control \x00\x01\x7f bytes", "!!! ??? ... --- ((( )))  ;;  <>&\"'`~", "a" * 300, " " * 100 + "x",
    "the" * 40 + "question" * 20, "abababababababab aaaaaaaaaaab", "it's<|endoftext|>the end <|endoftext|> <|end",
    "<|endoftext|><|endoftext|>", "x <mask> y", "x  <mask>\n\n y<mask>z", "a<b>c<bb>d", "The END\u2009<mask>\x1c",
]
# These add a space, take white space away, or have an unknown token.
LOSSY = ("gpt2_prefix", "digits", "added", "unknown", "fused", "contiguous", "inverted")


def random_texts():
    rng = random.Random(5)
    alphabet = "  \n\t'sdtmlrevTHEtheaou.,!019éßя日👍\u0301\u00a0\u2003<|>"
    return ["".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 60))) for _ in range(12)]


def train(tokenizer, size, alphabet, special=()):
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=list(special), show_progress=False))
    return tokenizer


def byte_level(size, prefix=False, steps=None, **model):
    t = Tokenizer(models.BPE(**model))
    t.pre_tokenizer = steps or pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    return train(t, size, pre_tokenizers.ByteLevel.alphabet(), ["<|endoftext|>"])


def characters(size, steps, **model):
    t = Tokenizer(models.BPE(**model))
    if steps:
        t.pre_tokenizer = steps
    return train(t, size, [], [model["unk_token"]] if "unk_token" in model else [])


def edit(tokenizer, change):
    data = json.loads(tokenizer.to_str())
    change(data)
    return Tokenizer.from_str(json.dumps(data))


def with_byte_tokens(data):
    vocab = data["model"]["vocab"]
    for b in range(256):
        vocab[f"<0x{b:02X}>"] = len(vocab)
    data["model"]["byte_fallback"] = True
    data["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}


def whole_words(data):
    """Words that no merges lead to: they come from ignore_merges alone."""
    data["model"]["ignore_merges"] = True
    for word in ("Ġfamily", "nobler", "question"):
        data["model"]["vocab"].setdefault(word, len(data["model"]["vocab"]))
    data["added_tokens"] = []


def main():
    split = pre_tokenizers.Split
    lists = pre_tokenizers.Sequence
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    added = byte_level(300)
    added.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False), "<b>", "<bb>", "END",
                      AddedToken("TH", normalized=False), "é"])
    tokenizers = {
        "gpt2": byte_level(420),
        "gpt2_prefix": byte_level(300, prefix=True),
        "llama3": edit(byte_level(350, steps=lists([split(Regex(LLAMA3), "isolated"), bytes_only])), whole_words),
        "digits": byte_level(300, steps=lists([pre_tokenizers.Digits(individual_digits=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=True)])),
        "added": added,
        "no_cut": byte_level(290, steps=bytes_only),
        "fallback": edit(characters(200, split(" ", "merged_with_previous")), with_byte_tokens),
        "unknown": characters(150, split(Regex(r"\s+"), "removed"), unk_token="[UNK]"),
        "fused": characters(150, split(Regex(r"\S+"), "merged_with_next"), unk_token="[UNK]", fuse_unk=True),
        "contiguous": characters(130, lists([pre_tokenizers.Digits(), split(Regex(r"[\s.,]"), "contiguous")]),
                                 unk_token="[UNK]"),
        "inverted": characters(130, split(Regex(r"\p{L}"), "merged_with_previous", invert=True), unk_token="[UNK]"),
    }
    golden, texts = [], TEXTS + random_texts()
    for name, t in tokenizers.items():
        data = json.loads(t.to_str())
        if name == "gpt2_prefix":  # as older files write merges
            data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        golden.append({"name": name, "exact": name not in LOSSY, "tokenizer": data,
                       "ids": [t.encode(x, add_special_tokens=False).ids for x in texts]})
    with open("tests/text/golden/bpe.json", "w", encoding="utf-8", newline="\n") as f:
        json.dump({"texts": texts, "tokenizers": golden}, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
