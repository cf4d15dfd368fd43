"""Compares ids and decodings with Hugging Face's tokenizers and tiktoken, on whole corpora and on hard strings.

    swift build -c release --product fuzz && swift build -c release --product tokenize
    python dev/reference/compare_tokenizers.py --tokenizers FOLDER --corpora FOLDER [--only WORD]

FOLDER contains the public vocabularies: gpt2/encoder.json with vocab.bpe, bert/*vocab.txt, korean/*vocab.txt. In
addition, tokenizers with each component that a tokenizer.json can name are trained here, on some lines of the corpora,
and Phi-1.5's (CodeGenTokenizer) is made of GPT-2's, in every form in which it is read, and written again.
Texts: every line of the corpora, random characters and bytes, emoji, Hangul in NFD, control characters, added tokens
next to Hangul particles, indentation, the source files of this project.
"""

import argparse
import base64
import json
import pathlib
import random
import struct
import subprocess
import tempfile
import unicodedata

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)
from tokenizers.implementations import BertWordPieceTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".build/release/fuzz"
TOKENIZE = ROOT / ".build/release/tokenize"
# What Phi-1.5 has besides GPT-2's tokens, in the order of the ids.
RUNS = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]


def ours(path, texts):
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    out = subprocess.run([PROGRAM, "ids", str(path)], input=data, capture_output=True)
    if out.returncode:
        raise SystemExit(f"{path}: exit {out.returncode}: {out.stderr.decode()}")
    out, position, results = out.stdout, 0, []
    for _ in texts:
        row = []
        for size in (4, 1, 1):
            count, = struct.unpack_from("<I", out, position)
            row.append(out[position + 4:position + 4 + size * count])
            position += 4 + size * count
        results.append((list(struct.unpack(f"<{len(row[0]) // 4}i", row[0])), row[1], row[2]))
    return results


def our_texts(path, lists):
    """For each list of ids: its text, and that of its first half with what the second half adds."""
    data = b"".join(struct.pack(f"<I{len(ids)}i", len(ids), *ids) for ids in lists)
    out = subprocess.run([PROGRAM, "decode", str(path)], input=data, capture_output=True)
    if out.returncode:
        raise SystemExit(f"{path}: exit {out.returncode}: {out.stderr.decode()}")
    out, position, results = out.stdout, 0, []
    for _ in lists:
        row = []
        for _ in range(3):
            count, = struct.unpack_from("<I", out, position)
            row.append(out[position + 4:position + 4 + count])
            position += 4 + count
        results.append((row[0], row[1] + row[2], row[1]))
    return results


def random_ids(rng, tokenizer, count):
    """Lists of ids such as no text gives: half of the tokens are bytes, where there are such."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    some = sorted(i for token, i in vocabulary.items() if token.startswith("<0x")) or sorted(vocabulary.values())
    # The bytes of characters, whole and cut.
    spelt = [[vocabulary.get(f"<0x{b:02X}>", -1) for b in character.encode()] for character in "가é😀\n"]
    spelt = [ids for ids in spelt if -1 not in ids]
    for _ in range(count):
        ids = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if spelt and kind < 0.4:
                ids += rng.choice(spelt)[:rng.choice([1, 2, 3, 4, 4, 4])]
            else:
                ids.append(rng.choice(some) if kind < 0.6 else rng.randrange(tokenizer.get_vocab_size()))
        yield ids


def other_decoders():
    """Decoders, and orders of their steps, that no tokenizer of `variants` has."""
    fallback, fuse, replace, sequence = decoders.ByteFallback(), decoders.Fuse(), decoders.Replace, decoders.Sequence
    yield fallback
    yield sequence([replace("▁", " "), fallback, fuse])
    yield sequence([fallback, fuse, replace("a▁t", "#"), replace("▁", "_")])
    yield sequence([fuse, decoders.Strip("▁", 3, 0)])
    yield sequence([replace("▁", " "), decoders.Strip(" ", 1, 0)])
    yield sequence([fuse, decoders.Metaspace()])
    yield sequence([decoders.Metaspace(), fallback])
    yield sequence([fuse, decoders.WordPiece()])
    yield sequence([decoders.WordPiece(prefix="▁"), fallback])
    yield decoders.BPEDecoder(suffix="e")
    yield sequence([fallback, decoders.BPEDecoder(suffix="e"), fuse, replace("  ", " ")])
    yield sequence([fuse, decoders.BPEDecoder(suffix="e")])
    yield sequence([decoders.ByteLevel(), replace("te", "T")])
    yield sequence([fallback, decoders.ByteLevel()])
    yield sequence([sequence([replace("▁", " "), fallback]), sequence([fuse, replace("e t", "E"), replace("E", " ee ")])])
    yield sequence([fuse, fallback])


def compare_texts(name, path, reference, count):
    """Compares what random ids decode to with `reference`; returns the number of differences."""
    lists = list(random_ids(random.Random(3), reference, count))
    expected = reference.decode_batch(lists, skip_special_tokens=False)
    bad = 0
    for ids, want, (whole, joined, half) in zip(lists, expected, our_texts(path, lists)):
        # What bytes of the second half make of the first one's text cannot be unsaid.
        wrong = whole.decode(errors="replace") != want or whole.startswith(half) and joined != whole
        bad += wrong
        if wrong and bad <= 3:
            print(f"  {ids}: {want!r} ours {whole!r}, in two parts {joined!r}")
    print(f"{name}: {len(lists)} lists of ids, {bad} differ", flush=True)
    return bad


def hard_strings(rng, count):
    parts = ["a", "the", "Z", "안녕", "꽃", "\u1112\u1161", "é", "e\u0301", "日", "1", "42", "½", "٣", " ", " ", "  ", "\n", "\n\n",
             "\r\n", "\t", "\u00a0", "\u3000", "\u0085", "'", "'s", "'ll", "'re", "'L", "!", "...", "😀", "\0", "\u007f", "<|endoftext|>",
             "[MASK]", "[CLS]", "newword", "newword는", "[newtoken]", "[newtoken]을", "NewWord", "을", "는", "##", "▁", "İ", "ǅ", "Σ",
             "ﬁ", "Å", "\u212b", "q\u0307\u0323", "가\u11a8", "\u1100\u1161\u11a8", "_", "-", "$", "+", "。", "«", "\ufeff", "\u200b",
             "\ufffd", "👨‍👩‍👧", "🇰🇷", "don't", "do not", " n't", "it 's", "<0x41>", "x" * 120, "new word", " lw ", "lw", "  rw  ", "rw", "sw", "swx"]
    for _ in range(count):
        yield "".join(rng.choice(parts) for _ in range(rng.randint(1, 12)))
    for _ in range(count):
        yield "".join(chr(c) for c in (rng.choice([rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x110000)])
                                       for _ in range(rng.randint(1, 10))) if not 0xD800 <= c <= 0xDFFF)


def indented_strings(rng, count):
    """Strings of runs of white space, some longer than any token, between other characters."""
    parts = ["a", "the", "return", "안녕", "하세요", "꽃", "é", "日", "1", "42", "'s", ":", "(", "...", "😀", "<|endoftext|>",
             "<|endoftext", "\n", "\r\n", "\u00a0", "\u3000", "\u0085"]
    for _ in range(count):
        yield "".join(rng.choice([" ", " ", "\t", "\n"]) * rng.choice([1, 1, 2, 3, 4, 7, 8, 9, 10, 16, 30, 31, 32, 33, 63, 70])
                      if rng.random() < 0.5 else rng.choice(parts) for _ in range(rng.randint(1, 12)))


def add_runs(tokenizer):
    """Makes a CodeGenTokenizer of a byte-level tokenizer with <|endoftext|>."""
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False, special=True)])
    tokenizer.add_tokens([AddedToken(run, normalized=True, special=False) for run in RUNS])


def codegen_directories(tokenizer, folder):
    """Writes a CodeGenTokenizer in the three forms that model directories have; returns their directories."""
    data = json.loads(tokenizer.to_str())
    added = {t["content"]: t for t in data["added_tokens"]}
    named = {name: "<|endoftext|>" for name in ("bos_token", "eos_token", "unk_token")}
    config = named | {"add_prefix_space": False, "model_max_length": 2048, "tokenizer_class": "CodeGenTokenizer"}
    decoder = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added.values()}
    vocabulary = {"vocab.json": data["model"]["vocab"], "special_tokens_map.json": named}
    directories = {
        "tokenizer.json": {"tokenizer.json": data, "tokenizer_config.json": config | {"added_tokens_decoder": decoder}},
        "added_tokens_decoder": vocabulary | {"tokenizer_config.json": config | {"added_tokens_decoder": decoder}},
        "added_tokens.json": vocabulary | {"tokenizer_config.json": config,
                                           "added_tokens.json": {c: t["id"] for c, t in reversed(added.items())}},
    }
    for name, files in directories.items():
        (folder / name).mkdir()
        for file, contents in files.items():
            (folder / name / file).write_text(json.dumps(contents, ensure_ascii=False, indent=2))
        if "vocab.json" in files:
            merges = data["model"]["merges"]
            (folder / name / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))
    return [folder / name for name in directories]


def codegen(gpt2, hard, corpora, rng):
    """Compares Phi-1.5's tokenizer; returns the number of differences."""
    from transformers import AutoTokenizer

    reference = Tokenizer(models.BPE.from_file(str(gpt2 / "encoder.json"), str(gpt2 / "vocab.bpe")))
    add_runs(reference)
    assert [reference.token_to_id(t) for t in (" " * 31, "  ", "\t" * 9, "\t\t")] == [50257, 50286, 50287, 50294]
    sources = [p.read_bytes().decode() for e in ("swift", "py") for p in ROOT.rglob(f"*.{e}") if ".build" not in p.parts]
    texts = sources + list(indented_strings(rng, 20000)) + hard
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        directories = codegen_directories(reference, folder)
        for directory in directories:
            bad += compare(f"codegen {directory.name}", directory, reference, texts)
            # As transformers reads the directory, and as it reads what we write.
            written = folder / f"written from {directory.name}"
            subprocess.run([TOKENIZE, "--tokenizer", directory, "--add-token", "  ", "--output", written], check=True)
            (written / "config.json").write_text('{"model_type": "phi"}')
            for path in (directory, written):
                auto = AutoTokenizer.from_pretrained(path)
                assert len(auto) == 50295 and auto.model_input_names == ["input_ids", "attention_mask"], path
                wrong = sum(a != e.ids for a, e in zip(auto(texts)["input_ids"], reference.encode_batch(texts)))
                print(f"codegen {path.name}, AutoTokenizer: {len(texts)} texts, {wrong} differ", flush=True)
                bad += wrong
            bad += compare(f"codegen {written.name}", written, reference, texts)
        bad += compare("codegen corpora", directories[0], reference, corpora)
        bad += compare_texts("codegen", directories[0], reference, 20000)
        # A corpus, which threads encode in sections. Special tokens in it are ordinary text.
        text = "".join(sources + list(indented_strings(rng, 200000))).replace("<|endoftext", "").replace("\r", "")
        (folder / "text").write_text(text)
        subprocess.run([TOKENIZE, "-k", directories[0], "-i", folder / "text", "-d", "file", "--val-fraction", "0",
                        "-o", folder / "out"], check=True, capture_output=True)
        ids, = [p.read_bytes()[1024:] for p in (folder / "out").glob("train_*.bin")]
        same = list(struct.unpack(f"<{len(ids) // 2}H", ids)) == [50256] + reference.encode(text).ids
        print(f"codegen, a corpus of {len(text.encode())} bytes: {'the same ids' if same else 'other ids'}", flush=True)
        return bad + (not same)


def compare(name, path, reference, texts):
    """Compares the tokenizer at `path` with `reference`, a Tokenizer of the library; returns the number of differences."""
    bad = 0
    for start in range(0, len(texts), 50000):
        batch = texts[start:start + 50000]
        expected = [e.ids for e in reference.encode_batch(batch)]
        wanted = [reference.decode_batch(expected, skip_special_tokens=skip) for skip in (False, True)]
        for text, ids, *want, (our_ids, *have) in zip(batch, expected, *wanted, ours(path, [t.encode() for t in batch])):
            wrong = None
            if ids != our_ids:
                wrong = f"ids {ids} ours {our_ids}"
            elif ids and want != [h.decode(errors="replace") for h in have]:
                wrong = f"decoded {want!r} ours {have!r}"
            if wrong:
                bad += 1
                if bad <= 3:
                    print(f"  {text[:80]!r}: {wrong[:400]}")
    print(f"{name}: {len(texts)} texts, {bad} differ", flush=True)
    return bad


def variants(lines, folder, size=3000):
    """Tokenizers with each component, trained on `lines`."""
    bert_words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])

    def bpe(name, pre, special=("[UNK]",), normalizer=None, decoder=None, unk="[UNK]", post=None, added=(), edit=None, size=size, **options):
        trainer_options = {k: options.pop(k) for k in ("initial_alphabet", "limit_alphabet") if k in options}
        trainer_options |= {k: v for k, v in options.items() if k in ("continuing_subword_prefix", "end_of_word_suffix")}
        tokenizer = Tokenizer(models.BPE(unk_token=unk, **options))
        if pre:
            tokenizer.pre_tokenizer = pre
        if normalizer:
            tokenizer.normalizer = normalizer
        if decoder:
            tokenizer.decoder = decoder
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), show_progress=False, max_token_length=16,
                                      **trainer_options)
        tokenizer.train_from_iterator(lines, trainer)
        if post:
            tokenizer.post_processor = post(tokenizer)
        for token in added:
            tokenizer.add_tokens([token])
        path = folder / f"{name}.json"
        tokenizer.save(str(path))
        if edit:
            data = json.loads(path.read_text())
            edit(data)
            path.write_text(json.dumps(data, ensure_ascii=False))
            tokenizer = Tokenizer.from_file(str(path))
        return name, path, tokenizer

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    byte_level = dict(special=["<|endoftext|>"], decoder=decoders.ByteLevel(), unk=None, initial_alphabet=sorted(alphabet))
    added = [AddedToken("newword"), AddedToken("[newtoken]", normalized=False), AddedToken("lw", lstrip=True, normalized=False),
             AddedToken("rw", rstrip=True, normalized=False), AddedToken("sw", single_word=True), AddedToken("꽃잎", single_word=True),
             AddedToken("Z", special=True, normalized=True)]

    def legacy(data):
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]

    def fallback(data):
        vocab = data["model"]["vocab"]
        for b in range(256):
            vocab.setdefault(f"<0x{b:02X}>", len(vocab))
        data["model"]["byte_fallback"] = True

    def half_fallback(data):
        vocab = data["model"]["vocab"]
        for b in range(0x80, 0xEC):
            vocab.setdefault(f"<0x{b:02X}>", len(vocab))
        data["model"]["byte_fallback"] = True

    def bert_post(t):
        return processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                             special_tokens=[("[CLS]", t.token_to_id("[CLS]")), ("[SEP]", t.token_to_id("[SEP]"))])

    llama = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    llama_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    specials = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    yield bpe("bytes", pre_tokenizers.ByteLevel(add_prefix_space=False), **byte_level)
    yield bpe("bytes-nfc-added", pre_tokenizers.ByteLevel(add_prefix_space=False), normalizer=normalizers.NFC(), added=added, **byte_level)
    yield bpe("bytes-space", pre_tokenizers.ByteLevel(add_prefix_space=True), added=added, post=lambda t: processors.ByteLevel(), **byte_level)
    yield bpe("bytes-digits-legacy", pre_tokenizers.Sequence([pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]), edit=legacy, **byte_level)
    yield bpe("bytes-plain", pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "merged_with_next"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), **byte_level)
    yield bpe("bytes-few", pre_tokenizers.ByteLevel(add_prefix_space=False), special=["[UNK]"], decoder=decoders.ByteLevel())
    yield bpe("prefix", bert_words, decoder=decoders.WordPiece(), continuing_subword_prefix="##")
    yield bpe("prefix-added-ignore", bert_words, special=specials, decoder=decoders.WordPiece(cleanup=False), continuing_subword_prefix="##", added=added,
              post=bert_post, normalizer=normalizers.Sequence([normalizers.Replace("new word", "newword"), normalizers.NFKC(), normalizers.Lowercase()]),
              edit=lambda d: d["model"].update(ignore_merges=True))
    yield bpe("whitespace", pre_tokenizers.Whitespace())
    yield bpe("whitespace-fuse", pre_tokenizers.Whitespace(), fuse_unk=True, normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Strip()]), limit_alphabet=min(200, size // 2))
    yield bpe("whitespace-drop", pre_tokenizers.Whitespace(), unk=None, special=(), decoder=decoders.Fuse(), limit_alphabet=100)
    yield bpe("suffix", bert_words, end_of_word_suffix="</w>", decoder=decoders.BPEDecoder(), normalizer=normalizers.NFKD())
    yield bpe("llama", None, special=["<unk>", "<s>", "</s>"], unk="<unk>", normalizer=llama, decoder=llama_decoder, fuse_unk=True, edit=fallback, limit_alphabet=min(300, size // 2),
              post=lambda t: processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", t.token_to_id("<s>"))]))
    yield bpe("half-fallback", bert_words, fuse_unk=False, edit=half_fallback, limit_alphabet=100)
    for scheme in ("always", "first", "never"):
        yield bpe(f"metaspace-{scheme}", pre_tokenizers.Metaspace(prepend_scheme=scheme), special=["<unk>"], unk="<unk>",
                  decoder=decoders.Metaspace(prepend_scheme=scheme), added=added)
    yield bpe("metaspace-whole", pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(split=False)]), special=["<unk>"], unk="<unk>", decoder=decoders.Metaspace())
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        yield bpe(f"split-{behavior}", pre_tokenizers.Sequence([pre_tokenizers.Split(".", behavior), pre_tokenizers.Punctuation(behavior), pre_tokenizers.Digits(behavior == "isolated")]), size=min(size, 800))
        yield bpe(f"split-inverted-{behavior}", pre_tokenizers.Split("the", behavior, invert=True), size=min(size, 800))
    yield bpe("bert-processing", pre_tokenizers.BertPreTokenizer(), special=specials, normalizer=normalizers.BertNormalizer(lowercase=False, strip_accents=True),
              post=lambda t: processors.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]"))), added=added)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizers", type=pathlib.Path, required=True)
    parser.add_argument("--corpora", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--lines", type=int, default=0, help="lines of each corpus; 0 for all")
    parser.add_argument("--every", type=int, default=40, help="with the tokenizers made here, use one line in this many")
    arguments = parser.parse_args()
    rng = random.Random(1)
    hard = list(hard_strings(rng, 20000))
    corpora = []
    for path in sorted(arguments.corpora.glob("*.txt")):
        lines = path.read_bytes().decode().split("\n")
        corpora += lines[:arguments.lines] if arguments.lines else lines
    hard += [unicodedata.normalize("NFD", line) for line in corpora[::500]]
    few = corpora[::arguments.every]
    bad = 0

    def wanted(name):
        return name.startswith(arguments.only)

    gpt2 = arguments.tokenizers / "gpt2"
    if wanted("gpt2"):
        reference = Tokenizer(models.BPE.from_file(str(gpt2 / "encoder.json"), str(gpt2 / "vocab.bpe")))
        reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        reference.decoder = decoders.ByteLevel()
        reference.add_special_tokens([AddedToken("<|endoftext|>", normalized=True, special=True)])
        bad += compare("gpt2", gpt2, reference, hard + corpora)
    if wanted("codegen"):
        bad += codegen(gpt2, hard, corpora, rng)
    if wanted("tiktoken"):
        bad += tiktoken(gpt2, hard, corpora)
    for path in sorted(arguments.tokenizers.glob("*/*vocab.txt")):
        if wanted(path.stem):
            words = path.read_text().split("\n")
            lower = not any(w != w.lower() and not w.startswith("[") for w in words)
            reference = BertWordPieceTokenizer(str(path), lowercase=lower)
            bad += compare(path.stem, path, reference, hard + corpora)
    with tempfile.TemporaryDirectory() as folder:
        for name, path, reference in variants(corpora[::100], pathlib.Path(folder)):
            if wanted(name):
                bad += compare(name, path, reference, hard + few) + compare_texts(name, path, reference, 20000)
            if name == "llama" and wanted("decoder"):
                for i, decoder in enumerate(other_decoders()):
                    reference.decoder = decoder
                    reference.save(str(path))
                    bad += compare_texts(f"decoder {i}", path, reference, 20000)
    raise SystemExit(1 if bad else 0)


def tiktoken(gpt2, hard, corpora):
    import tiktoken as library

    characters = {c: b for b, c in byte_characters().items()}
    ids = json.loads((gpt2 / "encoder.json").read_text())
    ranks = {bytes(characters[c] for c in token): i for token, i in ids.items() if i < 50256}
    reference = library.Encoding("gpt2", pat_str=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
                                 mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
    texts = hard + corpora
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "r50k_base.tiktoken"
        path.write_bytes(b"".join(base64.b64encode(t) + b" %d\n" % r for t, r in ranks.items()))
        for name, where in (("tiktoken file", path), ("encoder.json beside tiktoken", gpt2)):
            wrong = 0
            for text, (got, decoded, _) in zip(texts, ours(where, [t.encode() for t in texts])):
                want = reference.encode(text, allowed_special="all")
                if want != got or reference.decode_bytes(got) != decoded:
                    wrong += 1
                    if wrong <= 3:
                        print(f"  {text[:80]!r}: {want} ours {got}")
            print(f"{name}: {len(texts)} texts, {wrong} differ", flush=True)
            bad += wrong
        # Input that is not text: any bytes must come back.
        rng = random.Random(2)
        random_bytes = [rng.randbytes(rng.randint(0, 40)) for _ in range(20000)]
        wrong = sum(b != d for b, (_, d, _) in zip(random_bytes, ours(path, random_bytes)))
        print(f"random bytes: {len(random_bytes)} texts, {wrong} do not come back", flush=True)
    return bad + wrong


def byte_characters():
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in printable}
    others = [b for b in range(256) if b not in table]
    return table | {b: chr(256 + i) for i, b in enumerate(others)}


if __name__ == "__main__":
    main()
