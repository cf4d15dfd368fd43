"""Times training steps of a new Phi in PyTorch (transformers' model), to set beside a run of train_phi.

    python dev/bench/torch_phi.py [B T] [--steps 3]

12 layers, 12 heads, 768 channels, vocabulary 32,000; forward, backward, gradient clipping and AdamW in float32. Needs
torch and transformers; nothing is downloaded.
"""

import argparse
import resource
import time

import torch
from transformers import PhiConfig, PhiForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("B", type=int, nargs="?", default=4)
parser.add_argument("T", type=int, nargs="?", default=512)
parser.add_argument("--steps", type=int, default=3, help="steps to take the median of, after one to warm up")
arguments = parser.parse_args()
B, T, V = arguments.B, arguments.T, 32000

torch.manual_seed(42)
model = PhiForCausalLM(
    PhiConfig(vocab_size=V, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
              max_position_embeddings=T, attn_implementation="sdpa"))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, betas=(0.9, 0.999), weight_decay=0.1, fused=True)
tokens = torch.randint(0, V, (B, T + 1))
x, y = tokens[:, :-1], tokens[:, 1:]

times = []
for _ in range(arguments.steps + 1):
    start = time.perf_counter()
    logits = model(x, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits.view(-1, V), y.reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    times.append(time.perf_counter() - start)

seconds = sorted(times[1:])[arguments.steps // 2]
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-9
print(f"PyTorch {torch.__version__}, float32, {torch.get_num_threads()} threads, "
      f"{sum(parameter.numel() for parameter in model.parameters())} parameters, B {B}, T {T}: "
      f"{seconds * 1000:.0f} ms a step, {B * T / seconds:.1f} tok/s, peak memory {memory:.1f} GB")
