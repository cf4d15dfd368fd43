"""Writes the fixtures of the tokenizer's tests, with Hugging Face's tokenizers as the reference.

    pip install tokenizers==0.23.3
    python dev/reference/tokenizer_fixtures.py

Tests/LLMTests/Fixtures/tokenizer_corpus.txt   a few kilobytes of Korean and English, written for this purpose
Tests/LLMTests/Fixtures/tokenizer_600.json     the result of BpeTrainer on it: the file to match byte for byte
Tests/LLMTests/Fixtures/tokenizer_cases.json   hard strings, with their words and ids
Tests/LLMTests/Fixtures/tokenizer_parts.json   tokenizers with each component, and what they make of hard strings
Tests/LLMTests/Fixtures/tokenizer_decodings.json  what random ids decode to
Tests/LLMTests/Fixtures/tokenizer_codegen.json  a small CodeGenTokenizer, as Phi's
Tests/LLMTests/Fixtures/tokenizer_codegen_cases.json  what it makes of indentation
"""

import json
import random
import tempfile
import pathlib
import unicodedata

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "Tests/LLMTests/Fixtures"

PARAGRAPHS = [
    "The train leaves the city before sunrise. Nobody speaks; the windows are grey, then blue, then gold.\n",
    "기차는 해가 뜨기 전에 도시를 떠난다. 아무도 말하지 않는다. 창문은 잿빛이었다가 푸른빛이었다가 금빛이 된다.\n",
    "I'm sure they'll say it wasn't theirs, but we've seen it, and you'd know it's ours: they're wrong.\r\n",
    "역 앞의 작은 가게에서는 아침마다 빵을 굽는다. 빵 냄새가 골목 끝까지 퍼지면 사람들이 하나둘 문을 연다.\n\n\n",
    "\tIn 2024 there were 1,024 of them; in 2025 only 768, or 3/4.  Two  spaces,   three   spaces.   \n",
    "2024년에는 1,024개였고 2025년에는 768개뿐이었다. 정말?! 네... 그렇습니다 ㅋㅋㅋㅋㅋㅋㅋㅋㅋ ㅠㅠㅠㅠ\n",
    "a aa aaa aaaa aaaaa aaaaaa aaaaaaa ~~~~~~~~ !!!!!!!!!!! ------------- ....... =====\n",
    "for (int i = 0; i < n; i++) { sum += x[i] * y[i]; }  // the loop everyone writes\n",
    "꽃이 피고 꽃이 진다. 꽃잎이 떨어지고 꽃잎이 흩어진다. 바람이 불면 꽃잎은 바람이 된다. 😀😀👍🏽\n",
    "the quick brown fox and the quicker brown dog and the quickest brown cat went to the thing that the others thought of",
]

STRINGS = [
    "", " ", "  ", "\n", "\r\n", " \n", "\n ", "a", " a", "  a", "a ", "a  ", "\ta", "a\n\nb", "a \n b", "a\r\n\r\nb\r\n",
    "Hello, world!", "I'm you're we've he'll she'd it's don't", "I'M YOU'RE", "'s't're've'm'll'd", "''s", "!'s", "'", "'r", "'l",
    "'re'", " 's", "a's1'tb", "x'llama", "l'homme", "'sx", "안녕하세요 세계", unicodedata.normalize("NFD", "안녕하세요 세계"),
    "안녕1하2세3", "1234567890", "a1b2c3", " 12 34", "½ ² Ⅷ ٣ ३", "e\u0301 é", "日本語のテキスト。中文文本，没有空格",
    "😀👍🏽👨‍👩‍👧‍👦🇰🇷", " 😀 a😀b", "\u0000\u0001\u001f\u007f\u0080\u0085\u00a0x", "a\u3000b\u2003\u2003c\u2028d\u200be",
    "\u1680x\u180ey\ufeffz", "foo\u00a0\u00a0bar", "\x0b\x0c\x1c\x1dA", "for(int i=0;i<n;i++){a[i]+=b[i];}", "...---...!!!???",
    "    indented\n\t\ttwice\n", "trailing   ", "\n\n\n", "a\n", "ǅ ʰ ª º", "ⓐ①㊀", "\ue000\U0010ffff\U000e0001", "𝒳𝟘𐍈",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "꽃잎이 바람이 된다 ㅋㅋㅋㅋㅋ", "the<|endoftext|>the <|endoftext|> the",
    "<|endoftext|><|endoftext|>", "<|endoftext|", "the thing that the others thought of",
]


def parts():
    """Each component that a tokenizer.json can name, with small vocabularies: ids and decodings of hard strings."""
    import compare_tokenizers

    rng = random.Random(5)
    texts = [s for s in STRINGS if s][::3] + [t for t in compare_tokenizers.hard_strings(rng, 14) if len(t) < 60]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path, tokenizer in compare_tokenizers.variants(PARAGRAPHS, pathlib.Path(folder), size=230):
            cases = []
            for text in texts:
                ids = tokenizer.encode(text).ids
                cases.append([text, ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)])
            rows.append({"name": name, "tokenizer": json.loads(path.read_text()), "cases": cases})
    with open(FIXTURES / "tokenizer_parts.json", "w") as file:
        json.dump(rows, file, ensure_ascii=False, separators=(",", ":"))


def decodings():
    """What random ids decode to, by each tokenizer of tokenizer_parts.json, and by other decoders with llama's tokens."""
    import compare_tokenizers

    rows = []

    def add(name, tokenizer, count):
        lists = list(compare_tokenizers.random_ids(random.Random(7), tokenizer, count))
        texts = [[ids, tokenizer.decode(ids, skip_special_tokens=False)] for ids in lists]
        rows.append({"tokenizer": name, "decoder": json.loads(tokenizer.to_str())["decoder"], "texts": texts})

    parts = json.loads((FIXTURES / "tokenizer_parts.json").read_text())
    for part in parts:
        add(part["name"], Tokenizer.from_str(json.dumps(part["tokenizer"])), 10)
        if part["name"] == "llama":
            for decoder in compare_tokenizers.other_decoders():
                tokenizer = Tokenizer.from_str(json.dumps(part["tokenizer"]))
                tokenizer.decoder = decoder
                add("llama", tokenizer, 40)
    with open(FIXTURES / "tokenizer_decodings.json", "w") as file:
        json.dump(rows, file, ensure_ascii=False, separators=(",", ":"))


def codegen():
    """A small vocabulary with CodeGenTokenizer's 38 runs of white space: ids and decodings of indentation."""
    import compare_tokenizers

    code = "".join(f"{' ' * (i % 5 * 4)}if x[{i}]:\n{chr(9) * (i % 6)}return '안녕'\n" for i in range(40))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(
        [code] * 4 + PARAGRAPHS, trainers.BpeTrainer(vocab_size=319, special_tokens=[], show_progress=False,
                                                 initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    # Behind the others, as GPT-2 has it.
    data = json.loads(tokenizer.to_str())
    data["model"]["vocab"]["<|endoftext|>"] = 319
    tokenizer = Tokenizer.from_str(json.dumps(data))
    compare_tokenizers.add_runs(tokenizer)
    # The vocabulary has runs, too: where a token is added for them, it must win.
    assert tokenizer.get_vocab_size() == 320 + 38 and {"ĠĠ", "ĉĉ"} <= set(tokenizer.get_vocab())
    texts = [" " * n for n in [*range(1, 35), 61, 62, 63, 64, 93]] + ["\t" * n for n in range(1, 21)] + [
        "def f():\n    return 1\n", "if x:\n\tif y:\n\t\treturn\n", "\t    \tx", "    \t\tx", " \t \t  \t\t ", "x  ", "x\t\t", "  x  ",
        "안녕  하세요", "안녕\t\t하세요", "가   나\t\t\t다", "  \n  ", "\n\n  \n\t\t\n", "a  \r\n  b", "  <|endoftext|>  ", "<|endoftext|> <|endoftext|>",
        "the  <|endoftext", "x" + " " * 40 + "'s", " " * 31 + "\t" * 9, " " * 32 + "\t" * 10 + "x", "\u00a0  \u00a0", "\u3000\t\t\u3000", "  \u0301"]
    texts += compare_tokenizers.indented_strings(random.Random(11), 60)
    cases = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        cases.append([text, ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids)])
    for name, contents in (("tokenizer_codegen", json.loads(tokenizer.to_str())), ("tokenizer_codegen_cases", cases)):
        with open(FIXTURES / f"{name}.json", "w") as file:
            json.dump(contents, file, ensure_ascii=False, separators=(",", ":"))


def trained(corpus):
    """The results of BpeTrainer with other schemes and options: files to match byte for byte."""
    def save(name, model, pre, decoder, **options):
        tokenizer = Tokenizer(model)
        tokenizer.pre_tokenizer = pre
        if decoder:
            tokenizer.decoder = decoder
        tokenizer.train([str(corpus)], trainers.BpeTrainer(show_progress=False, **options))
        tokenizer.save(str(FIXTURES / f"tokenizer_{name}.json"))

    words = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    save("prefix", models.BPE(unk_token="[UNK]"), words, decoders.WordPiece(), vocab_size=500,
         special_tokens=["[UNK]", "<|endoftext|>"], continuing_subword_prefix="##")
    save("whitespace", models.BPE(unk_token="[UNK]"), pre_tokenizers.Whitespace(), None, vocab_size=300,
         special_tokens=["[UNK]", "<|endoftext|>"], min_frequency=2, max_token_length=4, limit_alphabet=10000)


def main():
    corpus = FIXTURES / "tokenizer_corpus.txt"
    corpus.write_text("".join(PARAGRAPHS), newline="")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train([str(corpus)], trainer)
    tokenizer.save(str(FIXTURES / "tokenizer_600.json"))

    def words(text):
        # Offsets count characters.
        return [text[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(text)]

    cases = [{"text": s, "words": words(s), "ids": tokenizer.encode(s).ids} for s in STRINGS]
    for case in cases:
        assert "".join(case["words"]) == case["text"], case
    parts()
    decodings()
    codegen()
    trained(corpus)
    with open(FIXTURES / "tokenizer_cases.json", "w") as file:
        json.dump(cases, file, ensure_ascii=True, indent=0)


if __name__ == "__main__":
    main()
