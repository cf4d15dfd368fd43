"""Checks a BERT or DistilBERT directory that we wrote: AutoModel and AutoModelForMaskedLM load it, and compute what the
reference says that it was written from. What transformers misses or did not expect is printed.

    python dev/reference/bert_check.py DIR REFERENCE.safetensors

REFERENCE is one of bert_fixtures.py's. Hidden states, pooled vectors and logits, as far as the reference has them and the
class gives them, must agree to 1e-5. Exit code 1 if not.
"""

import argparse
import contextlib
import io
import logging
import sys

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM


def load(kind, path):
    """The model, and whatever transformers had to say."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    transformers.utils.logging.add_handler(handler)
    with contextlib.redirect_stderr(said):
        model, info = kind.from_pretrained(path, output_loading_info=True)
    transformers.utils.logging.remove_handler(handler)
    return model.eval(), {key: value for key, value in info.items() if value}, said.getvalue()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("reference", metavar="REFERENCE")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    reference = load_file(options.reference)
    inputs, mask = (reference[name][0].long() for name in ("inputs", "mask"))
    arguments = {"attention_mask": mask}
    if "segments" in reference:
        arguments["token_type_ids"] = reference["segments"][0].long()
    failures = 0
    for kind in (AutoModel, AutoModelForMaskedLM):
        model, info, said = load(kind, options.directory)
        out = model(inputs, output_hidden_states=True, **arguments)
        found = {"hidden": out.hidden_states[-1], "logits": getattr(out, "logits", None),
                 "pooled": getattr(out, "pooler_output", None)}
        for name, ours in found.items():
            if ours is None or name not in reference:
                continue
            difference = (ours - reference[name])
            if name != "pooled":
                difference = difference[mask.bool()]
            worst = difference.abs().max().item()
            failures += not worst < 1e-5
            print(f"{type(model).__name__} {name}: largest difference {worst:.1e}")
        print(f"{type(model).__name__}: {info or 'nothing missing or unexpected'} {said.strip()}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
