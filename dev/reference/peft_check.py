"""Checks LoRA adapters that we wrote, with Hugging Face's peft.

    - PeftModel.from_pretrained puts each on its model without any warning. A model whose vocabulary is too small for the
      adapter's new words is resized first, as peft asks for
    - every tensor of the file is in the model, bit by bit, and the model has no other of the adapter's kinds
    - where the adapter has a tokenizer, it fits
    - with --like, the logits of another adapter, in the same order: to 1e-5. Both are merged for that: until then
      peft 0.21 leaves out the bias of a classifier that has rows of tokens
    - with --generate, what the program `generate --adapter ADAPTER --greedy` writes is what transformers' generate() does

    python dev/reference/peft_check.py BASE ADAPTER… [--like DIR…] [--generate .build/release/generate]
        [--text "Once upon"] [--tokens 40]

Exit code 1 if anything is wrong.
"""

import argparse
import json
import os
import subprocess
import sys

import torch
from peft import PeftModel
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import huggingface_check
from huggingface_check import check, same_bits, warnings_of


def new_words(adapter):
    """The vocabulary that the adapter needs, as far as its rows say."""
    with open(os.path.join(adapter, "adapter_config.json")) as file:
        rows = json.load(file).get("trainable_token_indices") or []
    return max([id + 1 for ids in (rows.values() if isinstance(rows, dict) else [rows]) for id in ids], default=0)


def load(base, adapter):
    """The model with the adapter on it, and what the libraries said meanwhile."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if model.config.vocab_size < new_words(adapter):
        model.resize_token_embeddings(new_words(adapter))
    model, said = warnings_of(lambda: PeftModel.from_pretrained(model, adapter).eval())
    # What peft itself does that this transformers does not like.
    return model, [text for text in said if "is_gradient_checkpointing" not in text]


def logits(model):
    random = torch.Generator().manual_seed(1)
    V, T = model.config.vocab_size, min(32, model.config.max_position_embeddings)
    with torch.no_grad():
        return model(torch.randint(0, V, (2, T), generator=random)).logits


def check_adapter(base, adapter):
    """Prints what is right and wrong. Returns the model."""
    print(adapter)
    model, said = load(base, adapter)
    check(not said, "loaded without a warning", "\n      ".join(said))
    stored = load_file(os.path.join(adapter, "adapter_model.safetensors"))
    loaded = get_peft_model_state_dict(model, save_embedding_layers=False)
    check(set(stored) == set(loaded), f"{len(loaded)} tensors", f"{set(stored) ^ set(loaded)}")
    different = [name for name in stored.keys() & loaded.keys() if not same_bits(stored[name], loaded[name].detach())]
    check(not different, "their bits", different)
    return model.merge_and_unload()


def check_greedy(program, model, base, adapter, text, count):
    """Compares what the program writes with transformers' generate()."""
    has_tokenizer = os.path.exists(os.path.join(adapter, "tokenizer.json"))
    tokenizer = AutoTokenizer.from_pretrained(adapter if has_tokenizer else base)
    check(len(tokenizer) <= model.config.vocab_size, "the tokenizer fits",
          f"{len(tokenizer)} tokens, and a vocabulary of {model.config.vocab_size}")
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"] if text else [tokenizer.eos_token_id]
    ids = torch.tensor([prompt])
    count = min(count, model.config.max_position_embeddings - len(prompt))
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count,
                         pad_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id, output_logits=True,
                         return_dict_in_generate=True)
    best = torch.cat(out.logits).float().topk(2).values
    margin = (best[:, 0] - best[:, 1]).min().item()
    command = [program, "--model", base, "--adapter", adapter, "--greedy", "--json", "--max-new-tokens", str(count)]
    result = subprocess.run(command + (["--prompt", text] if text else []), capture_output=True, text=True)
    check(result.returncode == 0, "generate runs", result.stderr)
    ours = json.loads(result.stdout)["tokens"] if result.returncode == 0 else None
    theirs = out.sequences[0, len(prompt):].tolist()
    check(ours == theirs, f"{len(theirs)} tokens of generate, the closest decided by {margin:.4f}", f"{ours}, not {theirs}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", metavar="BASE")
    parser.add_argument("adapters", metavar="ADAPTER", nargs="+")
    parser.add_argument("--like", metavar="DIR", nargs="+", default=[], help="adapters whose logits these must have")
    parser.add_argument("--generate", metavar="PROGRAM", help="our program generate")
    parser.add_argument("--text", default="", help="the text to continue")
    parser.add_argument("--tokens", type=int, default=40, help="tokens to write at most, within the model's positions")
    options = parser.parse_args()
    if options.like and len(options.like) != len(options.adapters):
        parser.error("--like takes as many adapters as there are")
    for i, adapter in enumerate(options.adapters):
        model = check_adapter(options.base, adapter)
        if options.like:
            expected = logits(load(options.base, options.like[i])[0].merge_and_unload())
            error = ((logits(model) - expected).norm() / expected.norm()).item()
            check(error < 1e-5, f"the logits of {options.like[i]}, to {error:.0e}", f"they differ by {error:.0e}")
        if options.generate:
            check_greedy(options.generate, model, options.base, adapter, options.text, options.tokens)
    sys.exit(1 if huggingface_check.problems else 0)


if __name__ == "__main__":
    main()
