"""Compares cl100k_base and o200k_base with tiktoken, and Llama 3's and Qwen's patterns with Hugging Face's tokenizers, on
every line of the corpora and on hard strings; and loads what we write into tokenizer.json with Hugging Face's tokenizers.

    pip install tokenizers==0.23.3 tiktoken==0.14.0
    swift build -c release --product fuzz && swift build -c release --product tokenize
    python dev/reference/compare_tiktoken.py --tokenizers FOLDER --corpora FOLDER [--only NAME] [--lines N]
    python dev/reference/compare_tiktoken.py --tokenizers FOLDER --speed TEXT      # tiktoken's, of one thread

FOLDER contains cl100k_base.tiktoken and o200k_base.tiktoken. The exit code is 1 if any id differs.
"""

import argparse
import json
import pathlib
import random
import statistics
import subprocess
import tempfile
import time
import unicodedata

import tiktoken
import tiktoken.load
from tiktoken_ext import openai_public
from tokenizers import Tokenizer

import compare_tokenizers
from tiktoken_fixtures import MORE, expressions

SCALARS = [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def encoding(path):
    """tiktoken's own encoding, with its own pattern and special tokens, and our file as the vocabulary."""
    def load(url, expected_hash=None):
        data = path.read_bytes()
        assert tiktoken.load.check_hash(data, expected_hash), path
        lines = (line.split() for line in data.splitlines() if line)
        return {__import__("base64").b64decode(token): int(rank) for token, rank in lines}
    openai_public.load_tiktoken_bpe = load
    return tiktoken.Encoding(**getattr(openai_public, path.stem)())


def every_character(rng):
    """Each character of Unicode, next to others of each kind."""
    around = ["a", "A", "1", " ", "\n", "!", "'", "가", "\u0301", "/", "", "\u00a0"]
    for first in range(0, len(SCALARS), 4):
        yield "".join(rng.choice(around) + c + rng.choice(around) for c in SCALARS[first:first + 4])


def patterns(rng, count):
    """What the patterns distinguish, in random order."""
    parts = ["a", "the", "Z", "ABC", "abC", "é", "É", "안녕", "ㅋㅋ", "日", "ǅ", "ʰ", "e\u0301", "\u0301", "1", "42", "123", "4567", "½", "٣",
             " ", " ", " ", "  ", "\t", "\u00a0", "\u3000", "\n", "\n\n", "\r\n", "\r", " \n", "'", "'s", "'S", "'ll", "'LL", "'rE", "'\u017f",
             "\u017f", "\u212a", "!", "...", "/", "//", "\n/", "😀", "\0", "\u007f", "\u0085", "\u2028", "\u200b", "\U0001e900", "\U0001e922", "𝐀", "𝐚"]
    for _ in range(count):
        yield "".join(rng.choice(parts) for _ in range(rng.randint(1, 14)))


def compare(name, path, expected, texts):
    """Prints the first differences of our ids and returns their number."""
    bad = 0
    for first in range(0, len(texts), 100_000):
        some = texts[first:first + 100_000]
        for text, want, (ids, decoded, _) in zip(some, expected(some), compare_tokenizers.ours(path, [t.encode() for t in some])):
            if ids != want or decoded != text.encode():
                bad += 1
                if bad <= 3:
                    print(f"  {text!r}: {want} ours {ids}")
    print(f"{name}: {len(texts)} texts, {bad} differ", flush=True)
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizers", type=pathlib.Path, required=True)
    parser.add_argument("--corpora", type=pathlib.Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--lines", type=int, default=0, help="lines of each corpus; 0 for all")
    parser.add_argument("--speed", type=pathlib.Path)
    arguments = parser.parse_args()
    files = [arguments.tokenizers / f"{name}.tiktoken" for name in ("cl100k_base", "o200k_base")]
    if arguments.speed:
        for path in files:
            if path.stem.startswith(arguments.only):
                speed(encoding(path), arguments.speed)
        return
    rng = random.Random(1)
    texts = list(patterns(rng, 200_000)) + MORE + list(every_character(rng))
    texts += [t for t in compare_tokenizers.hard_strings(rng, 20_000) if "<|" not in t]
    corpora = []
    for path in sorted(arguments.corpora.iterdir()):
        lines = path.read_bytes().decode().split("\n")
        corpora += lines[:arguments.lines] if arguments.lines else lines
    texts += [unicodedata.normalize("NFD", line) for line in corpora[::500]]
    # Several lines at once: line ends are a part of words.
    texts += ["\n".join(corpora[i:i + 5]) for i in range(0, len(corpora), 20)]
    bad = 0
    for path in files:
        if not path.stem.startswith(arguments.only):
            continue
        reference = encoding(path)
        bad += compare(path.stem, path, lambda some: reference.encode_ordinary_batch(some, num_threads=2), texts + corpora)
        specials = [a + token + b for token in reference.special_tokens_set for a in ("", "x", "x ", "\n") for b in ("", "y", " y", "\n")]
        bad += compare(f"{path.stem}, special tokens", path, lambda some: reference.encode_batch(some, allowed_special="all"), specials)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([compare_tokenizers.TOKENIZE, "--tokenizer", path, "--add-token", "<|endoftext|>", "--output", folder],
                           check=True, capture_output=True)
            written = pathlib.Path(folder) / "tokenizer.json"
            few = texts + corpora[::20]
            hf = Tokenizer.from_file(str(written))
            bad += compare(f"{path.stem}, our tokenizer.json in Hugging Face's library", path,
                           lambda some: [e.ids for e in hf.encode_batch(some)], few + specials)
            bad += compare(f"{path.stem}, our tokenizer.json read again", written,
                           lambda some: reference.encode_ordinary_batch(some, num_threads=2), few)
            # With words of one's own, whose ids are behind the gaps.
            larger = pathlib.Path(folder) / "larger"
            subprocess.run([compare_tokenizers.TOKENIZE, "--tokenizer", path, "--add-token", "the", " \uc601\ud654", "newword", "--output", larger],
                           check=True, capture_output=True)
            grown = Tokenizer.from_file(str(larger / "tokenizer.json"))
            bad += compare(f"{path.stem}, with added tokens", larger,
                           lambda some: [e.ids for e in grown.encode_batch(some)], few + specials + ["newword", "xnewwords"])
            # The same vocabulary with the other patterns.
            data = json.loads(written.read_text())
            for name in ("llama3", "qwen", "gpt2") if path.stem.startswith("cl100k") else ():
                data["pre_tokenizer"]["pretokenizers"][0] = {
                    "type": "Split", "pattern": {"Regex": expressions()[name]}, "behavior": "Removed" if name == "qwen" else "Isolated",
                    "invert": name == "qwen"}
                data["normalizer"] = {"type": "NFC"} if name == "qwen" else None
                other = pathlib.Path(folder) / f"{name}.json"
                other.write_text(json.dumps(data, ensure_ascii=False))
                theirs = Tokenizer.from_file(str(other))
                # What is not in NFC does not decode to itself.
                usable = [t for t in few if name != "qwen" or unicodedata.is_normalized("NFC", t)]
                bad += compare(f"{name}'s pattern", other, lambda some: [e.ids for e in theirs.encode_batch(some)], usable)
    raise SystemExit(1 if bad else 0)


def speed(reference, path):
    data = path.read_bytes()
    text = data.decode()
    reference.encode_ordinary(text[:10_000])
    times = []
    for _ in range(3):
        start = time.perf_counter()
        reference.encode_ordinary(text)
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times)
    print(f"tiktoken {reference.name} {path.name}: {seconds:.3f} s, {len(data) / seconds * 1e-6:.1f} MB/s")


if __name__ == "__main__":
    main()
