"""Writes Sources/LLM/Tokenizer/Unicode/UnicodeTables.swift.

Each code point is tried with Hugging Face's tokenizers itself, because which characters are letters depends on the
versions of Unicode in that library's components (they differ), not on this Python's.

    pip install tokenizers==0.23.3
    python dev/reference/unicode_tables.py            # rewrites the whole file
"""

import pathlib
import textwrap
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

SWIFT = pathlib.Path(__file__).resolve().parents[2] / "Sources/LLM/Tokenizer/Unicode/UnicodeTables.swift"
SCALARS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
HANGUL = range(0xAC00, 0xD7A4)


def runs(scalars):
    """The maximal runs of code points, as first and last."""
    result = []
    for c in sorted(scalars):
        if result and result[-1][1] == c - 1:
            result[-1][1] = c
        else:
            result.append([c, c])
    return result


def matching(pattern):
    """The code points that a regular expression of the library matches."""
    removed = pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str("".join(map(chr, SCALARS)))
    others = {ord(character) for piece, _ in removed for character in piece}
    return [c for c in SCALARS if c not in others]


def words_of(pre_tokenizer, prefix="a"):
    """The number of words that a pre-tokenizer makes of each code point between two letters."""
    return {c: len(pre_tokenizer.pre_tokenize_str(f"{prefix}{chr(c)}{prefix}")) for c in SCALARS}


def normalized(normalizer):
    """The result of a normalizer for each code point that it changes."""
    others = [c for c in SCALARS if c != 0x0A]
    results = normalizer.normalize_str("\n".join(map(chr, others))).split("\n")
    if len(results) != len(others):  # it turns other characters into line ends
        results = [normalizer.normalize_str(chr(c)) for c in others]
    return {c: r for c, r in zip(others, results) if r != chr(c)}


def literal(name, what, words):
    body = " \\\n".join("    " + line for line in textwrap.wrap(" ".join(words), 112, break_on_hyphens=False))
    return f'/// {what}: {len(words)} entries.\nlet {name} = """\n{body}\n    """\n'


def ranges(name, what, scalars):
    return literal(name, what, [f"{a:X}" if a == b else f"{a:X}-{b:X}" for a, b in runs(scalars)])


def lower_case():
    """`first-last:difference`, with `/2` for every second code point; `130=69.307` if it becomes several."""
    lower = normalized(normalizers.Lowercase())
    words = [f"{c:X}=" + ".".join(f"{ord(x):X}" for x in r) for c, r in lower.items() if len(r) > 1]
    deltas = {c: ord(r) - c for c, r in lower.items() if len(r) == 1}
    left = dict(deltas)
    for c in sorted(deltas):
        if c not in left:
            continue
        best = [c]
        for stride in (1, 2):
            run = [c]
            while left.get(run[-1] + stride) == deltas[c]:
                run.append(run[-1] + stride)
            if len(run) > len(best):
                best = run
        for x in best:
            del left[x]
        stride = "/2" if len(best) > 1 and best[1] - best[0] == 2 else ""
        span = f"{c:X}" if len(best) == 1 else f"{c:X}-{best[-1]:X}{stride}"
        words.append(f"{span}:{deltas[c]}")
    return words


def combining_classes():
    """The combining classes of the characters that the library reorders; the numbers are Unicode's."""
    nfd = normalizers.NFD()
    classes = {}
    for c in SCALARS:
        number = unicodedata.combining(chr(c))
        if number == 0:
            continue
        after, before = ("\u0345", 240), ("\u0334", 1)
        swaps = [other for other, n in (after,) if n > number]
        seen = any(nfd.normalize_str(other + chr(c)) == chr(c) + other for other in swaps) or (
            number >= 240 and nfd.normalize_str(chr(c) + before[0]) == before[0] + chr(c))
        if seen:
            classes[c] = number
    words = []
    for number in sorted(set(classes.values())):
        for a, b in runs(c for c in classes if classes[c] == number):
            words.append((a, f"{a:X}:{number}" if a == b else f"{a:X}-{b:X}:{number}"))
    return [word for _, word in sorted(words)]


def decompositions(canonical, compatible, composed):
    """`C0=41.300`; `!` for a character that composition never produces, `~` for compatibility only."""
    words = []
    for c in sorted(set(canonical) | set(compatible)):
        if c in HANGUL:
            continue
        if c in canonical:
            mark = "!" if c in composed else "="
            words.append(f"{c:X}{mark}" + ".".join(f"{ord(x):X}" for x in canonical[c]))
        if compatible.get(c) != canonical.get(c):
            words.append(f"{c:X}~" + ".".join(f"{ord(x):X}" for x in compatible[c]))
    return words


nfd = normalized(normalizers.NFD())
nfkd = normalized(normalizers.NFKD())
nfc = normalized(normalizers.NFC())
space = set(matching(r"\s"))
assert space == {c for c, n in words_of(pre_tokenizers.WhitespaceSplit()).items() if n == 2}
letter = set(matching(r"\p{L}"))
number = set(matching(r"\p{N}"))
numeric = {c for c, n in words_of(pre_tokenizers.Digits(individual_digits=True)).items() if n == 3}
word = {c for c, n in words_of(pre_tokenizers.Whitespace()).items() if n == 1}
assert number <= numeric and letter <= word
punctuation = {c for c, n in words_of(pre_tokenizers.Punctuation()).items() if n == 3}


def bert(**parts):
    settings = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**settings, **parts})


clean = bert(clean_text=True)
cleaned = {c: clean.normalize_str(f"a{chr(c)}a") for c in SCALARS}
dropped = {c for c, r in cleaned.items() if r == "aa"}
assert {c for c, r in cleaned.items() if r == "a a"} == space - dropped
strip = bert(strip_accents=True)
nonspacing = {c for c in SCALARS if c not in nfd and strip.normalize_str(f"a{chr(c)}a") == "aa"}
marks = {c for c in SCALARS if normalizers.StripAccents().normalize_str(f"a{chr(c)}a") == "aa"}
assert nonspacing <= marks
for c, r in normalized(bert(strip_accents=True)).items():
    assert r == "".join(x for x in nfd.get(c, chr(c)) if ord(x) not in nonspacing), hex(c)

SWIFT.write_text("// Generated by dev/reference/unicode_tables.py: the Unicode data of Hugging Face's tokenizers 0.23.3 and of tiktoken.\n// Used by CharacterClasses, LetterCase and NormalizationTables.\n\n" + "\n".join([
    ranges("letterRanges", r"`\p{L}`", letter),
    ranges("numberRanges", r"`\p{N}`", number),
    ranges("otherNumericRanges", r"Numbers for Digits in addition to `\p{N}`, of another Unicode version", numeric - number),
    ranges("spaceRanges", r"`\s`, White_Space", space),
    ranges("otherWordRanges", r"`\w` in addition to `\p{L}`", word - letter),
    ranges("capitalRanges", r"`[\p{Lu}\p{Lt}]`, as the next two for o200k_base's words", matching(r"[\p{Lu}\p{Lt}]")),
    ranges("smallRanges", r"`\p{Ll}`", matching(r"\p{Ll}")),
    ranges("markRanges", r"`\p{M}`, of another Unicode version than the marks below", matching(r"\p{M}")),
    ranges("punctuationRanges", "Punctuation and ASCII symbols", punctuation),
    ranges("bertDroppedRanges", "Characters that BERT's cleaning drops: control, format, private and unassigned", dropped),
    ranges("nonspacingRanges", "Mn, the accents that BERT drops", nonspacing),
    ranges("otherMarkRanges", "The other marks, which StripAccents drops, too", marks - nonspacing),
    literal("lowerCaseMap", "Lower case: `first-last:difference`, `/2` for every second one, `=` with the result", lower_case()),
    literal("combiningClasses", "Canonical combining classes other than 0", combining_classes()),
    literal("decompositionMap",
            "Full decompositions: `=` canonical, `!` canonical but never composed, `~` compatibility",
            decompositions(nfd, nfkd, nfc)),
]))
