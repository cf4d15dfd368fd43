"""Trains the same vocabularies as Hugging Face's tokenizers and compares the files, byte for byte; then loads ours with
transformers and compares ids and decoded text.

    pip install tokenizers==0.23.3 transformers
    swift build -c release --product train_tokenizer
    python dev/reference/compare_vocabularies.py --corpora FOLDER [--only SCHEME] [--text NAME] [--vocab-size 32000]

For each text in FOLDER: byte level and white space, plain and with --min-frequency, --max-token-length and several
--special, and the prefix scheme in the order of that library's run (--alphabet-order-from). The exit code is 1 if any
comparison differs.
"""

import argparse
import collections
import pathlib
import subprocess
import tempfile

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".build/release/train_tokenizer"

END = "<|endoftext|>"
SEVERAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", END]
CASES = {
    "byte-level": dict(scheme="byte-level"),
    "byte-level-limits": dict(scheme="byte-level", special=["<pad>", END, "<|user|>"], frequency=5, longest=12),
    "byte-level-nfc": dict(scheme="byte-level", nfc=True, replace=("the ", "THE_")),
    "whitespace": dict(scheme="whitespace"),
    "whitespace-limits": dict(scheme="whitespace", special=SEVERAL, frequency=3, longest=8, alphabet=1000),
    "prefix": dict(scheme="prefix"),
    "prefix-limits": dict(scheme="prefix", special=SEVERAL, frequency=2, longest=6, alphabet=1500),
}


def untied(text, limit):
    """The largest number up to `limit` for which the last character kept is more frequent than the first one dropped. (With
    a tie, the choice of Hugging Face's library depends on a hash table with a random seed.)"""
    counts = collections.Counter(c for c in text.read_text() if not c.isspace())
    counts = sorted(counts.values(), reverse=True)
    while limit < len(counts) and counts[limit - 1] == counts[limit]:
        limit -= 1
    return limit


def theirs(text, path, size, scheme, special=None, frequency=0, longest=None, alphabet=None, nfc=False, replace=None):
    special = special or ([END] if scheme == "byte-level" else ["[UNK]", END])
    unknown = None if scheme == "byte-level" else "[UNK]"
    tokenizer = Tokenizer(models.BPE(unk_token=unknown) if unknown else models.BPE())
    rules = ([normalizers.NFC()] if nfc else []) + ([normalizers.Replace(*replace)] if replace else [])
    if rules:
        tokenizer.normalizer = rules[0] if len(rules) == 1 else normalizers.Sequence(rules)
    options = dict(vocab_size=size, special_tokens=special, min_frequency=frequency, show_progress=False)
    if scheme == "byte-level":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        options["initial_alphabet"] = sorted(pre_tokenizers.ByteLevel.alphabet())
    elif scheme == "whitespace":
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
        tokenizer.decoder = decoders.WordPiece()
        options["continuing_subword_prefix"] = "##"
    if longest:
        options["max_token_length"] = longest
    if alphabet:
        options["limit_alphabet"] = alphabet
    tokenizer.train([str(text)], trainers.BpeTrainer(**options))
    tokenizer.save(str(path))
    return tokenizer


def ours(text, output, size, order, scheme, special=None, frequency=0, longest=None, alphabet=None, nfc=False, replace=None):
    command = [PROGRAM, "--input", text, "--output", output, "--scheme", scheme, "--vocab-size", str(size)]
    if special:
        command += ["--special", *special]
    command += ["--min-frequency", str(frequency)]
    if longest:
        command += ["--max-token-length", str(longest)]
    if alphabet:
        command += ["--limit-alphabet", str(alphabet)]
    if nfc:
        command += ["--nfc"]
    if replace:
        command += ["--replace", "=".join(replace)]
    if scheme == "prefix":
        command += ["--alphabet-order-from", order]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr}")


def loaded_alike(folder, reference, lines):
    """Whether transformers, with our files, gives the same ids and texts as the library with its own file."""
    from transformers import PreTrainedTokenizerFast
    fast = PreTrainedTokenizerFast.from_pretrained(str(folder))
    expected = [e.ids for e in reference.encode_batch(lines)]
    got = [fast(line)["input_ids"] for line in lines]
    texts = [reference.decode(ids, skip_special_tokens=False) for ids in expected]
    return got == expected and [fast.decode(ids) for ids in got] == texts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpora", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--text", default="", help="only texts whose name starts with this")
    parser.add_argument("--vocab-size", type=int, default=32000)
    arguments = parser.parse_args()
    bad = 0
    for text in sorted(arguments.corpora.glob("*.txt")):
        if not text.name.startswith(arguments.text):
            continue
        lines = text.read_bytes().decode().split("\n")[::200][:1500]
        lines += ["한국어 단어는", "newword [UNK] <|endoftext|>", "a , b . isn 't", "  두  칸 ", "\U0001f600 龘"]
        for name, case in CASES.items():
            if not f"{name} {text.stem}".startswith(arguments.only):
                continue
            if "alphabet" in case:
                case = case | {"alphabet": untied(text, case["alphabet"])}
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "theirs.json"
                reference = theirs(text, path, arguments.vocab_size, **case)
                ours(text, folder, arguments.vocab_size, path, **case)
                same = path.read_bytes() == (pathlib.Path(folder) / "tokenizer.json").read_bytes()
                alike = loaded_alike(folder, reference, lines)
                bad += not (same and alike)
                print(f"{text.stem} {name}: {reference.get_vocab_size()} tokens, the file is "
                      f"{'the same' if same else 'DIFFERENT'}, transformers' ids and texts of {len(lines)} lines are "
                      f"{'the same' if alike else 'DIFFERENT'}", flush=True)
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
