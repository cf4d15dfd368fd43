"""The search behind train_gpt2 --minutes: many small GPT-2s at once on a GPU, each as long as two CPU cores would need
some seconds for.

Models of one shape lie beside each other (R of them, batched products) and differ in learning rate and the like; they see
the same batches. A run's number of steps follows from the seconds and from the speed that train_gpt2 reached for such a
shape on two cores of a Zen 4 EPYC, so the GPU's own speed does not matter. What it prints was checked against train_gpt2:
300 steps at 4 × 128 end at 3.638 bits a byte here and at 3.633 there.

    python3 recipe_search.py FOLDER list.json results.jsonl

FOLDER has a folder for each text and vocabulary, TEXT_V, as `tokenize` writes them, and TEXT.val, the held-out text.
list.json is a list of such entries, of which text, V, L, C, B, T, seconds and runs must be there. "steps" takes the place of
"seconds", "most_epochs" cuts either, and "mean": 0.02 validates a running mean of the weights, too, over such a part of
the steps.

    {"text": "austen", "V": 4096, "L": 2, "C": 64, "B": 16, "T": 128, "seconds": 57, "optimizer": "muon",
     "dropout": 0.1, "shuffle": "rows", "init": 0.02, "embedding": 0.02, "iterations": 5,
     "runs": [{"lr": 0.004}, {"lr": 0.008, "final": 0.05, "beta2": 0.95, "decay": 0.1, "ratio": 1, "shape": "cosine"}]}
"""

import json
import math
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

device = "cuda" if torch.cuda.is_available() else "cpu"
half = torch.bfloat16 if device == "cuda" else torch.float32

# GFLOP/s of a training step by its channels, measured by train_gpt2.
SPEED = [(32, 75), (64, 112), (96, 130), (128, 147), (192, 158), (256, 172), (320, 180), (384, 188), (512, 200)]


def speed(C):
    return float(np.interp(C, *zip(*SPEED)))


def step_seconds(V, L, C, B, T, optimizer, iterations):
    """The seconds of a step on two cores."""
    operations = B * T * (6 * (12 * L * C * C + V * C) + 6 * L * C * T)
    if optimizer == "muon":
        one = lambda m, n: iterations * (4 * m * m * n + 2 * m**3)
        operations += L * (one(C, 3 * C) + one(C, C) + 2 * one(C, 4 * C))
    return operations / speed(C) / 1e9 + (12 * L * C * C + (V + T) * C) * 32 / 30e9


def orthogonal(matrices, iterations):
    x = matrices.to(half)
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    is_tall = x.shape[-2] > x.shape[-1]
    x = x.mT if is_tall else x
    for _ in range(iterations):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * (square @ square)) @ x
    return x.mT if is_tall else x


def tokens(folder, text, V, split):
    shard = np.fromfile(f"{folder}/{text}_{V}/{split}_000000.bin", dtype="<u2")[512:]  # the header is 1,024 bytes
    return torch.tensor(shard.astype(np.int64)).to(device)


def layout(V, L, C, T):
    yield "wte", (V, C)
    yield "wpe", (T, C)
    for l in range(L):
        yield from [(f"ln1w{l}", (C,)), (f"ln1b{l}", (C,)), (f"qkvw{l}", (3 * C, C)), (f"qkvb{l}", (3 * C,))]
        yield from [(f"attw{l}", (C, C)), (f"attb{l}", (C,)), (f"ln2w{l}", (C,)), (f"ln2b{l}", (C,))]
        yield from [(f"fcw{l}", (4 * C, C)), (f"fcb{l}", (4 * C,)), (f"outw{l}", (C, 4 * C)), (f"outb{l}", (C,))]
    yield from [("lnfw", (C,)), ("lnfb", (C,))]


def run(folder, entry):
    """The entry with its steps and, for each of its runs, the bits a byte of the held-out text after each tenth of them."""
    text, L, C, B, T = (entry[k] for k in ("text", "L", "C", "B", "T"))
    V = (entry["V"] + 127) // 128 * 128
    heads, optimizer, dropout = max(1, C // 32), entry.get("optimizer", "adamw"), entry.get("dropout", 0)
    iterations, runs = entry.get("iterations", 5), entry["runs"]
    R = len(runs)
    train, held_out = tokens(folder, text, entry["V"], "train"), tokens(folder, text, entry["V"], "val")
    steps = entry.get("steps") or int(entry["seconds"] / step_seconds(V, L, C, B, T, optimizer, iterations))
    steps = max(1, min(steps, int(entry.get("most_epochs", 1e9) * (len(train) // (B * T)))))
    torch.manual_seed(entry.get("seed", 1))

    # The parameters of all runs: one row each of a buffer.
    table = list(layout(V, L, C, T))
    sizes = [math.prod(shape) for _, shape in table]
    starts = np.cumsum([0] + sizes).tolist()
    initial, decays = torch.zeros(sum(sizes)), torch.zeros(sum(sizes))
    for (name, shape), start, size in zip(table, starts, sizes):
        place = slice(start, start + size)
        if name.startswith("ln") and "w" in name:
            initial[place] = 1
        elif len(shape) == 2:
            deviation = entry.get("embedding", 0.02) if name in ("wte", "wpe") else entry.get("init", 0.02)
            if name.startswith(("attw", "outw")):
                deviation /= math.sqrt(2 * L)
            initial[place], decays[place] = torch.randn(size) * deviation, 1
    values = initial.to(device).repeat(R, 1)
    decays, m, v = decays.to(device), torch.zeros_like(values), torch.zeros_like(values)
    average = values.clone()
    halves = values.to(half).clone().requires_grad_(True)
    matrices = [
        (start, size, shape)
        for (name, shape), start, size in zip(table, starts, sizes)
        if optimizer == "muon" and len(shape) == 2 and name not in ("wte", "wpe")
    ]

    def column(key, default):
        return torch.tensor([float(run.get(key, default)) for run in runs], device=device)[:, None]

    beta2, decay, ratio = column("beta2", 0.95), column("decay", 0.1), column("ratio", 1)
    warmup = max(10, min(100, steps // 20))

    def rate(run, step):
        if step < warmup:
            return run["lr"] * (step + 1) / warmup
        done, final = (step - warmup) / max(1, steps - warmup), run.get("final", 0.05)
        falling = 1 - done if run.get("shape") == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return run["lr"] * (final + (1 - final) * falling)

    rates = torch.tensor([[rate(run, step) for run in runs] for step in range(steps)], device=device)
    # Rows from anywhere, or llm.c's batches of rows that follow each other.
    if entry.get("shuffle", "rows") == "rows":
        offsets = torch.randint(0, len(train) - T - 1, (steps, B))
    else:
        batches = (len(train) - 1) // (B * T)
        order = torch.cat([torch.randperm(batches) for _ in range(steps // batches + 1)])[:steps]
        offsets = order[:, None] * (B * T) + torch.arange(B)[None] * T
    offsets = offsets.to(device)

    # What a captured graph reads.
    window = torch.arange(T + 1, device=device)
    batch = torch.zeros(B, T + 1, dtype=torch.long, device=device)
    lr, bias1, bias2 = torch.zeros(R, 1, device=device), torch.zeros(1, device=device), torch.zeros(R, 1, device=device)
    rows_of = (torch.arange(R, device=device) * V)[:, None, None]

    def losses(parameters, rows, dropout):
        w = {n: t.view(R, *s) for (n, s), t in zip(table, torch.split(parameters, sizes, dim=1))}
        inputs, targets = rows[:, :-1], rows[:, 1:]
        b, t = inputs.shape
        linear = lambda x, name, l: torch.baddbmm(w[f"{name}b{l}"][:, None], x, w[f"{name}w{l}"].mT)
        norm = lambda x, n: torch.addcmul(w[n.replace("w", "b")][:, None], F.layer_norm(x, (C,)).to(half), w[n][:, None])
        drop = lambda x: F.dropout(x, dropout) if dropout else x
        x = F.embedding(inputs[None] + rows_of, w["wte"].reshape(R * V, C)).float() + w["wpe"][:, None, :t]
        x = drop(x.view(R, b * t, C))
        for l in range(L):
            qkv = linear(norm(x, f"ln1w{l}"), "qkv", l).view(R * b, t, 3, heads, C // heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(*qkv, is_causal=True, dropout_p=dropout)
            x = x + drop(linear(y.transpose(1, 2).reshape(R, b * t, C), "att", l))
            x = x + drop(linear(F.gelu(linear(norm(x, f"ln2w{l}"), "fc", l), approximate="tanh"), "out", l))
        logits = torch.bmm(norm(x, "lnfw"), w["wte"].mT).view(-1, V).float()
        return F.cross_entropy(logits, targets[None].expand(R, b, t).reshape(-1), reduction="none").view(R, b * t)

    def step():
        (g,) = torch.autograd.grad(losses(halves, batch, dropout).mean(1).sum(), halves)
        with torch.no_grad():
            g = g.float()
            g = g / torch.clamp(g.norm(dim=1, keepdim=True), min=1)
            old = [m[:, start : start + size].clone() for start, size, _ in matrices]
            m.mul_(0.9).add_(g, alpha=0.1)
            v.mul_(beta2).add_((1 - beta2) * g * g)
            update = (m / bias1) / ((v / bias2).sqrt() + 1e-8)
            for (start, size, shape), mean in zip(matrices, old):
                part = g[:, start : start + size]
                mean = mean * 0.95 + part
                m[:, start : start + size] = mean
                direction = orthogonal((part + 0.95 * mean).view(R, *shape), iterations).float()
                update[:, start : start + size] = direction.reshape(R, -1) * (0.2 * math.sqrt(max(shape))) * ratio
            values.sub_(lr * (update + decay * decays * values))
            halves.data.copy_(values)
            if "mean" in entry:
                average.lerp_(values, 1 / max(10, entry["mean"] * steps))

    def load(i):
        batch.copy_(train[offsets[i][:, None] + window])
        lr.copy_(rates[i][:, None])
        bias1.fill_(1 - 0.9 ** (i + 1))
        bias2.copy_(1 - beta2 ** (i + 1))

    bytes_held_out = os.path.getsize(f"{folder}/{text}.val")
    rows = min((len(held_out) - 1) // T, 65536 // T)

    def bits_a_byte(parameters):
        total = torch.zeros(R, device=device)
        with torch.no_grad():
            for start in range(0, rows, 32):
                places = torch.arange(start, min(rows, start + 32), device=device)[:, None] * T + window
                total += losses(parameters.to(half), held_out[places], 0).sum(1)
        bits = total / (rows * T) * len(held_out) / bytes_held_out / math.log(2)
        return [round(b, 4) for b in bits.tolist()]

    graph = None
    if device == "cuda":
        saved = values.clone()
        load(0)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            step()
            step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        values.copy_(saved)
        halves.data.copy_(saved)
        average.copy_(saved)
        m.zero_(), v.zero_()
    curve, means = [], []
    for i in range(steps):
        load(i)
        graph.replay() if graph else step()
        if i + 1 in {steps * k // 10 for k in range(1, 11)}:
            curve.append(bits_a_byte(values))
            if "mean" in entry:
                means.append(bits_a_byte(average))
    return dict(entry, steps=steps, epochs=round(steps * B * T / len(train), 1), curve=curve, means=means)


folder, entries, results = sys.argv[1:]
torch.backends.cuda.matmul.allow_tf32 = True
with open(results, "w") as file:
    for entry in json.load(open(entries)):
        start = time.time()
        result = run(folder, entry)
        file.write(json.dumps(result) + "\n")
        best = " ".join(
            f"{run['lr']:g}:{min(bits):.3f}{'*' if min(bits) < bits[-1] - 0.002 else ''}"
            for run, bits in zip(entry["runs"], zip(*result["curve"]))
        )
        shape = f"{entry['L']} × {entry['C']}, {entry['B']} · {entry['T']}"
        print(entry["text"], entry["V"], shape, f"{result['steps']} steps, {result['epochs']} epochs |", best, f"| {time.time() - start:.0f} s")
