"""Hugging Face's tokenizers and tiktoken on the texts of `bench tokenizer TEXT [VOCABULARY]`.

    pip install tokenizers==0.23.3 tiktoken==0.14.0
    python dev/bench/tokenizer_peers.py train TEXT byte-level|prefix
    python dev/bench/tokenizer_peers.py encode TEXT tokenizer.json
    python dev/bench/tokenizer_peers.py tiktoken TEXT gpt2/encoder.json
"""

import json
import os
import resource
import sys
import time

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def main(what, path, how):
    start = time.time()
    size = os.path.getsize(path)
    if what == "train":
        special = ["<|endoftext|>"]
        if how == "byte-level":
            tokenizer = Tokenizer(models.BPE())
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            trainer = trainers.BpeTrainer(vocab_size=32000, special_tokens=special, show_progress=False,
                                          initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
        else:
            tokenizer = Tokenizer(models.BPE())
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
            tokenizer.decoder = decoders.WordPiece()
            trainer = trainers.BpeTrainer(vocab_size=32000, special_tokens=special, show_progress=False,
                                          continuing_subword_prefix="##")
        tokenizer.train([path], trainer)
    elif what == "encode":
        tokenizer = Tokenizer.from_file(how)
        lines = open(path, "rb").read().decode().splitlines(keepends=True)
        start = time.time()
        for first in range(0, len(lines), 50000):
            tokenizer.encode_batch(lines[first:first + 50000])
    else:
        import tiktoken
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        characters = {chr(b): b for b in printable}
        for i, b in enumerate(b for b in range(256) if b not in printable):
            characters[chr(256 + i)] = b
        ids = json.load(open(how))
        ranks = {bytes(characters[c] for c in token): i for token, i in ids.items() if i < 50256}
        pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
        encoding = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256})
        text = open(path, "rb").read().decode()
        encoding.encode_ordinary(text[:10000])
        start = time.time()
        encoding.encode_ordinary(text)
    seconds = time.time() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what} {os.path.basename(path)} {os.path.basename(how)}: {seconds:.2f} s, {size / seconds * 1e-6:.1f} MB/s, {memory:.0f} MiB at most")


main(*sys.argv[1:])
