"""Generates with GPT-2 124M in PyTorch (transformers, float32), to set beside `bench generate`.

    python dev/bench/torch_generate.py [--tokens 32] [--model DIR]

A prompt of 512 tokens, then one stream and ten after a prompt of 8, greedily, with the cache of keys and values;
medians of five. The weights are new ones: the speed does not depend on them. With --model it is the model of a Hugging
Face directory instead, a Phi for example, and the prompt is no longer than it allows. Needs torch and transformers;
nothing is downloaded.
"""

import argparse
import time

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

parser = argparse.ArgumentParser()
parser.add_argument("--tokens", type=int, default=32)
parser.add_argument("--model", metavar="DIR", help="a Hugging Face directory (default: a new GPT-2 124M)")
a = parser.parse_args()

torch.manual_seed(42)
if a.model is None:
    model = GPT2LMHeadModel(GPT2Config()).eval()
else:
    model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32, local_files_only=True).eval()
V = model.config.vocab_size
T = min(512, model.config.max_position_embeddings)


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
    prompt = torch.randint(V, (1, 8)).repeat(rows, 1)
    model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=tokens,
                   min_new_tokens=tokens, pad_token_id=V - 1)


with torch.no_grad():
    prompt = torch.randint(V, (1, T))
    seconds = median(lambda: model(prompt, use_cache=True, logits_to_keep=1))
    print(f"PyTorch {torch.__version__}, {type(model).__name__}, prompt of {T} tokens: {T / seconds:.0f} tok/s")
    for rows in (1, 10):
        # The prompt's own time is taken off.
        seconds = median(lambda: generate(rows, a.tokens + 1)) - median(lambda: generate(rows, 1))
        print(f"{rows} at once: {seconds / a.tokens * 1000:.1f} ms a step, {rows * a.tokens / seconds:.1f} tok/s")
