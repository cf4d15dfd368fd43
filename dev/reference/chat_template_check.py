"""Checks conversations, chat templates and their tokens against Python and Hugging Face's transformers.

    - a CSV file's conversations are those of Python's csv module
    - for each template, over that file, conversations with anything in them, and questions with an input: the Jinja
      template renders our texts, with and without the answer prompt; apply_chat_template gives our ids; and what counts
      is what trl's longest common prefix and transformers' {% generation %} make of it
    - transformers loads the directory without a warning, and finds the same template in both places

    swift build -c release --product fuzz --product train_tokenizer
    python dev/reference/chat_template_check.py --csv ko_chatbot.csv [--build .build/release]
    python dev/reference/chat_template_check.py --fixture Tests/LLMTests/Fixtures      writes chat_templates.json

Exit code 1 if anything differs.
"""

import argparse
import csv
import json
import logging
import os
import pathlib
import random
import subprocess
import tempfile

import transformers

ALPACA = "Below is an instruction that describes a task"
ALPACA_END = " Write a response that appropriately completes the request."
# Per template: the default system message, the same with an input, and how an input is joined.
BUILT_IN = {
    "korean": (None, None, "{}\n\n### 맥락:\n{}"),
    "chatml": (None, None, "{}\n\n{}"),
    "alpaca": (ALPACA + "." + ALPACA_END, ALPACA + ", paired with an input that provides further context." + ALPACA_END,
               "{}\n\n### Input:\n{}"),
}
OWN = {
    "odd": {
        "system": "'\"\\n\\\\{{ system }}{% raw %}\r\n\t{content}{# no #}{eos}", "user": "{eos}%}}}질문 '{content}' \\\n",
        "assistant": "답 {{'{content}\\' {eos}\u2028끝<|end|>\n", "default_system": " 기본 '{eos}' {content}\n",
        "with_input": "[{input}] {instruction}",
    },
    "plain": {"user": "Q: {content}\n", "assistant": "A: {content}\n\n"},
    "edge": {"user": "{content}", "assistant": "\n\n{content} 끝"},
}
PIECES = ["가나다", "\u1112\u1161\u11ab", "꽃", "a", "The quick", " ", "  ", "\n", "\n\n", "\r\n", "\t", "'", '"', "\\", "\\n", "{{", "}}", "{%",
          "%}", "{% raw %}", "{#", "#}", "{content}", "{eos}", "{input}", "{instruction}", "<|im_end|>", "<|im_start|>user\n",
          "<|endoftext|>", "<|end|>", "%", "%s", "$1", "&lt;", "<b>", "😀", "e\u0301", "\u2028", "\u0000", "\x85", "\xa0", "\u3000", "\ufeff", "\u200b",
          "### 답변:", "### Response:\n", "1", "42", "...", "끝"]
SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace()]
problems = 0


def check(fits, what, wrong=""):
    global problems
    problems += not fits
    if not fits or not what.startswith(" "):
        print(f"{'ok   ' if fits else 'WRONG'} {what}{'' if fits else f': {wrong}'}", flush=True)


def ask(build, *words):
    answer = subprocess.run([f"{build}/fuzz", *map(str, words)], check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
    return [json.loads(line) for line in answer.decode().split("\n") if line]


def nasty(rng, count):
    """Records of each form that JSON Lines may have, and the messages in them."""
    def text(least=1):
        while True:
            t = "".join(rng.choice(PIECES) for _ in range(rng.randint(least, 8)))
            t = rng.choice(SPACES + [""]) + t + "".join(rng.choices(SPACES, k=rng.randint(0, 2)))
            if t.strip() or not least:
                return t
    for i in range(count):
        turns = [(role, text()) for _ in range(rng.randint(1, 4)) for role in ("user", "assistant")]
        if rng.random() < 0.4:
            turns = [("system", text(0))] + turns
        messages = [{"role": r, "content": c} for r, c in turns]
        kind = i % 4
        if kind == 0:
            yield {"id": i, "messages": messages}, messages
        elif kind == 1:
            names = {"user": "human", "assistant": "gpt", "system": "system"}
            yield {"conversations": [{"value": c, "from": names[r]} for r, c in turns]}, messages
        elif kind == 2:
            yield {"prompt": messages[:-1], "completion": messages[-1:]}, messages
        else:
            q, a, extra = text(), text(), rng.choice([text(), "", " \n", None])
            row = {"instruction": q, "input": extra, "output": a}
            question = {"role": "user", "content": q}
            if extra and extra.strip():
                question["input"] = extra
            yield row, [question, {"role": "assistant", "content": a}]


def completed(messages, setting):
    """The messages with the template's system message, and with the input joined."""
    system, with_input, join = setting
    question = next(m for m in messages if m["role"] == "user")
    if "input" in question:
        system = with_input or system
        first, second = (question["input"], question["content"]) if join.startswith("[") else (question["content"], question["input"])
        messages = [{"role": "user", "content": join.format(first.strip(), second.strip())}] + messages[1:]
    return ([{"role": "system", "content": system}] if system is not None and messages[0]["role"] != "system" else []) + messages


def expected(tokenizer, messages):
    """Text, prompt, ids and what counts, from transformers and the longest common prefix."""
    def render(m, prompt=False):
        return tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=prompt)

    text = render(messages)
    encoding = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    ids, marked = encoding["input_ids"], encoding["assistant_masks"]
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert offsets["input_ids"] == ids
    counted = [0] * len(ids)
    end = tokenizer.init_kwargs["answer_end"]
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = render(messages[:i], True)
        ours = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        start = next((k for k, (a, b) in enumerate(zip(ours, ids)) if a != b), min(len(ours), len(ids)))
        last = len(prompt) + len(message["content"].strip()) + len(end)
        assert text[:last].endswith(end)
        stop = max(k + 1 for k, (a, _) in enumerate(offsets["offset_mapping"]) if a < last)
        for k in range(start, stop):
            counted[k] = 1
    return {"text": text, "prompt": render(messages[:-1], True), "ids": ids, "mask": counted}, marked


def load(directory):
    said = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    transformers.utils.logging.add_handler(handler)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    transformers.utils.logging.remove_handler(handler)
    return tokenizer, said


def compare(name, template, build, tokenizer_path, records, folder, limit=None):
    """Compares one template; returns transformers' answers."""
    setting = BUILT_IN.get(name) or (template.get("default_system"), template.get("system_with_input"),
                                     template.get("with_input", "{instruction}\n\n{input}").replace("{instruction}", "{}").replace("{input}", "{}"))
    word = name
    if template:
        word = folder / f"{name}.json"
        word.write_text(json.dumps(template, ensure_ascii=False))
    file, out = folder / "records.jsonl", folder / f"out-{name}-{len(records)}"
    usable = [r for r in records if not (template and "system" not in template and r[1][0]["role"] == "system")]
    file.write_text("".join(json.dumps(r, ensure_ascii=i % 2 == 0) + "\n" for i, (r, _) in enumerate(usable)))
    answers = ask(build, "chat", tokenizer_path, word, file, out)
    tokenizer, said = load(str(out))
    check(not said, f"{name}: loaded without a warning", said)
    jinja = (out / "chat_template.jinja").read_bytes().decode()
    config = json.loads((out / "tokenizer_config.json").read_text())
    check(jinja == config["chat_template"] == tokenizer.chat_template, f"{name}: the same template in both places")
    after = json.loads((out / "template.json").read_text())["assistant"].split("{content}")[1]
    marks = sorted((after.index(m), m) for m in ("{eos}", "<|im_end|>", "<|end|>") if m in after)
    end = after[:marks[0][0]] + marks[0][1] if marks else after
    tokenizer.init_kwargs["answer_end"] = end.replace("{eos}", tokenizer.eos_token)
    check(len(answers) == len(usable), f"{name}: {len(usable)} conversations", len(answers))
    wanted, wrong, unlike = [], 0, 0
    for (_, messages), answer in zip(usable, answers):
        messages = completed(messages, setting)
        want, marked = expected(tokenizer, messages)
        stripped = [{**m, "content": m["content"].strip()} for m in messages]
        given = [{**m, "content": m["content"].strip()} for m in answer["messages"]]
        bad = [key for key in want if want[key] != answer[key]] + ([] if stripped == given else ["messages"])
        wrong += bool(bad)
        unlike += marked != answer["mask"]
        if bad and wrong <= 3:
            print(f"  {bad} {[(want.get(k, stripped), answer[k]) for k in bad][:1]!r}"[:1500])
        wanted.append({"messages": messages, **want})
    check(wrong == 0, f"{name}: texts, ids and what counts", f"{wrong} differ")
    # With these a token may hold the end of the prompt and the beginning of the answer.
    check(name in ("plain", "edge") or unlike == 0, f"{name}: what counts as {{% generation %}} has it ({unlike} differ)", unlike)
    for messages in ([{"role": "user", "content": "a"}] * 2, [{"role": "assistant", "content": "a"}],
                     [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]):
        try:
            tokenizer.apply_chat_template(messages, tokenize=False)
            check(False, f"{name}: {messages} must be refused")
        except Exception as error:
            check("turns" in str(error), f" {name}: refusal", error)
    return {"name": name, "template": template or None, "jinja": jinja, "cases": wanted}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=".build/release")
    parser.add_argument("--csv", type=pathlib.Path)
    parser.add_argument("--fixture", type=pathlib.Path)
    parser.add_argument("--nasty", type=int, default=3000)
    arguments = parser.parse_args()
    everything = {**{name: {} for name in BUILT_IN}, **OWN}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if arguments.csv:
            with open(arguments.csv, newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
            messages = [[{"role": "user", "content": r["Q"]}, {"role": "assistant", "content": r["A"]}] for r in rows]
            answers = [line["messages"] for line in ask(arguments.build, "conversations", arguments.csv)]
            check(answers == messages, f"{arguments.csv.name}: {len(rows)} conversations as Python's csv reads them", len(answers))
            (folder / "text.txt").write_text("".join(f"{r['Q']}\n{r['A']}\n" for r in rows))
            subprocess.run([f"{arguments.build}/train_tokenizer", "--input", folder / "text.txt", "--output", folder / "tokenizer",
                            "--vocab-size", "4000"], check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            # Two line ends as one token, as GPT-2 has it: what stands at a text's end is another token inside it.
            path = folder / "tokenizer" / "tokenizer.json"
            file = json.loads(path.read_text(encoding="utf-8"))
            file["model"]["vocab"]["ĊĊ"] = len(file["model"]["vocab"])
            file["model"]["merges"].append(["Ċ", "Ċ"])
            path.write_text(json.dumps(file, ensure_ascii=False))
            corpus = [({"messages": m}, m) for m in messages]
            hard = list(nasty(random.Random(1), arguments.nasty))
            for name, template in everything.items():
                if not template:
                    compare(name, template, arguments.build, folder / "tokenizer", corpus, folder)
                compare(name, template, arguments.build, folder / "tokenizer", hard, folder)
        if arguments.fixture:
            hard = [r for r in nasty(random.Random(2), 400) if "\x00" not in str(r)][:8]
            result = [compare(name, template, arguments.build, arguments.fixture / "tokenizer_600.json", hard, folder)
                      for name, template in everything.items()]
            path = arguments.fixture / "chat_templates.json"
            path.write_text(json.dumps(result, ensure_ascii=True, separators=(",", ":")) + "\n")
            print(f"wrote {path}, {path.stat().st_size} bytes")
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
