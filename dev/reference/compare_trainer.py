"""Repeats a run of train_phi with transformers' Trainer and compares what both logged, step by step.

It starts from the directory our run wrote before its first step, gives the Trainer the same rows in the same order
(llm.c's data loader), and lets it do the rest as it does for everybody: micro-batches, AdamW, warm-up and cosine,
clipping, evaluation, checkpoints and the choice of the best. Our side runs with `--trainer transformers`: the Trainer
counts its steps for the learning rate from 0, so that its first update moves nothing, and has β₂ 0.999.

    python dev/reference/compare_trainer.py --model start --shards 'data/train_*.bin' \\
        --validation-shards 'data/val_*.bin' --log log/main.log --batch-size 4 --accumulation 4 --sequence-length 128 \\
        --steps 200 --warmup 20 --evaluate-every 50

Which targets count:
    --padding none      all of them: rows are cut from one stream of tokens
    --padding masked    rows are padded with end-of-text; it does not count where it follows end-of-text
    --padding collator  as DataCollatorForLanguageModeling has it if the end of text is the padding token: no
                        end-of-text counts at all, and a row's last token has no target. It shows what our rule changes.

transformers shifts labels inside the model, so a row of T tokens would give it T − 1 targets and us T. It is given
T + 1, and a label of −100 where ours does not count; the additional position has no target and changes nothing before.

Exit code 1 if a step or validation is missing from our log, if a loss differs by more than --tolerance, a validation by
more than --validation-tolerance, a learning rate by more than 1e-6 of it (and half of the log's last digit), or if both
do not choose the same best checkpoint. The norms are shown only.
"""

import argparse
import glob
import logging
import os
import re
import sys
import tempfile
from decimal import Decimal

import torch
import transformers
from transformers import Trainer, TrainerCallback, TrainingArguments

import compare_training
import gpt2

IGNORED = -100


# MARK: data


def targets(tokens, end_of_text, padding):
    """The targets of rows of tokens (B,T+1), (B,T), with IGNORED where they do not count."""
    inputs, following = tokens[:, :-1], tokens[:, 1:].clone()
    if padding == "masked":
        following[(inputs == end_of_text) & (following == end_of_text)] = IGNORED
    elif padding == "collator":
        following[following == end_of_text] = IGNORED
        following[:, -1] = IGNORED
    return following


def examples(x, y, end_of_text, padding):
    """The rows of a batch x, y (B,T), as the model is given them."""
    tokens = torch.cat((x, y[:, -1:]), dim=1)
    labels = torch.cat((torch.full_like(x[:, :1], IGNORED), targets(tokens, end_of_text, padding)), dim=1)
    if padding == "collator":
        tokens, labels = tokens[:, :-1], labels[:, :-1]
    return [{"input_ids": row, "labels": label} for row, label in zip(tokens, labels)]


def training_rows(options, end_of_text):
    """The rows of all steps, in the order in which our run reads them."""
    loader = compare_training.Loader(options.shards, options.batch_size, options.sequence_length, options.seed)
    steps = min(options.first or options.steps, options.steps)
    rows = []
    for _ in range(steps * options.accumulation):
        rows += examples(*next(loader.batches), end_of_text, options.padding)
    return rows


def validation_rows(options, end_of_text):
    """The rows of the first batches of the validation shards, as they lie."""
    B, T = options.batch_size, options.sequence_length
    rows = []
    for path in sorted(glob.glob(options.validation_shards)):
        shard = torch.from_numpy(gpt2.read_shard(path))
        for start in range(0, len(shard) - B * T, B * T):
            if len(rows) == options.validation_batches * B:
                return rows
            tokens = shard[start:start + B * T + 1]
            rows += examples(tokens[:-1].view(B, T), tokens[1:].view(B, T), end_of_text, options.padding)
    if not rows:
        sys.exit(f"error: no shard of {options.validation_shards} has a batch of {B * T} tokens and one more\n"
                 "hint: quote the pattern, so that the shell leaves it alone, or take a smaller --batch-size")
    return rows


# MARK: the Trainer


class OrderedTrainer(Trainer):
    """The Trainer without its shuffling: the rows are in order."""

    def _get_train_sampler(self, train_dataset=None):
        return torch.utils.data.SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)


class Recorder(TrainerCallback):
    """What the Trainer logs, by step; and an early end after --first steps."""

    def __init__(self, last):
        self.last = last
        self.steps, self.evaluations = {}, {}

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= self.last:
            control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "grad_norm" in logs:  # the update that has just been made is step global_step − 1
            self.steps[state.global_step - 1] = (logs["loss"], logs["learning_rate"], logs["grad_norm"])
        if "eval_loss" in logs:
            self.evaluations[state.global_step] = logs


def sums_of_rows(logits, labels):
    """For each row the sum of its losses, how many of its targets were the most probable token, and how many count.
    Kept instead of the logits, which would not fit into memory."""
    logits, labels = logits[:, :-1].double(), labels[:, 1:]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    hits = logits.argmax(dim=2) == labels
    return torch.stack((losses.sum(1), hits.sum(1).double(), (labels != IGNORED).sum(1).double()), dim=1)


def metrics_of_targets(prediction):
    """Every target that counts weighs the same, whatever row and batch it is in."""
    loss, hits, count = prediction.predictions.sum(axis=0)
    return {"accuracy": hits / count, "target_loss": loss / count, "targets": count}


def load_model(options):
    dtype = torch.float64 if options.double else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype, local_files_only=True)
    config = model.config
    dropouts = {name: value for name, value in config.to_dict().items() if "drop" in name and value}
    if dropouts:
        sys.exit(f"error: {options.model} has dropout ({dropouts}), and no two programs drop the same values\n"
                 "hint: start our run without dropout")
    end_of_text = config.eos_token_id if options.end_of_text is None else options.end_of_text
    if end_of_text is None and options.padding != "none":
        sys.exit(f"error: {options.model}/config.json has no eos_token_id\nhint: give it with --end-of-text")
    return model, end_of_text


def train(options, model, end_of_text):
    """The Trainer's log, and its state at the end."""
    rows = training_rows(options, end_of_text)
    evaluates = options.validation_shards is not None
    held_out = validation_rows(options, end_of_text) if evaluates else None
    largest = max(int(row["input_ids"].max()) for row in rows + (held_out or []))
    if largest >= model.config.vocab_size:
        sys.exit(f"error: a shard holds token {largest}, and the model's vocabulary is {model.config.vocab_size}\n"
                 "hint: tokenize it again")
    recorder = Recorder(min(options.first or options.steps, options.steps))
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output, seed=options.seed, max_steps=options.steps, optim="adamw_torch",
            per_device_train_batch_size=options.batch_size, per_device_eval_batch_size=options.batch_size,
            gradient_accumulation_steps=options.accumulation, learning_rate=options.learning_rate,
            weight_decay=options.weight_decay, warmup_steps=options.warmup, lr_scheduler_type="cosine",
            max_grad_norm=options.clip, logging_steps=1, report_to="none", disable_tqdm=True, use_cpu=True,
            dataloader_pin_memory=False, save_only_model=True, save_total_limit=5,
            **({"eval_strategy": "steps", "eval_steps": options.evaluate_every, "eval_on_start": True,
                "save_strategy": "steps", "save_steps": options.evaluate_every, "load_best_model_at_end": True,
                "metric_for_best_model": "accuracy"} if evaluates else {"save_strategy": "no"}))
        trainer = OrderedTrainer(
            model=model, args=arguments, train_dataset=rows, eval_dataset=held_out, callbacks=[recorder],
            preprocess_logits_for_metrics=sums_of_rows, compute_metrics=metrics_of_targets)
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return recorder, trainer.state


# MARK: our log


def read_log(path):
    """Texts of the log by step: loss, learning rate and norm of the updates; loss and accuracy of the validations."""
    steps, validations = {}, {}
    with open(path) as file:
        for line in file:
            if match := re.match(r"s:(\d+) trl:(\S+) lr:(\S+) norm:(\S+)", line):
                steps[int(match[1])] = match.groups()[1:]
            elif match := re.match(r"s:(\d+) (tel|eval):(\S+)", line):
                validations.setdefault(int(match[1]), {})[match[2]] = match[3]
    return steps, validations


def half_digit(text):
    """What rounding to the digits of a printed number can have changed."""
    exponent = Decimal(text).as_tuple().exponent
    return 0.5 * 10.0**exponent if isinstance(exponent, int) else 0.0


def close(text, value, tolerance):
    # Written so that a NaN on either side counts as a difference.
    return abs(float(text) - value) <= tolerance + 1.001 * half_digit(text)


def compare_steps(options, ours, recorder):
    """Prints the updates beside each other, and returns how many differ."""
    bad, worst = 0, 0.0
    print(f"{'step':>5} {'ours':>10} {'Trainer':>10} {'difference':>11}   {'lr ours':>13} {'Trainer':>13}   "
          f"{'norm ours':>9} {'Trainer':>9}")
    for step in range(recorder.last):
        loss, rate, norm = recorder.steps[step]
        fits = False
        texts = f"{'missing':>10} {loss:10.6f} {'':>11}   {'':>13} {rate:13.6e}   {'':>9} {norm:9.4f}"
        if step in ours:
            our_loss, our_rate, our_norm = ours[step]
            difference = float(our_loss) - loss
            worst = max(worst, abs(difference))
            fits = abs(difference) <= options.tolerance and close(our_rate, rate, 1e-6 * rate)
            texts = f"{our_loss:>10} {loss:10.6f} {difference:+11.6f}   {our_rate:>13} {rate:13.6e}   " \
                    f"{our_norm:>9} {norm:9.4f}"
        bad += not fits
        print(f"{step:5} {texts}{'' if fits else '  ←'}")
    print(f"{recorder.last} steps compared, largest difference of the loss {worst:.6f}, {bad} out of tolerance")
    return bad


def compare_validations(options, ours, recorder):
    """Prints the validations beside each other, and returns how many differ."""
    bad = 0
    print(f"\n{'step':>5} {'loss ours':>10} {'Trainer':>10}   {'accuracy ours':>13} {'Trainer':>10}   "
          f"{'its eval_loss':>13} {'off by':>9}")
    for step, theirs in sorted(recorder.evaluations.items()):
        loss, accuracy, count = theirs["eval_target_loss"], theirs["eval_accuracy"], theirs["eval_targets"]
        our_loss, our_accuracy = (ours.get(step, {}).get(key, "missing") for key in ("tel", "eval"))
        # One target may fall to the other side where two tokens are equally probable.
        fits = (our_loss != "missing" and close(our_loss, loss, options.validation_tolerance)
                and our_accuracy != "missing"
                and close(our_accuracy, accuracy, options.validation_tolerance + 1.001 / count))
        bad += not fits
        mean_of_batches = theirs["eval_loss"]
        print(f"{step:5} {our_loss:>10} {loss:10.6f}   {our_accuracy:>13} {accuracy:10.6f}   "
              f"{mean_of_batches:13.6f} {mean_of_batches - loss:+9.6f}{'' if fits else '  ←'}")
    print(f"{len(recorder.evaluations)} validations of {count:.0f} targets compared, {bad} out of tolerance")
    print("Its eval_loss is the mean of the batches' losses: a batch of few targets weighs as much as one of many, so\n"
          "it is off where rows are padded. The other columns weigh targets.")
    return bad


def compare_best(ours, recorder, state):
    """Prints which checkpoint either side keeps as its best, and returns 1 if they differ."""
    best = None
    for step in sorted(step for step in ours if step in recorder.evaluations and step > 0 and "eval" in ours[step]):
        if best is None or float(ours[step]["eval"]) > float(ours[best]["eval"]):
            best = step
    print(f"\nbest by accuracy: ours step {best} (by the digits of the log), "
          f"the Trainer's step {state.best_global_step}")
    if best == state.best_global_step:
        return 0
    if best is not None and ours[best]["eval"] == ours.get(state.best_global_step, {}).get("eval"):
        print("the log has the same digits for both")
        return 0
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="the directory from before our first step")
    parser.add_argument("--shards", required=True, help="pattern of the training shards, quoted")
    parser.add_argument("--validation-shards", help="pattern of the validation shards, quoted (default: no validation)")
    parser.add_argument("--log", required=True, help="our main.log")
    parser.add_argument("--padding", choices=["masked", "none", "collator"], default="none")
    parser.add_argument("--end-of-text", type=int, help="id of the token (default: eos_token_id of config.json)")
    parser.add_argument("--batch-size", type=int, default=4, help="rows of a micro-batch")
    parser.add_argument("--accumulation", type=int, default=4, help="micro-batches of a step")
    parser.add_argument("--sequence-length", type=int, default=512)
    parser.add_argument("--steps", type=int, required=True, help="steps our run was given, whatever its epochs")
    parser.add_argument("--first", type=int, help="compare the first N steps only; the schedule stays")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--warmup", type=int, default=0)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--evaluate-every", type=int, default=50, help="steps between validations, and checkpoints")
    parser.add_argument("--validation-batches", type=int, default=20, help="batches of a validation, at most")
    parser.add_argument("--seed", type=int, default=42, help="of the data order")
    parser.add_argument("--double", action="store_true", help="compute in float64, to see which side is closer")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of the loss of a step")
    parser.add_argument("--validation-tolerance", type=float, default=5e-5)
    options = parser.parse_args()

    compare_training.MersenneTwister.check()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    our_steps, our_validations = read_log(options.log)
    model, end_of_text = load_model(options)
    recorder, state = train(options, model, end_of_text)

    bad = compare_steps(options, our_steps, recorder)
    if options.validation_shards is not None:
        bad += compare_validations(options, our_validations, recorder)
        bad += compare_best(our_validations, recorder, state)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
