"""Writes LoRA adapters with Hugging Face's peft, for the tests of reading and writing them, into
Tests/LLMTests/Fixtures/peft.

    gpt2/<tag>/         an adapter of the model in huggingface/float32, as save_pretrained writes it
    phi/<tag>/          one of the model in phi/full
    logits.safetensors  inputs.<kind> (B,T), and under <kind>.<tag> the logits (B,T,V) that the adapter gives

All of an adapter's values are random and not zero: A and B, and what it has in place of the model's. Each is loaded
again, onto a fresh model, and merged, before its logits are computed in float64; they are rounded once, when they are
stored. Merged, because peft 0.21 leaves out the bias of a classifier that has rows of tokens until it is merged
(TrainableTokensLayer.forward_adapters). In all other cases the logits before are asserted to be the same.

    python dev/reference/peft_fixtures.py [--output DIR]
"""

import argparse
import json
import os
import shutil
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

FIXTURES = os.path.normpath(os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", "Tests", "LLMTests", "Fixtures"))
BASES = {"gpt2": "huggingface/float32", "phi": "phi/full"}
INPUTS = {"gpt2": [[3, 1, 4, 60], [58, 59, 0, 26]], "phi": [[3, 1, 4, 39], [2, 38, 0, 26]]}
# New words behind the vocabulary, and texts with them in it.
GROWN = {"gpt2": 63, "phi": 42}
GROWN_INPUTS = {"gpt2": [[3, 62, 4, 60], [61, 59, 0, 26]], "phi": [[3, 41, 4, 39], [40, 38, 0, 26]]}

# Settings of LoraConfig, and of the case: "grown" has new words, "rows" saves no whole embeddings beside their rows,
# "half" stores float16.
CASES = {
    "gpt2": {
        "default": dict(lora_alpha=3),
        "all_linear": dict(target_modules="all-linear"),
        "names": dict(target_modules=["mlp.c_proj", "c_fc", "transformer.h.0.attn.c_attn"]),
        "regex": dict(target_modules=r".*\.(0|1)\.(attn\.c_attn|mlp\.c_(?:fc|proj))$", exclude_modules=r".*h\.0\.mlp.*"),
        "patterns": dict(target_modules=["c_attn", "c_proj"], use_rslora=True, lora_alpha=5,
                         # save_pretrained sorts the keys, and the first that matches counts.
                         rank_pattern={"^transformer.h.0.attn.c_proj": 3, r"attn\.c_[a-pr-z]+": 1, "c_proj": 4},
                         alpha_pattern={"attn.c_proj|h.1.mlp.c_proj": 7, "c_proj": 2}),
        # The whole name is not subject to layers_to_transform.
        "layers": dict(target_modules=["c_fc", "transformer.h.0.attn.c_attn"], layers_to_transform=[1],
                       layers_pattern="h"),
        "excluded": dict(target_modules=["c_attn", "c_proj"], exclude_modules=["mlp.c_proj", "transformer.h.1.attn.c_attn"]),
        "saved": dict(target_modules=["c_attn", "c_proj"], modules_to_save=["ln_f", "h.0.ln_1", "h.1.mlp"]),
        "bias_lora": dict(target_modules=["c_attn", "c_fc"], bias="lora_only"),
        "bias_all": dict(target_modules=["c_attn"], bias="all"),
        "tokens": dict(trainable_token_indices=[60, 3]),
        "grown": dict(),
        "grown_tokens": dict(trainable_token_indices={"wte": [61, 62]}),
        "grown_rows": dict(trainable_token_indices={"wte": [62, 61]}),
        "float16": dict(),
    },
    "phi": {
        "default": dict(lora_alpha=3),
        "all_linear": dict(target_modules="all-linear", use_rslora=True),
        "names": dict(target_modules=["q_proj", "dense", "fc2"], rank_pattern={"fc2": 3}),
        "regex": dict(target_modules=r"^(?!.*fc2).*\.layers\.[\d]{1,}\..*?(?:[kv]_proj|fc[12])\b"),
        "saved": dict(target_modules=["fc1"], modules_to_save=["lm_head", "embed_tokens", "final_layernorm"]),
        "head": dict(target_modules=["lm_head", "fc1"]),
        "bias_lora": dict(target_modules=["k_proj", "lm_head"], bias="lora_only"),
        "bias_all": dict(target_modules=["v_proj"], bias="all"),
        "tokens": dict(trainable_token_indices=[5, 39]),
        "grown": dict(),
        "grown_rows": dict(trainable_token_indices={"embed_tokens": [40, 41], "lm_head": [40, 41]}),
    },
}


def fresh_model(kind, tag):
    torch.manual_seed(1)  # A is drawn, and so are new rows, close around the mean of the others
    model = AutoModelForCausalLM.from_pretrained(BASES[kind])
    if tag.startswith("grown"):
        model.resize_token_embeddings(GROWN[kind])
    return model


def logits(model, kind, tag):
    x = torch.tensor((GROWN_INPUTS if tag.startswith("grown") else INPUTS)[kind])
    with torch.no_grad():
        return model.double().eval()(x).logits.float()


def write_adapter(path, kind, tag, settings):
    config = LoraConfig(**{"r": 2, "task_type": "CAUSAL_LM"} | settings)
    model = get_peft_model(fresh_model(kind, tag), config)
    random = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            with torch.no_grad():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=random))
    model.save_pretrained(path, save_embedding_layers=False if tag == "grown_rows" else "auto")
    os.remove(os.path.join(path, "README.md"))
    weights = os.path.join(path, "adapter_model.safetensors")
    if tag == "float16":
        save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    # What is a set in memory would be in another order each time.
    with open(os.path.join(path, "adapter_config.json")) as file:
        saved = json.load(file)
    for name in ["target_modules", "exclude_modules"]:
        if isinstance(saved[name], list):
            saved[name].sort()
    with open(os.path.join(path, "adapter_config.json"), "w") as file:
        json.dump(saved, file, indent=2, sort_keys=True)
    loaded = PeftModel.from_pretrained(fresh_model(kind, tag), path).double()
    before = logits(loaded, kind, tag)
    result = logits(loaded.merge_and_unload(), kind, tag)
    if "lm_head" not in (settings.get("trainable_token_indices") or []):
        error = ((result - before).norm() / result.norm()).item()
        assert error < 1e-6, f"{kind}/{tag} has other logits when it is merged, by {error}"
    plain = logits(fresh_model(kind, tag), kind, tag)
    change = ((result - plain).norm() / plain.norm()).item()
    assert change > 1e-2, f"{kind}/{tag} changes the logits by {change} only"
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default=os.path.join(FIXTURES, "peft"))
    output = os.path.abspath(parser.parse_args().output)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.chdir(FIXTURES)  # adapter_config.json has the path of the base, and must have it without this machine's folders
    shutil.rmtree(output, ignore_errors=True)
    tensors = {}
    for kind, cases in CASES.items():
        tensors[f"inputs.{kind}"] = torch.tensor(INPUTS[kind]).float()
        tensors[f"inputs.{kind}.grown"] = torch.tensor(GROWN_INPUTS[kind]).float()
        for tag, settings in cases.items():
            tensors[f"{kind}.{tag}"] = write_adapter(os.path.join(output, kind, tag), kind, tag, settings)
    save_file(tensors, os.path.join(output, "logits.safetensors"), {"format": "pt"})
    total = 0
    for folder, _, names in sorted(os.walk(output)):
        size = sum(os.path.getsize(os.path.join(folder, name)) for name in names)
        total += size
        print(f"{size:8} {os.path.relpath(folder, output)}")
    print(f"{total:8} bytes")


if __name__ == "__main__":
    main()
