"""Generates with GPT-2 124M in PyTorch (transformers, float32), to set beside `bench generate`.

    python dev/bench/torch_generate.py [--tokens 32]

A prompt of 512 tokens, then one stream and ten after a prompt of 8, greedily, with the cache of keys and values; medians of
five. The weights are new ones: the speed does not depend on them. Needs torch and transformers; nothing is downloaded.
"""

import argparse
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel

parser = argparse.ArgumentParser()
parser.add_argument("--tokens", type=int, default=32)
a = parser.parse_args()

torch.manual_seed(42)
model = GPT2LMHeadModel(GPT2Config()).eval()


def median(body):
    """Seconds, after one run that warms up."""
    body()
    times = []
    for _ in range(5):
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return sorted(times)[2]


def generate(rows, tokens):
    prompt = torch.randint(50257, (1, 8)).repeat(rows, 1)
    model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=tokens,
                   min_new_tokens=tokens, pad_token_id=50256)


with torch.no_grad():
    prompt = torch.randint(50257, (1, 512))
    seconds = median(lambda: model(prompt, use_cache=True, logits_to_keep=1))
    print(f"PyTorch {torch.__version__}, prompt of 512 tokens: {512 / seconds:.0f} tok/s")
    for rows in (1, 10):
        # The prompt's own time is taken off.
        seconds = median(lambda: generate(rows, a.tokens + 1)) - median(lambda: generate(rows, 1))
        print(f"{rows} at once: {seconds / a.tokens * 1000:.1f} ms a step, {rows * a.tokens / seconds:.1f} tok/s")
