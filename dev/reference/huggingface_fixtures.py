"""Writes Hugging Face models for the tests of reading and writing them, into Tests/LLMTests/Fixtures/huggingface.

They are all the same small random GPT-2, the one in gpt2_small.bin:
    float32/, float16/, bfloat16/   as transformers' save_pretrained writes it, the weights rounded to that type
    sharded/                        float32 in several files with an index
    old/                            as older checkpoints are: names without "transformer.", the buffers attn.bias (F32 in
                                    one layer, U8 in the other) and attn.masked_bias, lm_head.weight equal to wte.weight,
                                    and config.json with the keys of its time
    untied/                         an lm_head.weight of its own
    logits.json                     the batch of gpt2_small_debug_state.bin, and its logits with the weights of float32/,
                                    float16/ and bfloat16/, computed in float64 and rounded to float32

Every directory is loaded with transformers before the script ends, and must give the logits that were expected.

    python dev/reference/huggingface_fixtures.py [--output DIR]
"""

import argparse
import json
import os
import shutil

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import gpt2
from generate_fixtures import transformers_model
from gpt2_fixtures import MODELS, random_batch, random_parameters

END_OF_TEXT = 60


def saved_model(parameters, config, dtype):
    """A model that is ready for save_pretrained."""
    model = transformers_model(parameters, config).to(dtype)
    for settings in (model.config, model.generation_config):
        settings.bos_token_id = settings.eos_token_id = END_OF_TEXT
    return model


def write_old(path, model):
    tensors = {name.removeprefix("transformer."): tensor.clone() for name, tensor in model.state_dict().items()}
    assert torch.equal(tensors["lm_head.weight"], tensors["wte.weight"])
    positions = model.config.n_positions
    mask = torch.ones(positions, positions).tril()[None, None]
    for layer in range(model.config.n_layer):
        tensors[f"h.{layer}.attn.bias"] = mask.to(torch.float32 if layer == 0 else torch.uint8)
        tensors[f"h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    os.makedirs(path)
    save_file(tensors, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    config = {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": END_OF_TEXT, "embd_pdrop": 0.1, "eos_token_id": END_OF_TEXT, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": positions, "n_embd": model.config.n_embd,
        "n_head": model.config.n_head, "n_layer": model.config.n_layer, "n_positions": positions, "resid_pdrop": 0.1,
        "summary_activation": None, "summary_first_dropout": 0.1, "summary_proj_to_labels": True,
        "summary_type": "cls_index", "summary_use_proj": True,
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
        "vocab_size": model.config.vocab_size,
    }
    with open(os.path.join(path, "config.json"), "w") as file:
        json.dump(config, file, indent=2)


def write_untied(path, model, random):
    """Returns the weights of its lm_head."""
    model.config.tie_word_embeddings = False
    head = torch.from_numpy(0.2 * random.standard_normal(tuple(model.lm_head.weight.shape)).astype(np.float32))
    model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(path)
    return head


def loaded_logits(path, x):
    model = AutoModelForCausalLM.from_pretrained(path, dtype="auto", attn_implementation="eager").double().eval()
    with torch.no_grad():
        return model(x).logits


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default=os.path.normpath(
        os.path.join(root, "Tests", "LLMTests", "Fixtures", "huggingface")))
    output = parser.parse_args().output
    torch.set_num_threads(1)
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)

    config, B, T, seed = MODELS["small"]
    random = np.random.RandomState(seed)  # the draws of gpt2_fixtures.py, in its order
    parameters = random_parameters(config, random)
    x, _ = random_batch(config, B, T, random)

    def path(tag):
        return os.path.join(output, tag)

    expected = {}
    for tag, dtype in [("float32", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16)]:
        saved_model(parameters, config, dtype).save_pretrained(path(tag))
        rounded = {name: tensor.to(dtype).double() for name, tensor in parameters.items()}
        expected[tag] = gpt2.logits(rounded, config, x)
    saved_model(parameters, config, torch.float32).save_pretrained(path("sharded"), max_shard_size="20KB")
    write_old(path("old"), saved_model(parameters, config, torch.float32))
    head = write_untied(path("untied"), saved_model(parameters, config, torch.float32), random)

    for tag in ["float32", "float16", "bfloat16", "sharded", "old"]:
        worst = (loaded_logits(path(tag), x) - expected.get(tag, expected["float32"])).abs().max().item()
        assert worst < 1e-9, f"{tag} gives other logits, by {worst}"
    # Its logits are those of another head: the hidden states are the least-squares solution of the tied ones.
    hidden = torch.linalg.lstsq(parameters["wte"].double(), expected["float32"].view(-1, config.V).T).solution
    worst = (loaded_logits(path("untied"), x).view(-1, config.V) - (head.double() @ hidden).T).abs().max().item()
    assert worst < 1e-9, f"untied gives other logits, by {worst}"

    def as_float32(values):
        # The shortest decimals that are read as the same float32.
        return [float(np.format_float_scientific(v, unique=True)) for v in values.flatten().numpy().astype(np.float32)]

    with open(path("logits.json"), "w") as file:
        json.dump({"inputs": x.tolist(), **{tag: as_float32(values) for tag, values in expected.items()}}, file,
                  separators=(",", ":"))
    total = 0
    for folder, _, names in sorted(os.walk(output)):
        for name in sorted(names):
            size = os.path.getsize(os.path.join(folder, name))
            total += size
            print(f"{size:8} {os.path.relpath(os.path.join(folder, name), output)}")
    print(f"{total:8} bytes")


if __name__ == "__main__":
    main()
