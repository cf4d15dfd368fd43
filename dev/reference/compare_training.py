"""Repeats a run of train_gpt2 in PyTorch and compares the losses, step by step.

It starts from the checkpoint our run wrote before its first step, reads the same tokens in the same order (llm.c's data
loader), takes the same learning rates, and prints both curves beside each other:

    .build/release/train_gpt2 -e d6 -i 'data/train_*.bin' -b 4 -t 64 -d 512 -x 50 -u 10 -q 0.1 -c 0.1 -o log …
    python dev/reference/compare_training.py --model log/model_00000000.bin --shards 'data/train_*.bin' \\
        --batch-size 4 --sequence-length 64 --total-batch-size 512 --steps 50 --warmup 10 --final-lr-fraction 0.1 \\
        --weight-decay 0.1 --log log/main.log

Exit code 1 if a step is missing from the log or a loss differs by more than --tolerance, 0.001 (the log has four
decimals).
"""

import argparse
import glob
import math
import re
import sys

import numpy as np
import torch

import gpt2


class MersenneTwister:
    """MT19937 with the seeding that torch, llm.c and we share; numpy's RandomState happens to be the same."""

    def __init__(self, seed):
        self.random = np.random.RandomState(seed)

    def next(self):
        return int(self.random.randint(0, 2**32, dtype=np.uint32))

    def shuffle(self, order):
        """Fisher and Yates from the end, in llm.c's order of draws."""
        for i in range(len(order) - 1, 0, -1):
            j = self.next() % (i + 1)
            order[i], order[j] = order[j], order[i]

    @staticmethod
    def check():
        # The value that the C++ standard asks of std::mt19937: its 10,000th number from seed 5489.
        twister = MersenneTwister(5489)
        for _ in range(9999):
            twister.next()
        assert twister.next() == 4123659995, "numpy's RandomState is no longer the MT19937 of old"


class Loader:
    """llm.c's shuffled data loader for one process: an endless stream of batches x, y (B,T).

    A sample is B·T tokens and the one after them. An epoch visits the shards in a shuffled order, and each shard's
    samples in an order shuffled when it is opened. As in llm.c the shards are shuffled in place, from the last epoch's
    order, and the samples from 0, 1, 2, …; one generator makes all draws.
    """

    def __init__(self, pattern, B, T, seed):
        paths = sorted(glob.glob(pattern))
        if not paths:
            sys.exit(f"error: no file matches {pattern}\nhint: quote the pattern, so that the shell leaves it alone")
        self.shards = [gpt2.read_shard(path) for path in paths]
        for path, shard in zip(paths, self.shards):
            if len(shard) < B * T + 1:
                sys.exit(f"error: {path} is shorter than one batch of {B * T} tokens\nhint: take a smaller batch")
        self.B, self.T = B, T
        self.random = MersenneTwister(seed)
        self.order = list(range(len(self.shards)))
        self.batches = self.stream()

    def stream(self):
        step = self.B * self.T
        while True:
            self.random.shuffle(self.order)
            for shard in (self.shards[index] for index in self.order):
                samples = list(range((len(shard) - 1) // step))
                self.random.shuffle(samples)
                for sample in samples:
                    tokens = torch.from_numpy(shard[sample * step:(sample + 1) * step + 1])
                    yield tokens[:-1].view(self.B, self.T), tokens[1:].view(self.B, self.T)


def learning_rate(step, options):
    """llm.c's schedules; all but `constant` warm up."""
    peak, lowest = options.learning_rate, options.learning_rate * options.final_lr_fraction
    if options.schedule == "constant":
        return peak
    if step < options.warmup:
        return peak * (step + 1) / options.warmup
    if options.schedule == "wsd":
        turn = int(np.float32(0.8) * np.float32(options.steps))
        if step < turn:
            return peak
        return lowest + (1 - math.sqrt((step - turn) / (options.steps - turn))) * (peak - lowest)
    done = (step - options.warmup) / (options.steps - options.warmup)
    fraction = 0.5 * (1 + math.cos(math.pi * done)) if options.schedule == "cosine" else 1 - done
    return lowest + fraction * (peak - lowest)


def train(options):
    """Yields loss, learning rate and gradient norm (before clipping) of each step of gpt2.py's model."""
    config, parameters = gpt2.read_checkpoint(options.model)
    dtype = torch.float64 if options.double else torch.float32
    leaves = {name: tensor.to(dtype).requires_grad_() for name, tensor in parameters.items()}
    decayed = [leaf for name, leaf in leaves.items() if name in gpt2.DECAYED]
    others = [leaf for name, leaf in leaves.items() if name not in gpt2.DECAYED]
    return train_steps(options, config, decayed, others, lambda x, y: gpt2.mean_loss(leaves, config, x, y)[1])


def train_steps(options, config, decayed, others, mean_loss):
    """The same for any model: its parameters with and without weight decay, and its mean loss of a batch x, y (B,T)."""
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=options.learning_rate, betas=(0.9, 0.95), eps=1e-8)
    B, T = options.batch_size, options.sequence_length
    total = options.total_batch_size or B * T
    if total % (B * T) != 0 or T > config.maxT:
        sys.exit(f"error: the total batch must be a multiple of B·T = {B * T}, and T at most {config.maxT}\n"
                 "hint: give the settings our run had")
    loader = Loader(options.shards, B, T, options.seed)
    if max(int(shard.max()) for shard in loader.shards) >= config.V:
        sys.exit(f"error: a shard holds tokens above the model's vocabulary of {config.V}\nhint: tokenize it again")
    accumulation = total // (B * T)

    for step in range(options.steps):
        optimizer.zero_grad()
        mean = 0.0
        for _ in range(accumulation):
            x, y = next(loader.batches)
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
                loss = mean_loss(x, y)
            (loss / accumulation).backward()
            mean += loss.item() / accumulation
        norm = math.sqrt(sum(leaf.grad.double().square().sum().item() for leaf in decayed + others))
        if norm > options.clip:
            for leaf in decayed + others:
                leaf.grad.mul_(options.clip / norm)  # llm.c adds no epsilon here, unlike torch's clip_grad_norm_
        rate = learning_rate(step, options)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        yield mean, rate, norm


def read_log(path):
    """Step → loss, learning rate and norm of the training lines, `s:%d trl:%.4f lr:%.6f norm:%.2f`."""
    ours = {}
    with open(path) as file:
        for line in file:
            match = re.match(r"s:(\d+) trl:(\S+) lr:(\S+) norm:(\S+)", line)
            if match:
                ours[int(match[1])] = tuple(float(match[i]) for i in (2, 3, 4))
    return ours


def add_options(parser, needs_run=True):
    """What our run was given; its data and log only if they are needed."""
    parser.add_argument("--model", required=True, help="our checkpoint from before the first step")
    parser.add_argument("--shards", required=needs_run, help="pattern of the training shards, quoted")
    parser.add_argument("--log", required=needs_run, help="our main.log")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--sequence-length", type=int, default=1024)
    parser.add_argument("--total-batch-size", type=int, help="tokens in one update (default: one micro-batch)")
    parser.add_argument("--steps", type=int, default=50, help="steps our run was given (-x), whatever its epochs")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--warmup", type=int, default=0)
    parser.add_argument("--schedule", choices=["cosine", "linear", "constant", "wsd"], default="cosine")
    parser.add_argument("--final-lr-fraction", type=float, default=1.0)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=42, help="of the data order")
    parser.add_argument("--first", type=int, help="compare the first N steps only; the schedule stays")
    parser.add_argument("--double", action="store_true", help="compute in float64")
    parser.add_argument("--bfloat16", action="store_true", help="autocast, to compare with --dtype bfloat16")
    parser.add_argument("--tolerance", type=float, default=1e-3)


def compare(options, theirs):
    """Prints the log of our run beside the steps of another, and returns how many of them are out of tolerance."""
    MersenneTwister.check()
    ours = read_log(options.log)
    bad, worst = 0, 0.0
    last = min(options.first or options.steps, options.steps)
    print(f"{'step':>5} {'ours':>9} {'torch':>9} {'difference':>11}   {'lr ours':>9} {'torch':>9}   "
          f"{'norm ours':>9} {'torch':>9}")
    for step, (loss, rate, norm) in enumerate(theirs):
        if step == last:
            break
        if step in ours:
            our_loss, our_rate, our_norm = ours[step]
            difference = our_loss - loss
            # Written so that a NaN on either side counts as a difference.
            fits = abs(difference) <= options.tolerance and abs(our_rate - rate) <= 1.5e-6
            worst = max(worst, abs(difference))
            texts = f"{our_loss:9.4f} {loss:9.4f} {difference:+11.5f}   {our_rate:9.6f} {rate:9.6f}   " \
                    f"{our_norm:9.2f} {norm:9.2f}"
        else:
            fits = False
            texts = f"{'missing':>9} {loss:9.4f} {'':>11}   {'':>9} {rate:9.6f}   {'':>9} {norm:9.2f}"
        bad += not fits
        print(f"{step:5} {texts}{'' if fits else '  ←'}", flush=True)
    print(f"{last} steps compared, largest difference of the loss {worst:.5f}, {bad} steps out of tolerance")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args()
    sys.exit(1 if compare(options, train(options)) else 0)


if __name__ == "__main__":
    main()
