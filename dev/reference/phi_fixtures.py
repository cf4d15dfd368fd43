"""Writes Phi models and what PyTorch computes with them, for the tests, into Tests/LLMTests/Fixtures/phi.

For each of four small models of odd shapes:
    <tag>/                      the start, as transformers' save_pretrained writes it: config.json,
                                generation_config.json, model.safetensors (float32)
    <tag>_reference.safetensors one batch and what comes of it, all float32:
                                    inputs, targets (B,T)   ids; a target of −1 does not count
                                    logits (B,T,V), loss (1)
                                    losses (10)             of ten AdamW steps on that batch, each before its update
                                    gradient.<name>         the gradient of each parameter under transformers' name
and for generating:
    generate/                   a model whose greedy continuations are varied
    generate.json               three prompts with 40 tokens each by transformers' generate()

transformers' PhiForCausalLM computes all of it in float64, from float32 weights, and it is rounded once, when it is
stored: the whole difference of a float32 implementation is its own. Two things stay float32 in transformers even then.
The angles of the rotary embedding, their cosines and sines: that is what the model is, for everybody who runs it. And
the softmax of attn_implementation="eager", an error that its "sdpa" does not have, so "sdpa" is used. The model is
compared with an independent Phi of some thirty lines (logits, loss, every gradient) before anything is written, so the
order of the tensors' axes, which values are rotated with which, and that both sublayers read one LayerNorm, are all
asserted.

The bias of k_proj has no gradient in exact arithmetic where it is not rotated: it then adds the same to all scores of a
row, which softmax ignores. Compare gradients with an absolute tolerance, never by ratio alone. `one` has a single
position, so nothing reaches q_proj and k_proj at all.

    python dev/reference/phi_fixtures.py [--output DIR]
"""

import argparse
import json
import math
import os
import shutil
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from transformers import PhiConfig, PhiForCausalLM

import gpt2

STEPS = 10


@dataclass
class Config(gpt2.Config):
    intermediate: int
    rotary_factor: float
    theta: float = 10000.0

    @property
    def rotary(self):
        """How many values of each query and key are rotated."""
        return int(self.C // self.NH * self.rotary_factor)

    def shapes(self):
        """Name and shape of every parameter, in transformers' order. Linear weights are (out,in)."""
        C, I = self.C, self.intermediate
        layer = {}
        for name, out, channels in [
            ("self_attn.q_proj", C, C), ("self_attn.k_proj", C, C), ("self_attn.v_proj", C, C),
            ("self_attn.dense", C, C), ("mlp.fc1", I, C), ("mlp.fc2", C, I)
        ]:
            layer |= {f"{name}.weight": (out, channels), f"{name}.bias": (out,)}
        layer |= {"input_layernorm.weight": (C,), "input_layernorm.bias": (C,)}
        shapes = {"model.embed_tokens.weight": (self.V, C)}
        for l in range(self.L):
            shapes |= {f"model.layers.{l}.{name}": shape for name, shape in layer.items()}
        return shapes | {"model.final_layernorm.weight": (C,), "model.final_layernorm.bias": (C,),
                         "lm_head.weight": (self.V, C), "lm_head.bias": (self.V,)}


# What each is for, with batch B, T, the share of targets that do not count, and the seed.
#   small    a head size that is no power of two, of which 8 values of 20 are rotated
#   odd      6 of 12 rotated by another theta, an MLP that is not 4C wide, T at its maximum, targets that do not count
#   one      one position, one head, and a config.json as transformers 4 wrote it
#   full     everything rotated
MODELS = {
    "small": (Config(maxT=16, V=61, L=2, NH=3, C=60, intermediate=240, rotary_factor=0.4), 3, 11, 0, 1),
    "odd": (Config(maxT=13, V=131, L=3, NH=3, C=36, intermediate=50, rotary_factor=0.5, theta=500.0), 2, 13, 0.3, 2),
    "one": (Config(maxT=8, V=125, L=1, NH=1, C=64, intermediate=40, rotary_factor=1.0), 1, 1, 0, 3),
    "full": (Config(maxT=12, V=40, L=1, NH=2, C=16, intermediate=32, rotary_factor=1.0), 2, 9, 0, 4),
}
GENERATING = Config(maxT=64, V=300, L=2, NH=2, C=64, intermediate=64, rotary_factor=0.5)
MARGIN = 1e-3


def random_parameters(config, random):
    """float32 values, spread so that every tensor matters: LayerNorms away from 1 and 0, biases away from 0, queries
    and keys large enough that attention is far from uniform."""
    parameters = {}
    for name, shape in config.shapes().items():
        values = random.standard_normal(shape)
        if "layernorm.weight" in name:
            values = 1 + 0.2 * values
        elif name == "model.embed_tokens.weight":
            values = 0.2 * values
        elif len(shape) == 2:
            values = values * (1.5 if "_proj" in name else 0.7) / np.sqrt(shape[1])
        else:
            values = 0.1 * values
        parameters[name] = torch.from_numpy(values.astype(np.float32))
    return parameters


def transformers_model(parameters, config):
    """transformers' Phi with these parameters, float32."""
    model = PhiForCausalLM(
        PhiConfig(
            vocab_size=config.V, hidden_size=config.C, intermediate_size=config.intermediate,
            num_hidden_layers=config.L, num_attention_heads=config.NH, max_position_embeddings=config.maxT,
            rope_parameters={"rope_type": "default", "rope_theta": config.theta,
                             "partial_rotary_factor": config.rotary_factor},
            bos_token_id=config.V - 1, eos_token_id=config.V - 1, attn_implementation="sdpa"))
    theirs = dict(model.named_parameters())
    assert {name: tuple(tensor.shape) for name, tensor in theirs.items()} == config.shapes(), "not Phi's tensors"
    with torch.no_grad():
        for name, tensor in parameters.items():
            theirs[name].copy_(tensor)
    return model.eval()


def logits(p, config, x, exact_angles=False):
    """The logits (B,T,V) of the tokens x (B,T): Phi, independent of transformers."""
    B, T = x.shape
    C, NH, R = config.C, config.NH, config.rotary
    HS = C // NH
    later = torch.ones(T, T, dtype=torch.bool).triu(1)  # position t must not see t2 > t
    kind = torch.float64 if exact_angles else torch.float32
    frequencies = 1 / config.theta ** (torch.arange(0, R, 2, dtype=kind) / R)
    angles = torch.arange(T, dtype=kind)[:, None] * frequencies  # (T,R/2)
    cos, sin = angles.cos().double(), angles.sin().double()

    def linear(name, inp):
        return inp @ p[name + ".weight"].T + p[name + ".bias"]

    def norm(name, inp):
        return F.layer_norm(inp, (C,), p[name + ".weight"], p[name + ".bias"], eps=1e-5)

    def rotated(heads):  # (B,NH,T,HS): value j turns with value j + R/2
        a, b, rest = heads.split([R // 2, R // 2, HS - R], dim=3)
        return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=3)

    residual = p["model.embed_tokens.weight"][x]  # (B,T,C)
    for l in range(config.L):
        layer = f"model.layers.{l}."
        normed = norm(layer + "input_layernorm", residual)
        q, k, v = (linear(f"{layer}self_attn.{part}_proj", normed).view(B, T, NH, HS).transpose(1, 2) for part in "qkv")
        scores = rotated(q) @ rotated(k).transpose(2, 3) / math.sqrt(HS)  # (B,NH,T,T)
        attention = scores.masked_fill(later, -math.inf).softmax(dim=3)
        mixed = (attention @ v).transpose(1, 2).reshape(B, T, C)
        hidden = F.gelu(linear(layer + "mlp.fc1", normed), approximate="tanh")
        residual = residual + linear(layer + "self_attn.dense", mixed) + linear(layer + "mlp.fc2", hidden)
    return linear("lm_head", norm("model.final_layernorm", residual))


def evaluate(leaves, forward, x, y):
    """Logits, loss and gradients, of float64 parameters with `forward` from tokens to logits."""
    out = forward(x)
    loss = F.cross_entropy(out.flatten(0, 1), y.flatten(), ignore_index=-1)
    loss.backward()
    gradients = {name: leaf.grad.clone() for name, leaf in leaves.items()}
    for leaf in leaves.values():
        leaf.grad = None
    return out.detach(), loss.item(), gradients


def train(model, x, y):
    """The losses of STEPS updates: weight decay on all tensors, no clipping."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x).logits.flatten(0, 1), y.flatten(), ignore_index=-1)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def check_gradients(tag, config, T, gradients):
    """Says which gradient is smallest, of those that are not zero in exact arithmetic."""
    spreads = {}
    for name, gradient in gradients.items():
        if T == 1 and ("q_proj" in name or "k_proj" in name):
            assert gradient.abs().max() < 1e-12, f"{name}: one position has nothing to choose from"
            continue
        if name.endswith("k_proj.bias"):
            heads = gradient.view(config.NH, -1)
            gradient, still = heads[:, :config.rotary], heads[:, config.rotary:]
            assert (still.abs() < 1e-12).all(), f"{name}: where it is not rotated, softmax ignores it"
        spreads[name] = gradient.std().item()
    order = sorted(spreads, key=spreads.get)
    assert spreads[order[0]] > 1e-4, f"{tag}: the gradient of {order[0]} is too small to test anything"
    return ", ".join(f"{spreads[name]:.1e} {name}" for name in order[:2])


def write_old_config(path, config):
    """config.json with the keys of microsoft/phi-1_5's, which transformers 4.37 wrote."""
    values = {
        "_name_or_path": "microsoft/phi-1_5", "architectures": ["PhiForCausalLM"], "attention_dropout": 0.0,
        "bos_token_id": None, "embd_pdrop": 0.0, "eos_token_id": None, "hidden_act": "gelu_new",
        "hidden_size": config.C, "initializer_range": 0.02, "intermediate_size": config.intermediate,
        "layer_norm_eps": 1e-05, "max_position_embeddings": config.maxT, "model_type": "phi",
        "num_attention_heads": config.NH, "num_hidden_layers": config.L, "num_key_value_heads": None,
        "partial_rotary_factor": config.rotary_factor, "qk_layernorm": False, "resid_pdrop": 0.0,
        "rope_scaling": None, "rope_theta": config.theta, "tie_word_embeddings": False, "torch_dtype": "float32",
        "transformers_version": "4.37.0", "use_cache": True, "vocab_size": config.V,
    }
    with open(os.path.join(path, "config.json"), "w") as file:
        json.dump(values, file, indent=2)
        file.write("\n")


def write_model(output, tag):
    config, B, T, ignored, seed = MODELS[tag]
    random = np.random.RandomState(seed)  # its stream is frozen: the same fixtures from any version of numpy
    parameters = random_parameters(config, random)
    x, y = (torch.from_numpy(random.randint(0, config.V, size=(B, T))) for _ in range(2))
    if ignored > 0:
        y[torch.from_numpy(random.random_sample((B, T)) < ignored)] = -1
        assert 0 < (y == -1).sum() < y.numel()

    path = os.path.join(output, tag)
    model = transformers_model(parameters, config)
    if tag == "one":
        for settings in (model.config, model.generation_config):
            settings.bos_token_id = settings.eos_token_id = None
    model.save_pretrained(path)
    if tag == "one":
        write_old_config(path, config)

    # What is written is what a directory gives that is loaded again.
    model = PhiForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").double().eval()
    out, loss, gradients = evaluate(dict(model.named_parameters()), lambda x: model(x).logits, x, y)
    leaves = {name: tensor.double().requires_grad_() for name, tensor in parameters.items()}
    own_out, own_loss, own_gradients = evaluate(leaves, lambda x: logits(leaves, config, x), x, y)
    worst_logit = (out - own_out).abs().max().item()
    worst_gradient = max((gradients[name] - own_gradients[name]).abs().max().item() for name in leaves)
    assert worst_logit < 1e-9 and abs(loss - own_loss) < 1e-9 and worst_gradient < 1e-9, "not Phi"
    angles = (logits(leaves, config, x, exact_angles=True) - out).abs().max().item()
    smallest = check_gradients(tag, config, T, gradients)

    losses = train(model, x, y)
    assert losses[0] == loss and losses[-1] < losses[0]
    reference = {"inputs": x, "targets": y, "logits": out, "loss": torch.tensor([loss], dtype=torch.float64),
                 "losses": torch.tensor(losses, dtype=torch.float64)}
    reference |= {f"gradient.{name}": gradient for name, gradient in gradients.items()}
    save_file({name: tensor.to(torch.float32).contiguous() for name, tensor in reference.items()},
              os.path.join(output, f"{tag}_reference.safetensors"))
    print(f"{tag}: loss {losses[0]:.6f} → {losses[-1]:.6f}, {(y >= 0).sum()} of {B * T} targets count; off the "
          f"independent Phi by {worst_logit:.0e} (logits) and {worst_gradient:.0e} (gradients); the float32 angles "
          f"move the logits by {angles:.0e}\n    smallest gradient std {smallest}")


def write_generating(output):
    """Greedy continuations: the best score of each step is clear of the second by MARGIN."""
    config = GENERATING
    random = np.random.RandomState(11)
    parameters = random_parameters(config, random)
    # Scores far apart, and a text that does not run in circles at once.
    parameters["model.embed_tokens.weight"] *= 5
    parameters["lm_head.weight"] *= 4
    path = os.path.join(output, "generate")
    model = transformers_model(parameters, config)
    model.save_pretrained(path)
    model = model.double()

    cases, closest = [], math.inf
    for length in (1, 9, 20):
        prompt = random.randint(0, config.V, size=length).tolist()
        ids = torch.tensor([prompt])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40,
                             eos_token_id=None, pad_token_id=0, output_scores=True, return_dict_in_generate=True)
        tokens = out.sequences[0, length:].tolist()
        best = torch.cat(out.scores).topk(2).values
        margin = (best[:, 0] - best[:, 1]).min().item()
        assert len(tokens) == 40 and margin > MARGIN, f"prompt of {length}: too close to call, {margin}"
        # The same without a cache, by the independent Phi.
        whole = logits({name: tensor.double() for name, tensor in parameters.items()}, config, out.sequences)
        assert whole[0, length - 1:-1].argmax(1).tolist() == tokens, "the cache changes the text"
        closest = min(closest, margin)
        cases.append({"prompt": prompt, "penalty": 1.0, "end_of_text": -1, "limit": 40, "tokens": tokens})
        print(f"generate: prompt of {length}, {len(set(tokens))} different tokens, margin {margin:.4f}")
    with open(os.path.join(output, "generate.json"), "w") as file:
        json.dump({"greedy": cases}, file, separators=(",", ":"))


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default=os.path.normpath(
        os.path.join(root, "Tests", "LLMTests", "Fixtures", "phi")))
    output = parser.parse_args().output
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    for tag in MODELS:
        write_model(output, tag)
    write_generating(output)
    total = 0
    for folder, _, names in sorted(os.walk(output)):
        for name in sorted(names):
            size = os.path.getsize(os.path.join(folder, name))
            total += size
            print(f"{size:8} {os.path.relpath(os.path.join(folder, name), output)}")
    print(f"{total:8} bytes")


if __name__ == "__main__":
    main()
