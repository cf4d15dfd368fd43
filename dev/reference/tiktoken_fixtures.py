"""Writes Tests/LLMTests/Fixtures/tokenizer_patterns.json: a small rank file, and what each pattern makes of hard strings.

    pip install tokenizers==0.23.3 tiktoken==0.14.0 regex
    python dev/reference/tiktoken_fixtures.py

For cl100k and o200k the words are those of the regex module with tiktoken's own expression, and the ids tiktoken's; for
the others both are Hugging Face's. Before the script ends, Hugging Face's words with the expression that we write into a
tokenizer.json must be the same ones.
"""

import base64
import json
import pathlib
import random
import re

import regex
import tiktoken
from tiktoken_ext import openai_public
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

import compare_tokenizers
from tokenizer_fixtures import PARAGRAPHS, STRINGS

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "Tests/LLMTests/Fixtures"
MORE = [
    "HelloWorld helloWORLD XMLHttpRequest iPhone", "한글ABC한글abc ABC한글", "ǅungla ʰa aʰ AʰB", "e\u0301E\u0301x \u0301a \u0301A \u0301", "!\u0301abc !!\u0301A",
    "don't DON'T Don'T we'LLama 'Tis 's 'S '\u017f \u017f'\u017f", "'\u017fx a'\u017f", "12345678 1234 a12b 1,234,567", "½⅓¼⅛Ⅷ٣٤٥٦", "a/b //x !\n/\r\n/!/ ?/\n/",
    "a\n\n b\n \n", "x \n\n  ", "x  \r\n\t", " \n a", "\n\n\na", "a!\r\n\r\nb", "! \n!", "\u00a0a\u00a0\u00a0b\u3000c", "\tx\t\ty", "(hello) \"World\" “q” 'a'",
    "…\n…", "日本語テキスト。ABC語", "İstanbul ﬁne ßẞ", "𝐀𝐛𝒞 𐐀𐐨", "\U00010d24\U00010d25 \u0eba\u0ecd", "a\u200db\u00adc", " a", "  a", "   a", "   ", "a   ",
]


def expressions():
    """The expressions of WordPattern.swift, for Hugging Face's library."""
    text = (ROOT / "Sources/LLM/Tokenizer/WordPattern.swift").read_text()
    body = text[text.index("package var regex"):text.index("package init?(regex")]
    result = {}
    for case in re.split(r"case \.", body)[1:]:
        name = case[:case.index(":")]
        result[name] = "".join(re.findall(r'#"(.*?)"#', case))
    return result


def encodings():
    """tiktoken's expressions, taken from its code without its vocabularies."""
    openai_public.load_tiktoken_bpe = lambda *arguments, **others: {}
    return {"cl100k": openai_public.cl100k_base()["pat_str"], "o200k": openai_public.o200k_base()["pat_str"]}


def main():
    split = lambda expression: pre_tokenizers.Split(Regex(expression), "isolated")
    known = expressions()
    small = Tokenizer(models.BPE(ignore_merges=True))
    small.pre_tokenizer = pre_tokenizers.Sequence([split(known["cl100k"]), pre_tokenizers.ByteLevel(False, use_regex=False)])
    small.decoder = decoders.ByteLevel()
    small.train_from_iterator(PARAGRAPHS + MORE, trainers.BpeTrainer(
        vocab_size=420, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    characters = {c: b for b, c in compare_tokenizers.byte_characters().items()}
    vocabulary = small.get_vocab()
    ranks = {bytes(characters[c] for c in token): rank for token, rank in sorted(vocabulary.items(), key=lambda x: x[1])}
    lines = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for token, rank in ranks.items())

    rng = random.Random(4)
    texts = [s for s in STRINGS if s and "<|" not in s] + MORE
    texts += ["".join(rng.choice(MORE + STRINGS[:40])[:rng.randint(1, 6)] for _ in range(rng.randint(1, 5))) for _ in range(60)]
    texts = [t for t in dict.fromkeys(texts) if t and "<|" not in t]
    theirs = encodings()
    result = {"ranks": lines, "patterns": {}}
    for name, expression in known.items():
        pre = split(expression)
        reference = tiktoken.Encoding(name, pat_str=theirs.get(name) or expression, mergeable_ranks=ranks, special_tokens={})
        rows = []
        for text in texts:
            words = [text[a:b] for _, (a, b) in pre.pre_tokenize_str(text)]
            if name in theirs:
                assert regex.findall(theirs[name], text) == words, (name, text, words)
            rows.append([text, words, reference.encode_ordinary(text)])
        result["patterns"][name] = rows
        print(f"{name}: {len(rows)} strings")
    (FIXTURES / "tokenizer_patterns.json").write_text(json.dumps(result, ensure_ascii=False, separators=(",", ":")))


if __name__ == "__main__":
    main()
