"""Supervised training on (prompt, response) pairs: makes the embedded base; later cold start and distillation.

    python sft.py --from-scratch --out base            # the embedded base, from the mixture in tasks/traces.py
    python sft.py --model base --data pairs.jsonl --out tuned

The loss is the mean negative log-likelihood of the response tokens, the stop token included; the prompt is not trained.
"""
import json
import math
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

import model as lm
import tasks
from config import Refusal, parse, run, setting
from engine.batches import micro_batches
from engine.device import pick_device
from engine.optimizer import MasterAdamW
from tasks import files, traces


@dataclass(frozen=True)
class SFTConfig:
    out: str = setting("tuned", "folder for the trained model")
    from_scratch: bool = setting(False, "make the embedded base: new tokenizer, new weights, generated traces")
    model: str = setting("base", "model folder or hub id to start from")
    data: str | None = setting(None, "JSONL file of pairs; without it, traces are generated")
    prompt_field: str = setting("prompt", "field of --data that holds the whole prompt, template included")
    response_field: str = setting("response", "field of --data that holds the response, without the stop token")
    steps: int = setting(8000, "optimizer steps")
    rows: int = setting(96, "pairs per step")
    token_budget: int = setting(2048, "tokens per micro-batch, padding included")
    lr: float = setting(2e-3, "peak learning rate: linear warm-up, then a cosine down to a tenth")
    warmup: int = setting(200, "steps of warm-up")
    weight_decay: float = setting(0.05, "AdamW's decoupled weight decay")
    clip_norm: float = setting(1.0, "largest gradient norm")
    save_every: int = setting(1000, "steps between saves of --out")
    seed: int = setting(0, "seed of weights and data")
    device: str = setting("auto", "auto, cpu or cuda")

    def __post_init__(self):
        for name in ("steps", "rows", "token_budget", "save_every"):
            if getattr(self, name) < 1:
                raise Refusal(f"--{name.replace('_', '-')} must be at least 1")


# The embedded base: 0.83 M parameters. One key/value head, because attention to the cache is what a decode step waits for.
BASE_SHAPE = dict(hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
                  num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=True)
# What the base reads: share of the pairs by task. Countdown is what `python train.py` trains on.
TASK_SHARE = {"countdown:3": 0.80, "countdown:4": 0.04, "kk": 0.08, "arithmetic": 0.08}


def new_tokenizer():
    """A byte-level BPE of a few hundred words, with one token for each whole number from 10 to 100 and for the tags.

    It is built inside Qwen2's own pre-tokenizer, because transformers puts that one around the vocabulary of any folder
    of model_type qwen2, whatever its tokenizer.json says. That one splits numbers into digits, so whole numbers are
    added tokens, which are found first; `single_word` keeps 1234 from being read as 12, 34.
    """
    from tokenizers import AddedToken, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer
    rng = random.Random(0)
    prose = [part for task in TASK_SHARE for problem in tasks.make_problems(task, "train", "words", 150) for part in
             (problem.question, *(traces.trace(problem, habit, rng) for habit in traces.MIXTURE))]
    words = re.findall("[A-Za-z]+", " ".join(prose))
    shell = Qwen2Tokenizer(vocab={}, merges=[])._tokenizer  # its normaliser and pre-tokenizer, to train merges inside
    shell.train_from_iterator(
        [space + word for word in words for space in ("", " ")] + [" +", " -", " *", " /."] * 99,
        trainers.BpeTrainer(vocab_size=1000, min_frequency=20, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                            special_tokens=["<|endoftext|>"], show_progress=False))
    bpe = json.loads(shell.to_str())["model"]
    tokenizer = Qwen2Tokenizer(vocab=bpe["vocab"], merges=[tuple(m) for m in bpe["merges"]])
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False)
                          for tag in ("<think>", "</think>", "<answer>", "</answer>")])
    tokenizer.add_tokens([AddedToken(str(n), single_word=True, normalized=False, special=False)
                          for n in range(10, tasks.LARGEST + 1)])
    return tokenizer


def new_model(shape: dict, tokenizer, seed: int) -> lm.Transformer:
    """Random weights: N(0, 0.02), what writes into the residual stream smaller by the square root of its depth."""
    torch.manual_seed(seed)
    size = -(-len(tokenizer) // 16) * 16  # a round number of rows
    model = lm.Transformer(lm.ModelConfig(vocab_size=size, **shape))
    for name, p in model.named_parameters():
        if p.dim() == 2:
            deep = name.endswith(("o_proj.weight", "down_proj.weight"))
            torch.nn.init.normal_(p, std=0.02 / math.sqrt(2 * model.config.num_hidden_layers if deep else 1))
        elif name.endswith("bias"):
            torch.nn.init.zeros_(p)
    model.stop_ids = (tokenizer.eos_token_id,)
    return model


def generated_pairs(rng: random.Random, n: int) -> list[tuple[str, str]]:
    """(prompt, response) texts in the stated mixture, on training problems alone."""
    pairs = []
    for task in rng.choices(list(TASK_SHARE), list(TASK_SHARE.values()), k=n):
        new = tasks.generator(task)
        problem = new(rng)
        while tasks.split_of(problem.key) != "train":
            problem = new(rng)
        pairs.append((tasks.prompt(problem, "short", None), traces.trace(problem, traces.pick(rng), rng)))
    return pairs


def read_pairs(path: str, prompt_field: str, response_field: str) -> list[tuple[str, str]]:
    """(prompt, response) texts from a JSONL file; Refusal names the line."""
    pairs = []
    for where, row in files.rows(path):
        for name in (prompt_field, response_field):
            if not isinstance(row.get(name), str):
                raise Refusal(f"{where}: no text in field {name!r} (fields: {', '.join(row) or 'none'})")
        if not row[prompt_field]:
            raise Refusal(f"{where}: field {prompt_field!r} is empty")
        pairs.append((row[prompt_field], row[response_field]))
    if not pairs:
        raise Refusal(f"{path}: no pairs in it")
    return pairs


def encode_pairs(pairs: list[tuple[str, str]], model, tokenizer) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids) of each pair, the stop token at the end; Refusal if one does not fit the context."""
    said = tokenizer([response for _, response in pairs], add_special_tokens=False)["input_ids"]  # they begin in mid-text
    prompts = [tasks.encode(prompt, "", tokenizer) for prompt, _ in pairs]
    stop = model.stop_ids[0] if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    rows = [(p, r + [stop]) for p, r in zip(prompts, said)]
    for number, (p, r) in enumerate(rows, 1):
        if len(p) + len(r) > model.config.max_position_embeddings:
            raise Refusal(f"pair {number} has {len(p) + len(r)} tokens, the model's context is "
                          f"{model.config.max_position_embeddings}: shorten it or leave it out")
    return rows


def learning_rate(step: int, c: SFTConfig) -> float:
    """Linear warm-up, then a cosine from the peak to a tenth of it."""
    if step < c.warmup:
        return c.lr * (step + 1) / c.warmup
    progress = (step - c.warmup) / max(1, c.steps - c.warmup)
    return c.lr * (0.55 + 0.45 * math.cos(math.pi * progress))


def update(model, optimizer, rows: list[tuple[list[int], list[int]]], lr: float, c: SFTConfig) -> tuple[float, float]:
    """One step on (prompt ids, response ids) rows; returns the mean loss per response token and the gradient norm."""
    tokens, total = sum(len(response) for _, response in rows), 0.0
    for chosen in micro_batches([len(p) + len(r) for p, r in rows], c.token_budget, model.packs):
        logprobs, _ = lm.response_logprobs(model, *zip(*(rows[i] for i in chosen)))
        loss = -logprobs.sum() / tokens  # the whole step's count: micro-batches cannot change the gradient
        loss.backward()
        optimizer.accumulate()
        total += loss.item()
    return total, optimizer.step(lr, c.clip_norm)


def train(c: SFTConfig) -> dict:
    """Train and save; returns {"loss", "steps", "tokens", "seconds"}, the loss averaged over the last 100 steps."""
    device, dtype = pick_device(c.device)
    out = Path(c.out).resolve()
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / "model.safetensors").is_file()):
        raise Refusal(f"--out {c.out}: there is something else; only a model folder is replaced")
    if c.from_scratch:
        tokenizer = new_tokenizer()
        model = new_model(BASE_SHAPE, tokenizer, c.seed).to(device)
    else:
        model, tokenizer = lm.load(c.model, device, torch.float32)
    optimizer = MasterAdamW(model, dtype, weight_decay=c.weight_decay)
    data = encode_pairs(read_pairs(c.data, c.prompt_field, c.response_field), model, tokenizer) if c.data else None
    losses, tokens, began = [], 0, time.time()
    bar = tqdm(range(c.steps), desc="sft", mininterval=5)
    for step in bar:
        rng = random.Random(f"{c.seed}/{step}")
        rows = rng.choices(data, k=c.rows) if data else encode_pairs(generated_pairs(rng, c.rows), model, tokenizer)
        loss, norm = update(model, optimizer, rows, learning_rate(step, c), c)
        losses.append(loss)
        tokens += sum(len(p) + len(r) for p, r in rows)
        recent = sum(losses[-100:]) / len(losses[-100:])
        bar.set_postfix(loss=f"{recent:.4f}", norm=f"{norm:.2f}", tok_s=f"{tokens / (time.time() - began):.0f}")
        if (step + 1) % c.save_every == 0 or step + 1 == c.steps:
            state = optimizer.named_masters()
            if c.from_scratch:  # the base ships with the project: half the size
                state = {name: p.to(torch.bfloat16) for name, p in state.items()}
            lm.save(out, model, tokenizer, state)
    return {"loss": recent, "steps": c.steps, "tokens": tokens, "seconds": time.time() - began}


def main():
    c, _ = parse(SFTConfig, "supervised training")
    result = train(c)
    print(f"{c.out}: loss {result['loss']:.4f} after {result['steps']} steps, {result['tokens'] / 1e6:.1f} M tokens, "
          f"{result['seconds'] / 60:.1f} minutes")


if __name__ == "__main__":
    run(main)
