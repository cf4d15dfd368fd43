"""Writes a new BERT and fifty masked steps of it for test_bert: the masks, and the losses of PyTorch.

    python dev/reference/bert_training.py --text FILE --output DIR [--distil]
    .build/release/test_bert DIR/model DIR/reference.safetensors --loss-tolerance 1e-3

The model begins as transformers begins it, and learns in float32, without dropout, as PyTorch does it. Its tokens are the
file's bytes. A step is 8 texts of 16 to 128 tokens, each between [CLS] and [SEP]; 15% of the others are targets, of which
80% become [MASK] and 10% another byte.
"""

import argparse
import os

import numpy as np
import torch
import transformers
from transformers import BertForMaskedLM, DistilBertForMaskedLM

from bert_fixtures import PAD, Config, check, save, train

CLS, SEP, MASK, BYTES = 1, 2, 3, 4


def masked_batch(text, B, longest, random):
    """inputs, mask, targets, segments (B,T)."""
    lengths = random.randint(16, longest + 1, size=B)
    T = lengths.max()
    inputs = np.full((B, T), PAD)
    targets = np.full((B, T), -100)
    for b, length in enumerate(lengths):
        start = random.randint(0, len(text) - length)
        ids = text[start:start + length - 2].astype(np.int64) + BYTES
        chosen = random.random_sample(len(ids)) < 0.15
        targets[b, 1:length - 1][chosen] = ids[chosen]
        draw = random.random_sample(len(ids))
        other = random.randint(0, 256, size=len(ids)) + BYTES
        ids = np.where(chosen & (draw < 0.8), MASK, np.where(chosen & (draw < 0.9), other, ids))
        inputs[b, :length] = np.concatenate(([CLS], ids, [SEP]))
    mask = (np.arange(T)[None, :] < lengths[:, None]).astype(np.int64)
    # Batches of one file have one width.
    def padded(values, fill):
        return torch.from_numpy(np.pad(values, ((0, 0), (0, longest - T)), constant_values=fill))
    return (padded(inputs, PAD), padded(mask, 0), padded(targets, -100), torch.zeros(B, longest, dtype=torch.long)), lengths


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, metavar="DIR")
    parser.add_argument("--distil", action="store_true", help="a DistilBERT")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(1)
    random = np.random.RandomState(1)
    config = Config(DistilBertForMaskedLM if options.distil else BertForMaskedLM, maxT=128, V=BYTES + 256, L=4, NH=4,
                    C=128, intermediate=512)
    path = os.path.join(options.output, "model")
    config.new_model().save_pretrained(path)
    model = config.kind.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").eval()
    text = np.fromfile(options.text, dtype=np.uint8)
    drawn = [masked_batch(text, 8, 128, random) for _ in range(options.steps)]
    batches = [batch for batch, _ in drawn]
    hidden, pooled, logits, gradients, worst = check(model.double(), config, drawn[0][1].tolist(), *batches[0])
    losses = train(model.float(), config, batches, options.steps)
    save(os.path.join(options.output, "reference.safetensors"), config, batches, hidden, pooled, logits, gradients, losses)
    print(f"off the independent BERT by {worst:.0e}; loss {losses[0]:.6f} → {losses[-1]:.6f}")


if __name__ == "__main__":
    main()
