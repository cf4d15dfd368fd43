"""What several machines give: a model of a training step over a network, and its table.

A step of R ranks is what GradientSum.swift does. Each rank computes its micro-batches. During the last backward pass a
layer's gradients go off as soon as they are complete, one piece after another; when the pass has ended, what is left of
them goes, then the embeddings, and everybody waits. Each piece of n bytes is sent in two rounds, (R − 1)/R · n in each,
and added up between them.

    python3 machines.py                 the table of dev/doc/many-machines.md
    python3 machines.py --check         the model against measured steps
    python3 machines.py --layers 12 --channels 768 --vocabulary 50257 --rate 531 [--batch 524288] [--rows 4096]

--rate is measured: the tokens a second of one machine, `train_gpt2` alone. The other figures are --link, the part of the
network's bits that the payload gets (of a shaped link 0.95 with two ranks, 0.9 with three or four), --latency
in seconds, and --memory, bytes a second.
"""

import argparse

PIECE = 16 << 20  # bytes of a piece at most: pieceCount of GradientSum.swift


def sizes(layers, channels, vocabulary, positions=1024):
    """Parameters of a layer, and of what is not in one."""
    padded = (vocabulary + 127) // 128 * 128
    return 12 * channels**2 + 13 * channels, (padded + positions + 2) * channels


def step(layers, channels, ranks, pass_seconds, passes, gigabits, arguments, positions=1024):
    """The seconds of a step and, of those, the seconds of waiting for the gradients of others.

    pass_seconds: of a micro-batch forward and backward; passes: micro-batches of each rank."""
    layer, rest = sizes(layers, channels, arguments.vocabulary, positions)
    bandwidth, memory = gigabits * 1e9 / 8 * arguments.link, arguments.memory
    share = (ranks - 1) / ranks

    def exchange(count):
        """The seconds in which so many floats become sums."""
        if ranks == 1:
            return 0
        size = 4 * count
        pieces = -(-size // PIECE)
        # Adding reads two vectors and writes one.
        return 2 * (share * size / bandwidth + pieces * arguments.latency) + 3 * share * size / memory

    # The backward pass is two thirds of a pass. It begins with the classifier.
    work = layers * layer + rest
    begin = (passes - 2 / 3) * pass_seconds
    backward = pass_seconds * 2 / 3
    computed = begin + backward * (work - layers * layer) / work
    free = 0.0
    for _ in range(layers):
        computed += backward * layer / work
        free = max(free, computed) + exchange(layer)
    end = passes * pass_seconds
    done = max(end, free) + exchange(rest)
    # AdamW reads and writes parameters, gradients and two moments: seven floats.
    update = 28 * work / memory
    return done + update, done - end


def table(models, speeds, arguments):
    """How many times as fast as one machine, and the share of a step that waits; for machines of several speeds."""
    print("| model | machines | " + " | ".join(f"{g} Gbit/s" for _ in speeds for g in (1, 10, 100)) + " |")
    print("|---|---|" + "---|" * 3 * len(speeds))
    for name, layers, channels, rate in models:
        layer, rest = sizes(layers, channels, arguments.vocabulary)
        update = 28 * (layers * layer + rest) / arguments.memory
        for ranks in (2, 4, 8, 16, 32, 64):
            cells = []
            passes = max(1, arguments.batch // arguments.rows // ranks)
            for speed, gigabits in [(s, g) for s in speeds for g in (1, 10, 100)]:
                pass_seconds = (arguments.rows / rate - update / max(1, arguments.batch // arguments.rows)) / speed
                total, waits = step(layers, channels, ranks, pass_seconds, passes, gigabits, arguments)
                times = passes * ranks * arguments.rows / total / (rate * speed)
                cells.append(f"{times:.{1 if times < 9.95 else 0}f} × ({100 * waits / total:.0f}%)")
            print(f"| {name} | {ranks} | " + " | ".join(cells) + " |")


def check(arguments):
    # What was measured: two network namespaces, links shaped by tc, MPICH, one thread a rank.
    measured = [
        ("124M, 4 · 256", 12, 768, 2, 3.75, 10, 4.085, 0.172),
        ("124M, 4 · 256", 12, 768, 2, 3.75, 1, 7.006, 2.557),
        ("124M, 4 · 256", 12, 768, 2, 3.75, 0.5, 11.090, 6.687),
        ("2 × 256, 4 · 64", 2, 256, 2, 0.130, 1, 0.627, 0.489),
        ("2 × 256, 4 · 64", 2, 256, 3, 0.200, 1, 0.880, 0.688),
        ("2 × 256, 4 · 64", 2, 256, 4, 0.260, 1, 1.050, 0.780),
    ]
    print("| model | ranks | Gbit/s | measured | waiting | calculated | waiting |\n|---|---|---|---|---|---|---|")
    for name, layers, channels, ranks, seconds, gigabits, total, waits in measured:
        t = 256 if channels == 768 else 64
        a, b = step(layers, channels, ranks, seconds, 1, gigabits, arguments, t)
        print(f"| {name} | {ranks} | {gigabits} | {total:.2f} s | {waits:.2f} s | {a:.2f} s | {b:.2f} s |")


parser = argparse.ArgumentParser()
parser.add_argument("--check", action="store_true")
for option, kind, default in [("layers", int, None), ("channels", int, None), ("vocabulary", int, 50257), ("rate", float, None)]:
    parser.add_argument(f"--{option}", type=kind, default=default)
parser.add_argument("--batch", type=int, default=1 << 19)
parser.add_argument("--rows", type=int, default=4096, help="tokens of a micro-batch")
parser.add_argument("--link", type=float, default=0.95)
parser.add_argument("--latency", type=float, default=5e-5)
parser.add_argument("--memory", type=float, default=40e9)
arguments = parser.parse_args()
if arguments.check:
    check(arguments)
elif arguments.layers:
    if not arguments.rate:
        parser.error("--rate is needed: the tokens a second of one machine")
    table([("this one", arguments.layers, arguments.channels, arguments.rate)], [1], arguments)
else:
    # Measured on two cores of a Zen 5, T 1024. 1.5B does not fit into 24 GB: 350M's operations a second.
    table([("124M", 12, 768, 542), ("350M", 24, 1024, 188), ("1.5B", 48, 1600, 43.5)], [1, 16], arguments)
