"""Writes what transformers computes with a model directory, for the test that is given the directory by LLM_TEST_HF_DIR.

MODEL_DIR/llm_logits.json holds
    ids         a batch (B,T) of random token ids
    positions   the last positions of each row
    logits      (B,positions,V), computed in float64 from the weights as they are stored and rounded to float32

It works with any causal or masked language model that transformers loads, GPT-2, Phi and BERT among them. The attention is "sdpa":
"eager" takes the softmax of some models, Phi's for one, in float32 even here.

    python dev/reference/huggingface_logits.py MODEL_DIR
"""

import argparse
import json
import os

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM

B, T, POSITIONS = 2, 64, 3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="MODEL_DIR")
    directory = parser.parse_args().directory

    is_masked = AutoConfig.from_pretrained(directory, local_files_only=True).model_type in ("bert", "distilbert")
    model = (AutoModelForMaskedLM if is_masked else AutoModelForCausalLM).from_pretrained(
        directory, dtype="auto", attn_implementation="sdpa", local_files_only=True).double().eval()
    longest = min(T, getattr(model.config, "max_position_embeddings", T))
    ids = torch.from_numpy(np.random.RandomState(7).randint(0, model.config.vocab_size, size=(B, longest)))
    positions = list(range(max(0, longest - POSITIONS), longest))
    with torch.no_grad():
        logits = model(ids).logits[:, positions]
    path = os.path.join(directory, "llm_logits.json")
    with open(path, "w") as file:
        values = logits.numpy().astype(np.float32)
        # Nine digits are read as the same float32.
        json.dump({"ids": ids.tolist(), "positions": positions,
                   "logits": [[[float(f"{v:.9g}") for v in row] for row in rows] for rows in values]}, file,
                  separators=(",", ":"))
    print(f"{path}: ids {tuple(ids.shape)}, logits {values.shape} from {values.min():.4f} to {values.max():.4f}")


if __name__ == "__main__":
    main()
