"""Times training steps of a new model in PyTorch (transformers' model), to set beside `bench step B T`: GPT-2 124M, or a
Phi of 12 layers, 768 channels and a vocabulary of 32,000, to set beside `bench phi-step B T`.

    python dev/bench/torch_step.py B T [--phi] [--lora [--answers SHARE]] [--bfloat16] [--steps 3]

Forward, backward, gradient clipping and AdamW, as train_gpt2 does. With --lora only peft's adapter of rank 8 on all
linear layers is trained, to set beside `bench lora-step B T`. Needs torch and transformers (and peft); nothing is
downloaded.
"""

import argparse
import resource
import time

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PhiConfig, PhiForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("B", type=int)
parser.add_argument("T", type=int)
parser.add_argument("--phi", action="store_true", help="a Phi instead of GPT-2 124M")
parser.add_argument("--lora", action="store_true", help="train an adapter of rank 8 on all linear layers")
parser.add_argument("--answers", type=float, default=1, help="the share of targets, at a row's end, that count")
parser.add_argument("--bfloat16", action="store_true", help="autocast the forward and backward pass")
parser.add_argument("--steps", type=int, default=3, help="steps to take the median of, after one to warm up")
arguments = parser.parse_args()
B, T = arguments.B, arguments.T

torch.manual_seed(42)
if arguments.phi:
    model = PhiForCausalLM(
        PhiConfig(vocab_size=32000, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
                  num_attention_heads=12, max_position_embeddings=1024, use_cache=False))
else:
    model = GPT2LMHeadModel(GPT2Config(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))
if arguments.lora:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
# Both with PyTorch's fused attention.
optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=0, fused=True)
tokens = torch.randint(0, model.config.vocab_size, (B, T + 1))
x, y = tokens[:, :-1], tokens[:, 1:].clone()
y[:, : T - round(arguments.answers * T)] = -100

times = []
for _ in range(arguments.steps + 1):
    start = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bfloat16):
        logits = model(x).logits
        loss = torch.nn.functional.cross_entropy(logits.view(-1, logits.size(-1)), y.reshape(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    times.append(time.perf_counter() - start)

seconds = sorted(times[1:])[arguments.steps // 2]
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-9
kind = "bfloat16 autocast" if arguments.bfloat16 else "float32"
print(f"PyTorch {torch.__version__}, {kind}, {torch.get_num_threads()} threads, B {B}, T {T}: "
      f"{seconds * 1000:.0f} ms a step, {B * T / seconds:.1f} tok/s, peak memory {memory:.1f} GB")
