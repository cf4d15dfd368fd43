"""Writes what the tests of generating are checked against, into Tests/LLMTests/Fixtures:

    gpt2_generate.bin     a small random GPT-2 in llm.c's version 3
    generate_cases.json   what transformers makes of it: greedy continuations with and without a repetition penalty, and
                          the scores that its logits processors leave, in the order in which its generate() applies them

transformers computes in float64 and the weights are float32, so the greedy tokens are beyond doubt: where the best two
scores of a step lie closer than float32 could tell apart, the script refuses to write the case. The same holds for the
borders of top p and min p.

    python dev/reference/generate_fixtures.py [--output DIR]
"""

import argparse
import json
import os

import numpy as np
import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, LogitsProcessorList

import gpt2
from gpt2 import Config
from gpt2_fixtures import random_parameters

CONFIG = Config(maxT=64, V=90, L=2, NH=2, C=16)
SETTINGS = [
    {"repetition_penalty": 2.0},
    {"repetition_penalty": 0.7},
    {"temperature": 0.6},
    {"temperature": 1.7},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000},
    {"top_p": 0.0},
    {"top_p": 0.3},
    {"top_p": 0.95},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 20, "top_p": 0.9},
    {"repetition_penalty": 1.3, "temperature": 0.8, "top_k": 30, "top_p": 0.85, "min_p": 0.02},
]


def transformers_model(parameters, config):
    """transformers' GPT-2 in float64 with our parameters; its linear weights are (in, out)."""
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.V, n_positions=config.maxT, n_embd=config.C, n_layer=config.L, n_head=config.NH,
            activation_function="gelu_new", layer_norm_epsilon=1e-5, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
            bos_token_id=0, eos_token_id=0, attn_implementation="eager")).double().eval()
    names = {
        "ln1w": "ln_1.weight", "ln1b": "ln_1.bias", "qkvw": "attn.c_attn.weight", "qkvb": "attn.c_attn.bias",
        "attprojw": "attn.c_proj.weight", "attprojb": "attn.c_proj.bias", "ln2w": "ln_2.weight", "ln2b": "ln_2.bias",
        "fcw": "mlp.c_fc.weight", "fcb": "mlp.c_fc.bias", "fcprojw": "mlp.c_proj.weight", "fcprojb": "mlp.c_proj.bias",
    }
    theirs = dict(model.transformer.named_parameters())
    with torch.no_grad():
        for name, target in {"wte": "wte.weight", "wpe": "wpe.weight", "lnfw": "ln_f.weight",
                             "lnfb": "ln_f.bias"}.items():
            theirs[target].copy_(parameters[name])
        for name, target in names.items():
            for l in range(config.L):
                value = parameters[name][l]
                theirs[f"h.{l}.{target}"].copy_(value.T if value.dim() == 2 else value)
    return model


def processors(model, settings):
    """The list that generate() would use, from transformers' own assembly."""
    config = GenerationConfig(do_sample=True, **{"top_k": 0, **settings})
    return model._get_logits_processor(
        generation_config=config, input_ids_seq_length=1, encoder_input_ids=None,
        prefix_allowed_tokens_fn=None, logits_processor=LogitsProcessorList())


def greedy_case(model, prompt, penalty, end_of_text, count):
    out = model.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
        repetition_penalty=penalty, max_new_tokens=count, eos_token_id=end_of_text, pad_token_id=0,
        output_scores=True, return_dict_in_generate=True)
    for scores in out.scores:
        best = scores[0].topk(2).values
        assert best[0] - best[1] > 1e-4, "too close to call"
    return {"prompt": prompt, "penalty": penalty, "end_of_text": -1 if end_of_text is None else end_of_text,
            "limit": count, "tokens": out.sequences[0, len(prompt):].tolist()}


def sampling_case(model, logits, context, settings):
    """logits (V) float32; what is removed is null in the file."""
    scores = processors(model, settings)(torch.tensor([context]), logits.double()[None].clone())[0]
    # Borders that float32 could see on the other side.
    before = processors(model, {k: v for k, v in settings.items() if k not in ("top_p", "min_p")})(
        torch.tensor([context]), logits.double()[None].clone())[0]
    probabilities = before.softmax(0)
    if 0 < settings.get("top_p", 1) < 1:
        sums = probabilities.sort(descending=True).values.cumsum(0)
        assert (sums - settings["top_p"]).abs().min() > 1e-5, "top p too close to call"
    if 0 < settings.get("min_p", 0) < 1:
        ratio = probabilities / probabilities.max()
        assert (ratio - settings["min_p"]).abs().min() > 1e-5, "min p too close to call"
    return {"logits": [float(x) for x in logits], "context": context, "settings": settings,
            "scores": [None if x == -torch.inf else round(float(x), 7) for x in scores]}


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default=os.path.normpath(os.path.join(root, "Tests", "LLMTests", "Fixtures")))
    output = parser.parse_args().output
    torch.set_num_threads(1)

    random = np.random.RandomState(11)
    parameters = random_parameters(CONFIG, random)
    for name in ("wte", "wpe"):
        parameters[name] = parameters[name] * 3  # scores far apart, and a text that does not run in circles at once
    model = transformers_model(parameters, CONFIG)
    gpt2.write_checkpoint(os.path.join(output, "gpt2_generate.bin"), parameters, CONFIG)

    prompts = [random.randint(0, CONFIG.V, size=n).tolist() for n in (1, 3, 9, 24)]
    greedy = [greedy_case(model, prompt, penalty, None, 40) for prompt in prompts for penalty in (1.0, 2.0, 1.2)]
    # The same with one of its tokens for the end of the text.
    for case in [greedy[4], greedy[8]]:
        greedy.append(greedy_case(model, case["prompt"], case["penalty"], case["tokens"][5], 40))

    context = prompts[2]
    with torch.no_grad():
        logits = model(torch.tensor([context])).logits[0, -1].float()
    ties = torch.tensor(np.round(random.standard_normal(CONFIG.V) * 2) / 2).float()  # many tokens of one score
    sampling = [sampling_case(model, logits, context, settings) for settings in SETTINGS]
    sampling += [sampling_case(model, ties, context, settings) for settings in [{"top_k": 5}, {"top_k": 30},
                                                                                {"repetition_penalty": 2.0}]]
    path = os.path.join(output, "generate_cases.json")
    with open(path, "w") as file:
        json.dump({"greedy": greedy, "sampling": sampling}, file, separators=(",", ":"))
    for case in greedy:
        print(f"prompt of {len(case['prompt'])}, penalty {case['penalty']}: {len(case['tokens'])} tokens, "
              f"{len(set(case['tokens']))} different")
    for case in sampling:
        print(case["settings"], sum(x is not None for x in case["scores"]), "left")
    print(os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
