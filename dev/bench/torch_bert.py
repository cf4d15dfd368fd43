"""Times BERT in PyTorch (transformers' model, float32), to set beside `bench bert-step B T` and `bench bert-encode`.

    python dev/bench/torch_bert.py step B T [--steps 3]
    python dev/bench/torch_bert.py encode
    python dev/bench/torch_bert.py embed DIR lines.txt [--sorted]

`step` is forward, backward, gradient clipping and AdamW of BERT-base, 15% of the tokens masked. `encode` is texts of 8 to
71 tokens in batches of 64 of similar length, padded to the longest: BERT-base, and six layers of 384 channels. `embed` is
the vectors of a file's lines, to set beside `embed --model DIR --input lines.txt --output v.npy`: batches of 32 in the
file's order, or by length. Nothing is downloaded.
"""

import argparse
import resource
import time

import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
commands = parser.add_subparsers(dest="command", required=True)
step = commands.add_parser("step")
step.add_argument("B", type=int)
step.add_argument("T", type=int)
step.add_argument("--steps", type=int, default=3, help="steps to take the median of, after one to warm up")
commands.add_parser("encode")
embed = commands.add_parser("embed")
embed.add_argument("model")
embed.add_argument("lines")
embed.add_argument("--sorted", action="store_true", help="by length, as sentence-transformers has them")
arguments = parser.parse_args()


def memory():
    return f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-9:.1f} GB"


def time_steps(B, T, steps):
    torch.manual_seed(42)
    model = BertForMaskedLM(BertConfig(attn_implementation="sdpa")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0, fused=True)
    x = torch.randint(0, 30522, (B, T))
    y = x.masked_fill(torch.rand(B, T) > 0.15, -100)
    times = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        model(x, labels=y).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    seconds = sorted(times[1:])[steps // 2]
    print(f"PyTorch {torch.__version__}, float32, {torch.get_num_threads()} threads, B {B}, T {T}: "
          f"{seconds * 1000:.0f} ms a step, {B * T / seconds:.1f} tok/s, {memory()}")


@torch.inference_mode()
def time_encoding():
    for name, texts, settings in [
        ("BERT-base", 512, {}),
        ("a six-layer encoder", 2048, {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}),
    ]:
        torch.manual_seed(1)
        model = BertModel(BertConfig(attn_implementation="sdpa", **settings)).eval()
        lengths = torch.randint(8, 72, (texts,)).sort().values
        times = []
        for _ in range(4):
            start = time.perf_counter()
            for part in lengths.split(64):
                T = part.max().item()
                mask = (torch.arange(T)[None, :] < part[:, None]).long()
                model(torch.randint(0, 30522, (len(part), T)), attention_mask=mask)
            times.append(time.perf_counter() - start)
        seconds = sorted(times[1:])[1]
        print(f"{name}: {texts} texts of {lengths.float().mean():.1f} tokens: {texts / seconds:.0f} texts/s, "
              f"{lengths.sum() / seconds:.0f} tok/s, {memory()}")


@torch.inference_mode()
def time_embedding(path, file, by_length):
    start = time.perf_counter()
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    loaded = time.perf_counter()
    lines = open(file).read().split("\n")[:-1]
    order = sorted(range(len(lines)), key=lambda i: -len(lines[i])) if by_length else range(len(lines))
    vectors = torch.zeros(len(lines), model.config.hidden_size)
    for part in torch.tensor(list(order)).split(32):
        batch = tokenizer([lines[i] for i in part], padding=True, truncation=True, return_tensors="pt")
        weights = batch["attention_mask"][..., None].float()
        vectors[part] = (model(**batch).last_hidden_state * weights).sum(1) / weights.sum(1)
    seconds = time.perf_counter() - loaded
    print(f"transformers, {'by length' if by_length else 'in the order of the file'}: loaded in {loaded - start:.2f} s, "
          f"{len(lines)} lines in {seconds:.2f} s, {len(lines) / seconds:.0f} lines/s, {memory()}")


if arguments.command == "embed":
    time_embedding(arguments.model, arguments.lines, arguments.sorted)
elif arguments.command == "step":
    time_steps(arguments.B, arguments.T, arguments.steps)
else:
    time_encoding()
