"""Trains the model of `make run` in PyTorch (transformers' GPT-2) on the same shards, to set beside train_gpt2.

    python dev/bench/torch_lotto.py data --mark 321 [--steps 4000] [--threads 2]

The same shape, rows, loss on the answers, AdamW, clipping and schedule as the Makefile's line; the order of the rows and
the first weights are PyTorch's own. Exact answers are counted as train_gpt2 counts them while it validates: every token
of a row's answer is the most probable one. Times are the process's CPU seconds over its threads, so that a busy machine
does not matter. Needs torch and transformers; nothing is downloaded.
"""

import argparse
import math
import time

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

parser = argparse.ArgumentParser()
parser.add_argument("data", help="the folder with train_000000.bin, val_000000.bin and tokenizer.json")
parser.add_argument("--steps", type=int, default=4000)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--layers", type=int, default=2)
parser.add_argument("--heads", type=int, default=2)
parser.add_argument("--channels", type=int, default=64)
parser.add_argument("--vocabulary", type=int, default=369)
parser.add_argument("--row-length", type=int, default=167)
parser.add_argument("--mark", type=int, required=True, help="the id of 결과: ./tokenize --tokenizer data --text 결과")
parser.add_argument("--every", type=int, default=500, help="validate every so many steps")
parser.add_argument("--learning-rate", type=float, default=5e-3)
parser.add_argument("--seed", type=int, default=42)
a = parser.parse_args()
B, T, warmup, peak, decay = 16, a.row_length, 100, a.learning_rate, 0.05

torch.set_num_threads(a.threads)
torch.manual_seed(a.seed)


def rows(split):
    """(rows, T + 1): every row and the first token after it, the target of its last."""
    tokens = np.fromfile(f"{a.data}/{split}_000000.bin", dtype=np.uint16, offset=1024).astype(np.int64)
    count = (len(tokens) - 1) // T
    return torch.from_numpy(np.stack([tokens[i * T : i * T + T + 1] for i in range(count)]))


def split(batch):
    """Inputs, and targets of which those before the answer, and the padding after it, are -100."""
    x, y = batch[:, :-1].contiguous(), batch[:, 1:].clone()
    answers = (x == a.mark).cumsum(1) > 0
    ended = ((x == 0) & answers).cumsum(1) > 0
    y[~answers | ended] = -100
    return x, y


train, val = rows("train"), rows("val")[:480]
model = GPT2LMHeadModel(
    GPT2Config(vocab_size=a.vocabulary, n_positions=T, n_embd=a.channels, n_layer=a.layers, n_head=a.heads,
               resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
matrices = [p for p in model.parameters() if p.dim() == 2]
others = [p for p in model.parameters() if p.dim() != 2]
optimizer = torch.optim.AdamW(
    [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0}],
    lr=peak, betas=(0.9, 0.95), fused=True)


def exact():
    right = 0
    with torch.no_grad():
        for start in range(0, len(val), B):
            x, y = split(val[start : start + B])
            right += ((model(x).logits.argmax(-1) == y) | (y == -100)).all(1).sum().item()
    return right / len(val)


order = torch.randperm(len(train))
spent, start = 0.0, time.process_time()
for step in range(a.steps):
    rate = peak * (step + 1) / warmup if step < warmup else (
        0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, a.steps - warmup))) * peak)
    for group in optimizer.param_groups:
        group["lr"] = rate
    picked = order[torch.arange(step * B, step * B + B) % len(order)]
    x, y = split(train[picked])
    logits = model(x).logits
    loss = torch.nn.functional.cross_entropy(logits.view(-1, logits.size(-1)), y.view(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if (step + 1) % a.every == 0 or step + 1 == a.steps:
        spent += time.process_time() - start
        print(f"step {step + 1:5d} | loss {loss.item():.6f} | exact answers {100 * exact():.2f}% | "
              f"{spent:.0f} CPU seconds on {a.threads} threads", flush=True)
        start = time.process_time()
