"""Repeats a run of finetune with peft and compares the losses of all steps, and the adapter at the end.

It starts from the adapter our run wrote before its first step, makes the rows itself (transformers' tokenizer and the
chat template saved with the adapter, whose {% generation %} marks the answers), takes them in the same order, and makes
the steps in PyTorch: one conversation a row, padded; AdamW; gradients limited to a norm of 1; a constant rate.

    finetune --model BASE --data chat.csv --output run --steps 0 --val-every 0 --dropout 0 -b 8 -k constant …
    finetune --model BASE --data chat.csv --output run2 --steps 50 --val-every 0 --dropout 0 -b 8 -k constant …
    python dev/reference/compare_finetune.py --model BASE --data chat.csv --start run/checkpoint-0 \\
        --end run2/checkpoint-50 --log run2/main.log --batch-size 8 --learning-rate 3e-4

Exit code 1 if a loss differs by more than 1e-3 or the adapters by more than 1e-3 of their norm.
"""

import argparse
import csv
import json
import re
import sys

import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

import compare_training

IGNORED = -100


def read_conversations(path):
    if path.endswith(".csv"):
        with open(path, encoding="utf-8-sig", newline="") as file:
            return [[{"role": "user", "content": row["Q"]}, {"role": "assistant", "content": row["A"]}]
                    for row in csv.DictReader(file)]
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["messages"] for line in file if line.strip()]


def example(tokenizer, messages):
    """Ids, and labels that count on the answers only."""
    encoded = tokenizer.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    if not any(mask):
        sys.exit(f"error: no answer is marked in {messages}")
    return ids, [token if counts else IGNORED for token, counts in zip(ids, mask)]


def batches(rows, options):
    random = compare_training.MersenneTwister(options.seed)
    while True:
        order = list(range(len(rows)))
        random.shuffle(order)
        for first in range(0, len(order), options.batch_size):
            chosen = [rows[i] for i in order[first:first + options.batch_size]]
            longest = max(len(ids) for ids, _ in chosen)
            yield (torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in chosen]),
                   torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in chosen]),
                   torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in chosen]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["model", "data", "start", "end", "log"]:
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--weight-decay", type=float, default=0)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()

    tokenizer = transformers.AutoTokenizer.from_pretrained(options.start)
    base = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    if len(tokenizer) > base.config.vocab_size:
        base.resize_token_embeddings(len(tokenizer))
    model = PeftModel.from_pretrained(base, options.start, is_trainable=True)
    model.train()
    for module in model.modules():  # the base's own dropout is not ours to compare
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    rows = [example(tokenizer, messages) for messages in read_conversations(options.data)]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    print(f"{len(rows)} rows, {sum(p.numel() for p in trained)} parameters are trained")
    optimizer = torch.optim.AdamW(
        trained, lr=options.learning_rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=options.weight_decay)

    ours = {}
    with open(options.log) as file:
        for line in file:
            if match := re.match(r"s:(\d+) trl:(\S+)", line):
                ours[int(match[1])] = float(match[2])
    stream, worst = batches(rows, options), 0.0
    for step in range(len(ours)):
        micro = [next(stream) for _ in range(options.accumulate)]
        targets = sum(int((labels[:, 1:] != IGNORED).sum()) for _, labels, _ in micro)
        total = 0.0
        for ids, labels, mask in micro:
            logits = model(input_ids=ids, attention_mask=mask).logits
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="sum") / targets
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        worst = max(worst, abs(total - ours[step]))
        if step % 10 == 0 or step == len(ours) - 1:
            print(f"step {step:3}  peft {total:.4f}  ours {ours[step]:.4f}  norm {norm:.4f}")
    print(f"losses of {len(ours)} steps: at most {worst:.5f} apart")

    theirs = {name.replace(".default", ""): value for name, value in model.state_dict().items()
              if "lora_" in name or "trainable_tokens_delta" in name}
    end, failed = load_file(options.end + "/adapter_model.safetensors"), worst > 1e-3
    difference = square = 0.0
    for name, value in end.items():
        difference += (value.double() - theirs[name].double()).square().sum().item()
        square += theirs[name].double().square().sum().item()
    relative = (difference / square) ** 0.5
    print(f"the adapter's {len(end)} tensors: {relative:.2e} apart")
    sys.exit(failed or relative > 1e-3)


if __name__ == "__main__":
    main()
