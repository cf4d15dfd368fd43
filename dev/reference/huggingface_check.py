"""Checks a Hugging Face model directory that we exported, with transformers.

    - AutoModelForCausalLM and AutoTokenizer load it without any warning, no parameter is missing and none is left over
    - every parameter has the bits of our checkpoint (rounded, if the directory is in bfloat16)
    - config.json, generation_config.json and the tokenizer agree about the ids of bos, eos and pad, and the vocabulary
      has them
    - with --shards and --log: trained further from there in PyTorch, it has the losses that train_gpt2 logged when it
      started from the same checkpoint (-x 10, without its own warm-up unless --warmup says so)

    python dev/reference/huggingface_check.py EXPORTED_DIR --model log/model_00000000.bin
    python dev/reference/huggingface_check.py EXPORTED_DIR --model log/model_00000000.bin --shards 'data/train_*.bin' \\
        --log log/main.log --steps 10 --batch-size 4 --sequence-length 64

The options of the run are those of compare_training.py. Exit code 1 if anything differs.
"""

import argparse
import logging
import sys
import warnings

import torch
import transformers

import compare_training
import gpt2

LAYERED = {
    "ln1w": "ln_1.weight", "ln1b": "ln_1.bias", "qkvw": "attn.c_attn.weight", "qkvb": "attn.c_attn.bias",
    "attprojw": "attn.c_proj.weight", "attprojb": "attn.c_proj.bias", "ln2w": "ln_2.weight", "ln2b": "ln_2.bias",
    "fcw": "mlp.c_fc.weight", "fcb": "mlp.c_fc.bias", "fcprojw": "mlp.c_proj.weight", "fcprojb": "mlp.c_proj.bias",
}
SINGLE = {"wte": "wte.weight", "wpe": "wpe.weight", "lnfw": "ln_f.weight", "lnfb": "ln_f.bias"}
TRANSPOSED = {"qkvw", "attprojw", "fcw", "fcprojw"}  # transformers' are (in,out)

problems = 0


def check(fits, what, wrong=""):
    global problems
    problems += not fits
    print(f"{'ok   ' if fits else 'WRONG'} {what}{'' if fits else f': {wrong}'}", flush=True)


class Collector(logging.Handler):
    """Everything that transformers logs from warnings upwards."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def warnings_of(load):
    """What `load` returns, and what was said meanwhile."""
    collector = Collector()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.add_handler(collector)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load()
    transformers.utils.logging.remove_handler(collector)
    return loaded, collector.messages + [str(warning.message) for warning in caught]


def load(directory):
    """Model and tokenizer, and what was said while they were loaded."""
    def both():
        loaded = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype="auto", local_files_only=True, output_loading_info=True)
        return loaded, transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    ((model, report), tokenizer), said = warnings_of(both)
    said += [f"{kind}: {names}" for kind, names in report.items() if names]
    return model.eval(), tokenizer, said


def expected_parameters(path):
    """transformers' names and shapes for the parameters of our checkpoint."""
    config, parameters = gpt2.read_checkpoint(path)
    expected = {}
    for name, tensor in parameters.items():
        if name in SINGLE:
            expected[f"transformer.{SINGLE[name]}"] = tensor
            continue
        for layer in range(config.L):
            part = tensor[layer].T if name in TRANSPOSED else tensor[layer]
            expected[f"transformer.h.{layer}.{LAYERED[name]}"] = part
    return config, expected


def same_bits(a, b):
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    integers = torch.int32 if a.element_size() == 4 else torch.int16
    return torch.equal(a.contiguous().view(integers), b.contiguous().view(integers))


def check_ids(model, tokenizer):
    check(len(tokenizer) > 1 and len(tokenizer) <= model.config.vocab_size, "the tokenizer fits the vocabulary",
          f"{len(tokenizer)} tokens for {model.config.vocab_size}")
    for role in ("bos", "eos", "pad"):
        values = [getattr(source, f"{role}_token_id", None)
                  for source in (model.config, model.generation_config, tokenizer)]
        if role == "pad" and values[0] is None and values[2] is None:
            # Without a token for padding generate() takes the end of text; written down, it does so without a warning.
            values[1] = None if values[1] == model.config.eos_token_id else values[1]
        fits = len(set(values)) == 1 and (role == "pad" or values[0] is not None)
        fits = fits and (values[0] is None or 0 <= values[0] < model.config.vocab_size)
        check(fits, f"{role} is {values[0]}", f"config, generation_config and tokenizer have {values}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="EXPORTED_DIR")
    compare_training.add_options(parser, needs_run=False)
    options = parser.parse_args()
    if (options.shards is None) != (options.log is None):
        parser.error("--shards and --log go together")

    model, tokenizer, said = load(options.directory)
    check(not said, "loaded without a warning", "\n      ".join(said))

    config, expected = expected_parameters(options.model)
    theirs = dict(model.named_parameters())
    check(set(theirs) == set(expected), f"{len(expected)} parameters", f"{set(theirs) ^ set(expected)}")
    sizes = {"vocab_size": config.V, "n_positions": config.maxT, "n_layer": config.L, "n_head": config.NH,
             "n_embd": config.C}
    for name, size in sizes.items():
        check(getattr(model.config, name) == size, f"{name} is {size}", getattr(model.config, name))
    different = [name for name, tensor in expected.items()
                 if name not in theirs or not same_bits(theirs[name].detach(), tensor.to(theirs[name].dtype))]
    check(not different, f"their bits, in {model.dtype}", different)
    check(model.lm_head.weight is model.transformer.wte.weight, "the classifier is tied")
    check_ids(model, tokenizer)

    if options.log is not None and problems == 0:
        dtype = torch.float64 if options.double else torch.float32
        model.to(dtype)  # stays in eval mode: we have no dropout
        decayed = [parameter for parameter in model.parameters() if parameter.dim() == 2]
        others = [parameter for parameter in model.parameters() if parameter.dim() != 2]

        def mean_loss(x, y):
            logits = model(x).logits
            return torch.nn.functional.cross_entropy(logits.view(-1, config.V), y.reshape(-1))

        bad = compare_training.compare(
            options, compare_training.train_steps(options, config, decayed, others, mean_loss))
        check(bad == 0, "trains on as ours does", f"{bad} steps differ")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
