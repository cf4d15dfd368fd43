"""Writes BERT models and what PyTorch computes with them, for the tests, into Tests/LLMTests/Fixtures/bert.

For each of three small models of odd shapes:
    <tag>/                      the start, as transformers' save_pretrained writes it: config.json, model.safetensors
    <tag>_reference.safetensors a batch of texts of different lengths and what comes of it, all float32:
                                    inputs, mask, targets, segments (1,B,T)   a target of −100 does not count
                                    hidden (B,T,C), pooled (B,C), logits (B,T,V)   as far as the model has the parts
                                    losses (10)       of ten AdamW steps on that batch, each before its update
                                    gradient.<name>   the gradient of each parameter under transformers' name

transformers computes all of it in float64, from float32 weights, and it is rounded once, when it is stored: the whole
difference of a float32 implementation is its own. The model is compared with an independent BERT of some forty lines
(hidden states, logits, loss, every gradient), which sees each text alone, without padding.

The texts hold no padding token outside the padding: transformers gives that token's embedding no gradient.

    python dev/reference/bert_fixtures.py [--output DIR]
"""

import argparse
import math
import os
import shutil
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from transformers import (BertConfig, BertForMaskedLM, BertModel, DistilBertConfig, DistilBertForMaskedLM)

STEPS = 10
PAD = 0


@dataclass
class Config:
    kind: type
    maxT: int
    V: int
    L: int
    NH: int
    C: int
    intermediate: int
    epsilon: float = 1e-12
    activation: str = "gelu"
    dropout: float = 0.1

    @property
    def is_distil(self):
        return self.kind is DistilBertForMaskedLM

    @property
    def has_head(self):
        return self.kind is not BertModel

    def new_model(self):
        """A model of transformers', float32."""
        if self.is_distil:
            config = DistilBertConfig(
                vocab_size=self.V, max_position_embeddings=self.maxT, n_layers=self.L, n_heads=self.NH, dim=self.C,
                hidden_dim=self.intermediate, activation=self.activation, dropout=self.dropout,
                attention_dropout=self.dropout, attn_implementation="sdpa")
        else:
            config = BertConfig(
                vocab_size=self.V, max_position_embeddings=self.maxT, num_hidden_layers=self.L,
                num_attention_heads=self.NH, hidden_size=self.C, intermediate_size=self.intermediate,
                hidden_act=self.activation, layer_norm_eps=self.epsilon, hidden_dropout_prob=self.dropout,
                attention_probs_dropout_prob=self.dropout, attn_implementation="sdpa")
        return self.kind(config).eval()


# What each is for, with the lengths of the texts and the seed.
#   small    a head size of 8, an MLP that is not 4C wide, a text of all positions, an epsilon that shows
#   distil   a DistilBERT; a head size of 4
#   pooled   a BertModel: no head, a pooler, names without prefix; GELU's tanh form; a text of one token
MODELS = {
    "small": (Config(BertForMaskedLM, maxT=13, V=59, L=2, NH=3, C=24, intermediate=37, epsilon=1e-3),
              [13, 4, 9], 1),
    "distil": (Config(DistilBertForMaskedLM, maxT=11, V=43, L=2, NH=5, C=20, intermediate=30), [2, 11, 7], 2),
    "pooled": (Config(BertModel, maxT=8, V=31, L=1, NH=1, C=16, intermediate=24, activation="gelu_new",
                      dropout=0.0), [6, 1, 3], 3),
}


def fill(model, random):
    """float32 values, spread so that every tensor matters: LayerNorms away from 1 and 0, biases away from 0."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            values = random.standard_normal(tuple(tensor.shape))
            if "norm.weight" in name.lower():
                values = 1 + 0.2 * values
            elif "embeddings." in name and tensor.dim() == 2:
                values = 0.6 * values
            elif tensor.dim() == 2:
                values = values * 1.2 / math.sqrt(tensor.shape[1])
            else:
                values = 0.1 * values
            tensor.copy_(torch.from_numpy(values.astype(np.float32)))


def batch(config, lengths, random):
    """inputs, mask, targets and segments (B,T): 40% of the tokens are targets, and of a text the second part is a second
    segment."""
    B, T = len(lengths), max(lengths)
    mask = torch.arange(T)[None, :] < torch.tensor(lengths)[:, None]
    inputs = torch.from_numpy(random.randint(PAD + 1, config.V, size=(B, T))).masked_fill(~mask, PAD)
    targets = torch.from_numpy(random.randint(0, config.V, size=(B, T)))
    targets = targets.masked_fill(~mask | torch.from_numpy(random.random_sample((B, T)) > 0.4), -100)
    segments = (torch.arange(T)[None, :] >= torch.tensor(lengths)[:, None] // 2).long().masked_fill(~mask, 0)
    assert not config.has_head or 0 < (targets >= 0).sum() < mask.sum()
    return inputs, mask.long(), targets, segments


def run(model, config, inputs, mask, segments):
    """The hidden states, and the pooler's vectors or None, and the logits or None."""
    arguments = {} if config.is_distil else {"token_type_ids": segments}
    out = model(inputs, attention_mask=mask, output_hidden_states=True, **arguments)
    if config.has_head:
        return out.hidden_states[-1], None, out.logits
    return out.last_hidden_state, out.pooler_output, None


def mean_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


class Independent:
    """BERT and DistilBERT, independent of transformers: one text at a time, without padding."""

    def __init__(self, p, config):
        self.p, self.c = p, config

    def linear(self, name, x):
        return x @ self.p[name + ".weight"].T + self.p[name + ".bias"]

    def norm(self, name, x):
        return F.layer_norm(x, (self.c.C,), self.p[name + ".weight"], self.p[name + ".bias"], eps=self.c.epsilon)

    def gelu(self, x):
        if self.c.activation == "gelu":
            return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))

    def __call__(self, ids, segments):
        """hidden (T,C), pooled (C) or None, logits (T,V) or None."""
        c, p, distil = self.c, self.p, self.c.is_distil
        base = "distilbert." if distil else "bert." if c.has_head else ""
        T, HS = len(ids), c.C // c.NH
        x = p[base + "embeddings.word_embeddings.weight"][ids]
        x = x + p[base + "embeddings.position_embeddings.weight"][:T]
        if not distil:
            x = x + p[base + "embeddings.token_type_embeddings.weight"][segments]
        x = self.norm(base + "embeddings.LayerNorm", x)
        names = (["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm",
                  "ffn.lin1", "ffn.lin2", "output_layer_norm"] if distil else
                 ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                  "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"])
        for l in range(c.L):
            layer = base + ("transformer.layer." if distil else "encoder.layer.") + f"{l}."
            query, key, value, proj, norm1, fc1, fc2, norm2 = (layer + name for name in names)
            q, k, v = (self.linear(name, x).view(T, c.NH, HS).transpose(0, 1) for name in (query, key, value))
            mixed = ((q @ k.transpose(1, 2) / math.sqrt(HS)).softmax(dim=2) @ v).transpose(0, 1).reshape(T, c.C)
            x = self.norm(norm1, x + self.linear(proj, mixed))
            x = self.norm(norm2, x + self.linear(fc2, self.gelu(self.linear(fc1, x))))
        if not c.has_head:
            return x, torch.tanh(self.linear("pooler.dense", x[0])), None
        trans, norm, bias = (("vocab_transform", "vocab_layer_norm", "vocab_projector.bias") if distil else
                             ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
                              "cls.predictions.bias"))
        head = self.norm(norm, self.gelu(self.linear(trans, x)))
        return x, None, head @ p[base + "embeddings.word_embeddings.weight"].T + p[bias]


def check(model, config, lengths, inputs, mask, targets, segments):
    """Compares transformers' model, float64, with the independent one; returns hidden, pooled, logits and gradients."""
    hidden, pooled, logits = run(model, config, inputs, mask, segments)
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in model.named_parameters()}
    own = Independent(leaves, config)
    worst, losses = 0.0, []
    for b, T in enumerate(lengths):
        own_hidden, own_pooled, own_logits = own(inputs[b, :T], segments[b, :T])
        worst = max(worst, (own_hidden - hidden[b, :T]).abs().max().item())
        if pooled is not None:
            worst = max(worst, (own_pooled - pooled[b]).abs().max().item())
        if logits is not None:
            worst = max(worst, (own_logits - logits[b, :T]).abs().max().item())
            losses.append(F.cross_entropy(own_logits, targets[b, :T], ignore_index=-100, reduction="sum"))
    gradients = {}
    if logits is not None:
        loss = mean_loss(logits, targets)
        loss.backward()
        own_loss = sum(losses) / (targets >= 0).sum()
        own_loss.backward()
        gradients = {name: tensor.grad.clone() for name, tensor in model.named_parameters()}
        worst = max([worst, abs((loss - own_loss).item())]
                    + [(gradients[name] - leaf.grad).abs().max().item() for name, leaf in leaves.items()])
        model.zero_grad()
    assert worst < 1e-9, f"not BERT: {worst}"
    return hidden.detach(), pooled, logits, gradients, worst


def train(model, config, batches, steps):
    """The losses of some updates: weight decay on all tensors, no clipping. The batches are taken in turn."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses = []
    for step in range(steps):
        inputs, mask, targets, segments = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = mean_loss(run(model, config, inputs, mask, segments)[2], targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def save(path, config, batches, hidden, pooled, logits, gradients, losses):
    names = ["inputs", "mask", "targets"] + ([] if config.is_distil else ["segments"])
    reference = {name: torch.stack([batch[i] for batch in batches]) for i, name in enumerate(names)}
    reference["hidden"] = hidden
    if pooled is not None:
        reference["pooled"] = pooled.detach()
    if logits is not None:
        reference |= {"logits": logits.detach(), "losses": torch.tensor(losses, dtype=torch.float64)}
    reference |= {f"gradient.{name}": gradient for name, gradient in gradients.items()}
    save_file({name: tensor.to(torch.float32).contiguous() for name, tensor in reference.items()}, path)


def write_model(output, tag):
    config, lengths, seed = MODELS[tag]
    random = np.random.RandomState(seed)  # its stream is frozen: the same fixtures from any version of numpy
    model = config.new_model()
    fill(model, random)
    one = batch(config, lengths, random)
    path = os.path.join(output, tag)
    model.save_pretrained(path)
    # What is written is what a directory gives that is loaded again.
    model = config.kind.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").double().eval()
    hidden, pooled, logits, gradients, worst = check(model, config, lengths, *one)
    losses = train(model, config, [one], STEPS) if config.has_head else []
    save(os.path.join(output, f"{tag}_reference.safetensors"), config, [one], hidden, pooled, logits, gradients, losses)
    print(f"{tag}: off the independent BERT by {worst:.0e}")
    if losses:
        assert losses[-1] < losses[0]
        spread = {name: gradient.std().item() for name, gradient in gradients.items() if ".key.bias" not in name
                  and "k_lin.bias" not in name}
        smallest = min(spread, key=spread.get)
        print(f"    loss {losses[0]:.6f} → {losses[-1]:.6f}, {(one[2] >= 0).sum()} of {sum(lengths)} targets count; "
              f"smallest gradient std {spread[smallest]:.1e} {smallest}")


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default=os.path.normpath(
        os.path.join(root, "Tests", "LLMTests", "Fixtures", "bert")))
    output = parser.parse_args().output
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    for tag in MODELS:
        write_model(output, tag)
    total = 0
    for folder, _, names in sorted(os.walk(output)):
        for name in sorted(names):
            size = os.path.getsize(os.path.join(folder, name))
            total += size
            print(f"{size:8} {os.path.relpath(os.path.join(folder, name), output)}")
    print(f"{total:8} bytes")


if __name__ == "__main__":
    main()
