"""Checks a Phi directory that we wrote, with transformers, and continues a text greedily.

    - AutoModelForCausalLM and AutoTokenizer load it without any warning, as a PhiForCausalLM; no parameter is missing
      and none is left over
    - every parameter has the bits of the file
    - config.json, generation_config.json and the tokenizer agree about the ids of bos, eos and pad, and the vocabulary
      has them
    - what it writes, to be set beside `generate --model DIR --greedy --prompt TEXT`

    python dev/reference/phi_check.py DIR [--text "Once upon"] [--tokens 40] [--json]

Without --text the text begins with the end of text, as it does with generate. --json prints the ids alone, to be
compared by a program; the checks then go to standard error. Exit code 1 if anything is wrong.
"""

import argparse
import contextlib
import glob
import json
import os
import sys

import torch
from safetensors import safe_open
from transformers import PhiForCausalLM

import huggingface_check
from huggingface_check import check, check_ids, load, same_bits


def stored_tensors(directory):
    """The tensors of the model's files, one or several."""
    tensors = {}
    for path in sorted(glob.glob(os.path.join(directory, "model*.safetensors"))):
        with safe_open(path, "pt") as file:
            for name in file.keys():
                if name in tensors:
                    check(False, f"{name} is stored once", f"again in {path}")
                tensors[name] = file.get_tensor(name)
    return tensors


def check_model(directory):
    """Prints what is right and wrong. Returns model and tokenizer."""
    model, tokenizer, said = load(directory)
    check(not said, "loaded without a warning", "\n      ".join(said))
    check(type(model) is PhiForCausalLM, "a PhiForCausalLM", type(model).__name__)
    stored, loaded = stored_tensors(directory), dict(model.named_parameters())
    check(set(stored) == set(loaded), f"{len(loaded)} tensors", f"{set(stored) ^ set(loaded)}")
    different = [name for name in stored.keys() & loaded.keys() if not same_bits(stored[name], loaded[name].detach())]
    check(not different, f"their bits, in {model.dtype}", different)
    check(all(tensor.isfinite().all() for tensor in stored.values()), "all finite")
    config = model.config
    count = sum(tensor.numel() for tensor in loaded.values())
    print(f"      {count} parameters: {config.num_hidden_layers} layers, {config.num_attention_heads} heads, "
          f"{config.hidden_size} channels, {config.intermediate_size} in the MLP, vocabulary {config.vocab_size}, "
          f"{config.max_position_embeddings} positions, {config.rope_parameters}")
    check_ids(model, tokenizer)
    return model, tokenizer


def continue_text(model, tokenizer, text, count):
    """Ids of the prompt and of what follows, and by how much the closest choice was decided."""
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"] if text else [model.config.eos_token_id]
    room = model.config.max_position_embeddings - len(prompt)
    if room < 1:
        sys.exit(f"error: the prompt has {len(prompt)} tokens, and the model {room + len(prompt)} positions\n"
                 "hint: take a shorter --text")
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=min(count, room),
                         pad_token_id=model.config.eos_token_id, output_logits=True, return_dict_in_generate=True)
    best = torch.cat(out.logits).float().topk(2).values
    return prompt, out.sequences[0, len(prompt):].tolist(), (best[:, 0] - best[:, 1]).min().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("--text", default="", help="the text to continue")
    parser.add_argument("--tokens", type=int, default=40, help="tokens to write at most, within the model's positions")
    parser.add_argument("--json", action="store_true", help="print ids as JSON")
    options = parser.parse_args()

    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        model, tokenizer = check_model(options.directory)
        prompt, tokens, margin = continue_text(model, tokenizer, options.text, options.tokens)
    if options.json:
        print(json.dumps({"prompt_tokens": prompt, "tokens": tokens}))
    else:
        print(f"\nprompt {prompt}\ntokens {tokens}\nthe closest choice was decided by {margin:.4f}\n---\n"
              f"{tokenizer.decode(prompt + tokens)}")
    sys.exit(1 if huggingface_check.problems else 0)


if __name__ == "__main__":
    main()
