"""This project beside transformers and TRL: one model folder, one set of problems and threads, temperature 1, fp32.

    pip install -r requirements-bench.txt
    python bench.py --json bench.json          # on a CPU that has nothing else to do

Useful tokens are response ids up to and including the stop token, no padding. After a round that is thrown away the
sides take turns, with other draws each round, so that a machine that slows down slows down both. Figures are medians,
lowest and highest in brackets. Ratios are taken within a round; the one to quote is that of useful tokens per second,
because draws differ in length; that of plain seconds stands beside it.

Sampler: sample.generate against transformers' generate, which gets all rows as one left-padded batch, with its default
cache and attention, and decodes until the last row ends. Ours also records the log-prob of every token.

Training step: sample, reward, advantages, update, with one optimizer step on all rollouts. Ours is train.one_step.
TRL's is the time from the end of one step of GRPOTrainer to the end of the next, less our steps, which run in between.
Both: Dr. GRPO without a KL term, the same rule reward, clipped gradients, a learning rate too small to move the policy.
TRL generates with transformers, not vLLM, and without gradient checkpointing, logging or saving. It is measured at
several cuts of the step into micro-batches (rows x cuts); the one to quote is that at which it does best against ours.

Ours spends no forward pass on groups whose rewards are all equal: their gradient is exactly 0. What that saves depends
on the model, so each round has a second step of ours with made-up rewards that all differ: no row is left out.
"""
import importlib.util
import json
import os
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median

import torch

import checkpoint
import reward
import sample
import tasks
import train
from config import Refusal, parse, run, setting
from files import write_file
from runs import Run, open_run, versions

LR = 1e-9  # below the rounding of a typical weight: all of the optimizer's work, and the policy stays what it is
CUTS = (1, 4, 16, 64)  # micro-batches that TRL's step is cut into, as far as they divide its rows
OURS, EVERY_ROW, TRANSFORMERS, TRL = "ours", "ours, no row left out", "transformers", "TRL"
COLUMNS = {"seconds": 2, "s / 1000 tokens": 3, "tokens/s": 0, "tokens/s ratio": 2, "seconds ratio": 2}  # decimals


@dataclass(frozen=True)
class BenchConfig:
    model: str = setting("base", "model folder or hub id")
    repeats: int = setting(3, "measured rounds, after one for warming up")
    threads: int = setting(2, "CPU threads")
    prompts: int = setting(16, "Countdown problems")
    group: int = setting(16, "responses per problem")
    max_new_tokens: int = setting(256, "longest response, tokens")
    json: str | None = setting(None, "write all figures to this file")
    skip_trl: bool = setting(False, "measure our training step alone")

    def __post_init__(self):
        if min(self.repeats, self.threads, self.prompts, self.max_new_tokens, self.group - 1) < 1:
            raise Refusal("--repeats, --threads, --prompts and --max-new-tokens must be at least 1, --group at least 2")
        if self.json and not Path(self.json).parent.is_dir():  # said now, not after half an hour
            raise Refusal(f"--json {self.json}: there is no such folder")


@dataclass
class Bench:
    """What the sides share."""
    c: BenchConfig
    run: Run  # our model, tokenizer and optimizer; its problems are the same ones in every step
    texts: list[str]  # prompts
    ids: list[list[int]]  # prompts


@dataclass(frozen=True)
class Round:
    """One measurement of one side."""
    seconds: float
    tokens: int  # useful ones
    reward: float | None = None  # mean
    parts: dict | None = None  # our step: seconds of its parts, and the share of groups whose rewards are all equal


def set_up(c: BenchConfig, scratch: str) -> Bench:
    torch.set_num_threads(c.threads)
    folder = checkpoint.find(c.model)
    rng = random.Random(0)
    reward.REWARDS[EVERY_ROW] = lambda *_: (-rng.random(), 0.0)  # negative: the length limit takes nothing from it
    this = open_run(train.TrainConfig(
        out=f"{scratch}/run", model=str(folder), prompts_per_step=c.prompts, group_size=c.group, lr=LR, warmup=0,
        max_new_tokens=c.max_new_tokens, eval_problems=1, device="cpu"))
    this.problems = tasks.draw("countdown", "train", "bench", c.prompts)
    texts = [tasks.prompt(p, this.c.template, this.tokenizer) for p in this.problems]
    return Bench(c, this, texts, [tasks.encode(t, this.c.template, this.tokenizer) for t in texts])


def load_theirs(b: Bench):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(b.run.c.model, dtype=torch.float32)


def note(title: str, sides: dict[str, list[Round]]) -> None:
    number = len(sides[OURS]) - 1
    print(f"{title}, {f'round {number}' if number else 'warm-up'}: " + "; ".join(
        f"{name} {rounds[-1].seconds:.1f} s" for name, rounds in sides.items()), file=sys.stderr, flush=True)


# ---------------------------------------------------------------- what is measured

def sample_theirs(b: Bench, model, seed: int) -> Round:
    stops, width = list(b.run.model.stop_ids), max(map(len, b.ids))
    rows = [ids for ids in b.ids for _ in range(b.c.group)]
    ids = torch.tensor([[stops[0]] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    torch.manual_seed(seed)
    began = time.perf_counter()
    out = model.generate(input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                         max_new_tokens=b.c.max_new_tokens, use_cache=True, eos_token_id=stops, pad_token_id=stops[0])
    seconds, stopped = time.perf_counter() - began, torch.isin(out[:, width:], torch.tensor(stops)).int()
    return Round(seconds, int((stopped.cumsum(1) - stopped == 0).sum()))  # ids without a stop token before them


def compare_samplers(b: Bench) -> dict[str, list[Round]]:
    model, sides = load_theirs(b).eval(), {OURS: [], TRANSFORMERS: []}
    for seed in range(b.c.repeats + 1):
        began = time.perf_counter()
        rollouts = sample.generate(b.run.model, b.run.tokenizer, b.ids, b.run.sampling(), b.c.group, seed)
        sides[OURS].append(Round(time.perf_counter() - began, sum(len(r.response) for r in rollouts)))
        sides[TRANSFORMERS].append(sample_theirs(b, model, seed))
        note("sampler", sides)
    return sides


def our_turn(b: Bench, title: str, sides: dict[str, list[Round]]) -> None:
    """Our two steps, with the rule reward and with rewards that all differ."""
    for side, name in ((OURS, "dr_grpo"), (EVERY_ROW, EVERY_ROW)):
        b.run.c = replace(b.run.c, reward=name)
        began = time.perf_counter()
        line, _ = train.one_step(b.run)
        seconds, b.run.step = time.perf_counter() - began, b.run.step + 1  # the next step's draws are others
        parts = {part: line[part] for part in ("seconds_sample", "seconds_reward", "seconds_update", "equal_groups")}
        sides[side].append(Round(seconds, round(line["length"] * len(b.ids) * b.c.group), line["reward"], parts))
    note(title, sides)


def compare_steps(b: Bench, title: str, cuts: int) -> dict[str, list[Round]]:
    """Our steps, in turns with those of a GRPOTrainer that cuts its own into `cuts` micro-batches."""
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer
    sides, paid, rounds, rows = {OURS: [], EVERY_ROW: [], TRL: []}, [], b.c.repeats + 1, b.c.prompts * b.c.group

    def rule(completions, completion_ids, which, **_):
        finished = [ids[-1] in b.run.model.stop_ids for ids in completion_ids]  # TRL has taken the padding off
        totals = [reward.score("dr_grpo", text, b.run.problems[i], ok).total
                  for text, i, ok in zip(completions, which, finished)]
        paid.append((sum(map(len, completion_ids)), mean(totals)))
        assert len(totals) == rows, "TRL did not generate all rows at once"
        return totals

    class Turns(TrainerCallback):
        began = time.perf_counter()

        def on_step_end(self, *_, **__):
            sides[TRL].append(Round(time.perf_counter() - self.began, *paid[-1]))
            assert len(paid) == len(sides[TRL]), "TRL did not generate once a step"
            our_turn(b, title, sides)
            self.began = time.perf_counter()

    config = GRPOConfig(
        str(b.run.folder / "trl"), use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=rounds,
        per_device_train_batch_size=rows // cuts, gradient_accumulation_steps=cuts, steps_per_generation=cuts,
        num_generations=b.c.group, max_completion_length=b.c.max_new_tokens, temperature=1.0, top_k=0, top_p=1.0,
        beta=0.0, loss_type="dr_grpo", scale_rewards="none", max_grad_norm=b.run.c.clip_norm, learning_rate=LR,
        lr_scheduler_type="constant", shuffle_dataset=False, report_to="none", save_strategy="no",
        logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False)
    data = Dataset.from_dict({"prompt": b.texts * rounds, "which": [*range(b.c.prompts)] * rounds})
    trainer = GRPOTrainer(load_theirs(b), rule, config, data, processing_class=b.run.tokenizer, callbacks=[Turns()])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    assert torch.get_num_threads() == b.c.threads and b.run.tokenizer(b.texts)["input_ids"] == b.ids
    return sides


# ---------------------------------------------------------------- the report

def figures(sides: dict[str, list[Round]], rows: int) -> dict[str, dict]:
    """Figures of each side, [median, lowest, highest] or a mean; ratios above 1 say that ours is the faster."""
    def spread(values: list) -> list:
        return [f(values) for f in (median, min, max)]
    sides = {name: rounds[1:] for name, rounds in sides.items()}  # the first is the warm-up
    theirs, found = sides.get(TRL) or sides.get(TRANSFORMERS), {}
    for name, rounds in sides.items():
        f = found[name] = {"seconds": spread([r.seconds for r in rounds]),
                           "s / 1000 tokens": spread([1000 * r.seconds / r.tokens for r in rounds]),
                           "tokens/s": spread([r.tokens / r.seconds for r in rounds]),
                           "length": mean(r.tokens for r in rounds) / rows, "rounds": [asdict(r) for r in rounds]}
        if theirs and rounds is not theirs:
            f["tokens/s ratio"] = spread([r.tokens / r.seconds * t.seconds / t.tokens for r, t in zip(rounds, theirs)])
            f["seconds ratio"] = spread([t.seconds / r.seconds for r, t in zip(rounds, theirs)])
        if rounds[0].parts:
            f["parts"] = {part: mean(r.parts[part] for r in rounds) for part in rounds[0].parts}
        if rounds[0].reward is not None and name != EVERY_ROW:
            f["reward"] = mean(r.reward for r in rounds)
    return found


def table(title: str, found: dict[str, dict]) -> str:
    lines = [f"\n{title:<24}" + "".join(f"{head:<22}" for head in COLUMNS) + "length  reward"]
    for name, f in found.items():
        cells = ["{:.{n}f} [{:.{n}f}, {:.{n}f}]".format(*f[k], n=n) if k in f else "-" for k, n in COLUMNS.items()]
        lines.append(f"  {name:<22}" + "".join(f"{cell:<22}" for cell in cells) + f"{f['length']:6.1f}  "
                     + (f"{f['reward']:6.3f}" if "reward" in f else "     -"))
        if "parts" in f:
            lines.append("    " + ", ".join(f"{part.replace('_', ' ')} {x:.2f}" for part, x in f["parts"].items()))
    return "\n".join(lines)


def main():
    c, _ = parse(BenchConfig, "our sampler and training step beside those of transformers and TRL, on a CPU")
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the hub, and TRL would report to it
    load, rows, sides = round(os.getloadavg()[0], 1), c.prompts * c.group, {}
    cuts = [] if c.skip_trl or not importlib.util.find_spec("trl") else [n for n in CUTS if rows % n == 0]
    with tempfile.TemporaryDirectory() as scratch:
        b = set_up(c, scratch)
        sides["sampler"] = compare_samplers(b)
        for n in cuts:
            sides[f"step, TRL {rows // n} x {n}"] = compare_steps(b, f"step, TRL {rows // n} x {n}", n)
        if not cuts:
            print("TRL is skipped:", "--skip-trl" if c.skip_trl else "for it, pip install -r requirements-bench.txt")
            sides["step"] = {OURS: [], EVERY_ROW: []}
            for _ in range(c.repeats + 1):
                our_turn(b, "step", sides["step"])
    found = {title: figures(rounds, rows) for title, rounds in sides.items()}
    steps = sorted((t for t in found if TRL in found[t]), key=lambda t: found[t][EVERY_ROW]["tokens/s ratio"])
    about = versions() | ({"trl": sys.modules["trl"].__version__} if cuts else {}) | {"load_before": load}
    print(f"{c.prompts} x {c.group} rollouts of at most {c.max_new_tokens} tokens, {c.repeats} rounds,",
          ", ".join(f"{name} {value}" for name, value in about.items()))
    print(*(table(title, f) for title, f in found.items()), sep="\n")
    print("\nto quote, useful tokens per second, ours to theirs: " + "; ".join(
        f"{title}, {side} {found[title][side]['tokens/s ratio'][0]:.2f}" for title in ["sampler", *steps[:1]]
        for side in (OURS, EVERY_ROW) if side in found[title]))
    if c.json:
        write_file(Path(c.json), json.dumps({"config": asdict(c), "about": about, **found}, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
