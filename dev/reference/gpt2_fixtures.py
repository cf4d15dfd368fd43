"""Writes the PyTorch reference that the tests check the Swift model against, into Tests/LLMTests/Fixtures.

For each of three small models of odd shapes:
    gpt2_<tag>.bin              the start: a checkpoint in llm.c's version 3
    gpt2_<tag>_debug_state.bin  one batch with its logits, loss and the 16 gradients, in llm.c's debug state
    gpt2_<tag>_losses.txt       the losses of ten AdamW steps on that batch, each computed before its update

Everything after the start is computed in float64 and rounded once, to float32, when it is stored. A float32 reference
would carry rounding errors as large as those under test, and a test could not tell whose they are; against a float64
reference the whole difference is ours. The weights are rounded to float32 first, so both sides start from one point.

The key third of qkvb's gradient is zero in exact arithmetic: softmax does not change when all scores of a row move
together. float64 stores about 1e-17 there and float32 computes about 1e-9, so compare gradients with an absolute
tolerance, never by ratio alone.

The model is checked against transformers' GPT-2 (logits, loss and every gradient) before anything is written.

    python dev/reference/gpt2_fixtures.py [--output DIR]

With --checkpoint FILE it writes the debug state and the losses of that model instead, beside it or into DIR, for a random
batch: a way to check any checkpoint of ours, of any size, against PyTorch.

    ./train_gpt2 -e d12 -x 0 -o start && python dev/reference/gpt2_fixtures.py --checkpoint start/model_00000000.bin
    ./test_gpt2 start/model_00000000.bin start/model_00000000_debug_state.bin
"""

import argparse
import os

import numpy as np
import torch

import gpt2
from gpt2 import Config

# Odd everywhere that a kernel has a tile, a vector or a remainder: rows B·T 33, 26 and 67, channels 24, 25 and 64,
# head sizes 8, 5 and 64, a vocabulary above and below 128, T below maxT and equal to it, one head and several.
MODELS = {
    "small": (Config(maxT=16, V=61, L=2, NH=3, C=24), 3, 11, 1),
    "odd": (Config(maxT=13, V=131, L=3, NH=5, C=25), 2, 13, 2),
    "onehead": (Config(maxT=70, V=125, L=1, NH=1, C=64), 1, 67, 3),
}
STEPS = 10


def random_parameters(config, random):
    """float32 values, spread so that every tensor matters: LayerNorms away from 1 and 0, biases away from 0, queries
    and keys large enough that attention is far from uniform."""
    parameters = {}
    for name, shape in config.shapes().items():
        values = random.standard_normal(shape)
        if name in ("ln1w", "ln2w", "lnfw"):
            values = 1 + 0.2 * values
        elif name in ("wte", "wpe"):
            values = 0.2 * values
        elif len(shape) == 3:  # linear weights (L,out,in)
            values = values * (1.5 if name == "qkvw" else 0.7) / np.sqrt(shape[2])
        else:
            values = 0.1 * values
        parameters[name] = torch.from_numpy(values.astype(np.float32))
    return parameters


def evaluate(parameters, config, x, y):
    """Logits, loss and gradients in float64."""
    leaves = {name: tensor.double().requires_grad_() for name, tensor in parameters.items()}
    out, loss = gpt2.mean_loss(leaves, config, x, y)
    loss.backward()
    return out.detach(), loss.item(), {name: leaf.grad for name, leaf in leaves.items()}


def evaluate_transformers(parameters, config, x, y):
    """The same three by transformers' GPT2LMHeadModel, whose linear weights are (in, out)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.V, n_positions=config.maxT, n_embd=config.C, n_layer=config.L, n_head=config.NH,
            activation_function="gelu_new", layer_norm_epsilon=1e-5, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
            bos_token_id=0, eos_token_id=0, attn_implementation="eager")).double()
    layered = {
        "ln1w": "ln_1.weight", "ln1b": "ln_1.bias", "qkvw": "attn.c_attn.weight", "qkvb": "attn.c_attn.bias",
        "attprojw": "attn.c_proj.weight", "attprojb": "attn.c_proj.bias", "ln2w": "ln_2.weight", "ln2b": "ln_2.bias",
        "fcw": "mlp.c_fc.weight", "fcb": "mlp.c_fc.bias", "fcprojw": "mlp.c_proj.weight", "fcprojb": "mlp.c_proj.bias",
    }
    single = {"wte": "wte.weight", "wpe": "wpe.weight", "lnfw": "ln_f.weight", "lnfb": "ln_f.bias"}
    theirs = dict(model.transformer.named_parameters())

    def parts(name):
        """Their parameters behind one of our tensors, layer by layer."""
        if name in single:
            return [theirs[single[name]]]
        return [theirs[f"h.{l}.{layered[name]}"] for l in range(config.L)]

    def turned(tensor, name):
        return tensor.T if name in ("qkvw", "attprojw", "fcw", "fcprojw") else tensor

    with torch.no_grad():
        for name, tensor in parameters.items():
            for l, part in enumerate(parts(name)):
                part.copy_(turned(tensor if name in single else tensor[l], name))
    out = model(x).logits
    loss = torch.nn.functional.cross_entropy(out.view(-1, config.V), y.view(-1))
    loss.backward()
    gradients = {}
    for name in parameters:
        layers = [turned(part.grad, name) for part in parts(name)]
        gradients[name] = layers[0] if name in single else torch.stack(layers)
    return out.detach(), loss.item(), gradients


def train(parameters, config, x, y):
    """The losses of STEPS updates as llm.c's test_gpt2.c makes them: weight decay on all tensors, no clipping."""
    leaves = {name: tensor.double().requires_grad_() for name, tensor in parameters.items()}
    optimizer = torch.optim.AdamW(leaves.values(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        _, loss = gpt2.mean_loss(leaves, config, x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def write_reference(stem, config, x, y, out, loss, gradients, losses):
    """The debug state and the ten losses."""
    with open(stem + "_debug_state.bin", "wb") as file:
        file.write(gpt2.header(gpt2.DEBUG_STATE_MAGIC, gpt2.DEBUG_STATE_VERSION, *x.shape))
        file.write(x.numpy().astype("<i4").tobytes() + y.numpy().astype("<i4").tobytes())
        file.write(out.numpy().astype("<f4").tobytes() + np.array(loss, "<f4").tobytes())
        file.write(gpt2.tensors_as_bytes(gradients, config))
    with open(stem + "_losses.txt", "w") as file:
        file.writelines(f"{loss:.9f}\n" for loss in losses)


def random_batch(config, B, T, random):
    return (torch.from_numpy(random.randint(0, config.V, size=(B, T))),
            torch.from_numpy(random.randint(0, config.V, size=(B, T))))


def reference_of(checkpoint, output):
    config, parameters = gpt2.read_checkpoint(checkpoint)
    x, y = random_batch(config, 4, min(64, config.maxT), np.random.RandomState(4))
    stem = os.path.join(output or os.path.dirname(checkpoint), os.path.basename(checkpoint).removesuffix(".bin"))
    write_reference(stem, config, x, y, *evaluate(parameters, config, x, y), train(parameters, config, x, y))
    print(f"wrote {stem}_debug_state.bin and {stem}_losses.txt")


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", help="default: the tests' fixtures, or beside the checkpoint")
    parser.add_argument("--checkpoint", help="write the reference of this model, not the fixtures")
    arguments = parser.parse_args()
    if arguments.checkpoint:
        reference_of(arguments.checkpoint, arguments.output)
        return
    output = arguments.output or os.path.normpath(os.path.join(root, "Tests", "LLMTests", "Fixtures"))
    torch.set_num_threads(1)
    os.makedirs(output, exist_ok=True)

    total = 0
    for tag, (config, B, T, seed) in MODELS.items():
        random = np.random.RandomState(seed)  # its stream is frozen: the same fixtures from any version of numpy
        parameters = random_parameters(config, random)
        x, y = random_batch(config, B, T, random)

        out, loss, gradients = evaluate(parameters, config, x, y)
        their_out, their_loss, their_gradients = evaluate_transformers(parameters, config, x, y)
        worst_logit = (out - their_out).abs().max().item()
        worst_gradient = max((gradients[name] - their_gradients[name]).abs().max().item() for name in gradients)
        assert worst_logit < 1e-9 and abs(loss - their_loss) < 1e-9 and worst_gradient < 1e-9, "not GPT-2"
        spreads = {name: gradient.std().item() for name, gradient in gradients.items()}
        weakest = min(spreads, key=spreads.get)
        assert spreads[weakest] > 1e-4, f"the gradient of {weakest} is too small to test anything"
        losses = train(parameters, config, x, y)
        assert losses[0] == loss and losses[-1] < losses[0]

        stem = os.path.join(output, f"gpt2_{tag}")
        gpt2.write_checkpoint(stem + ".bin", parameters, config)
        write_reference(stem, config, x, y, out, loss, gradients, losses)

        sizes = [os.path.getsize(stem + end) for end in (".bin", "_debug_state.bin", "_losses.txt")]
        total += sum(sizes)
        print(f"gpt2_{tag}: loss {losses[0]:.6f} → {losses[-1]:.6f}, off transformers by {worst_logit:.0e} (logits) "
              f"and {worst_gradient:.0e} (gradients), smallest gradient std {spreads[weakest]:.1e} ({weakest}), "
              f"{sum(sizes)} bytes")
    print(f"{total} bytes in {output}")


if __name__ == "__main__":
    main()
