"""The headline on a CPU: the embedded base beside transformers and TRL, on one set of problems and threads, in fp32.

    python bench.py cpu                     # then the rows of speed/rows.py on the same model
    python bench.py cpu --rows sampler,step --cuts 16

Sampler: sample.generate against transformers' generate, which gets all rows as one left-padded batch, with its default
cache and attention, and decodes until the last row ends; and against its continuous batching, set up and warmed up before
the clock starts. Ours also records the log-prob of every token. Measured twice: the model's own lengths, and lengths
imposed. Ratios of useful tokens per second are the ones to quote, because draws differ in length.

Training step: sample, reward, advantages, update, with one optimizer step on all rollouts, at the model's own lengths.
Ours is train.one_step. TRL's is the time from the end of one step of GRPOTrainer to the end of the next, less our steps,
which run in between. Both: Dr. GRPO without a KL term, the same rule reward, clipped gradients, a learning rate too small
to move the policy. TRL generates with transformers' static batch, without gradient checkpointing, logging or saving. It
is measured at several cuts of the step into micro-batches (rows x cuts); the one to quote is that at which it does best.

Ours spends no forward pass on groups whose rewards are all equal: their gradient is exactly 0. What that saves depends
on the model, so each round has a second step of ours with made-up rewards that all differ: no row is left out.
"""
import importlib.util
import os
import random
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from statistics import mean

import torch

import reward
import tasks
import train
from config import Refusal, parse, setting
from engine.decoder import Decoder
from runs import Run, open_run
from speed import rows as table_rows
from speed import sides
from speed.measure import Unable, lognormal_lengths, measure_machine, spread
from speed.report import Report, check_json, chosen, numbers
from speed.subject import ROWS, base_subject
from storage import model_folder

CUTS = (1, 4, 16, 64)  # micro-batches that TRL's step is cut into, as far as they divide its rows
OURS, EVERY_ROW, STATIC, CONTINUOUS, TRL = ("ours", "ours, no row left out", "transformers", "transformers, continuous",
                                            "TRL")
COLUMNS = {"seconds": 2, "tokens/s": 0, "tokens/s ratio": 2, "seconds ratio": 2}  # decimals


@dataclass(frozen=True)
class CpuConfig:
    model: str = setting("base", "model folder or hub id")
    repeats: int = setting(3, "measured rounds, after one for warming up")
    threads: int = setting(2, "CPU threads")
    prompts: int = setting(16, "Countdown problems of the headline")
    group: int = setting(16, "responses per problem")
    max_new_tokens: int = setting(256, "longest response, tokens; imposed lengths have an eighth as their mean")
    cuts: str = setting("", "cuts of TRL's step, separated by commas; empty: 1, 4, 16, 64")
    rows: str = setting("", f"what to measure, separated by commas: sampler, step, {', '.join(ROWS)}; "
                            "empty: all but attention")
    context: int = setting(128, "tokens that a decoding row sees, in the decode rows")
    slots: str = setting("1,16,64,256,512", "rows that decode at a time, in the decode rows")
    json: str = setting("bench-cpu.json", "write all figures to this file")
    skip_trl: bool = setting(False, "measure our training step alone")

    def __post_init__(self):
        if min(self.repeats, self.threads, self.prompts, self.max_new_tokens - 7, self.group - 1, self.context - 1) < 1:
            raise Refusal("--repeats, --threads and --prompts must be at least 1, --group and --context at least 2, "
                          "--max-new-tokens at least 8")
        if any(self.prompts * self.group % cut for cut in numbers("--cuts", self.cuts)):
            raise Refusal(f"--cuts {self.cuts}: each must divide {self.prompts * self.group} rollouts")
        chosen(self.rows, ("sampler", "step", *ROWS))
        numbers("--slots", self.slots)
        check_json(self.json)


@dataclass
class Headline:
    """What the sides share."""
    c: CpuConfig
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


def set_up(c: CpuConfig, scratch: str) -> Headline:
    folder = model_folder.find(c.model)
    rng = random.Random(0)
    reward.REWARDS[EVERY_ROW] = lambda *_: (-rng.random(), 0.0)  # negative: the length limit takes nothing from it
    this = open_run(sides.training_config(
        out=f"{scratch}/run", model=str(folder), prompts_per_step=c.prompts, group_size=c.group,
        max_new_tokens=c.max_new_tokens, eval_problems=1, device="cpu"))
    this.problems = tasks.make_problems("countdown", "train", "bench", c.prompts)
    texts = [tasks.prompt(p, this.c.template, this.tokenizer) for p in this.problems]
    return Headline(c, this, texts, [tasks.encode(t, this.c.template, this.tokenizer) for t in texts])


def load_theirs(b: Headline):
    from transformers import AutoModelForCausalLM
    return AutoModelForCausalLM.from_pretrained(b.run.c.model, dtype=torch.float32)


def note(title: str, found: dict[str, list[Round]]) -> None:
    number = len(found[OURS]) - 1
    print(f"{title}, {f'round {number}' if number else 'warm-up'}: " + "; ".join(
        f"{name} {rounds[-1].seconds:.1f} s" for name, rounds in found.items()), file=sys.stderr, flush=True)


# ---------------------------------------------------------------- what is measured

def compare_samplers(b: Headline, title: str, imposed: bool) -> dict[str, list[Round]]:
    """Rounds of each sampler; continuous batching is left out aloud where it cannot run."""
    model, found = load_theirs(b).eval(), {OURS: [], STATIC: [], CONTINUOUS: []}
    rows, stops, longest = [ids for ids in b.ids for _ in range(b.c.group)], b.run.model.stop_ids, b.c.max_new_tokens
    d = Decoder(b.run.model, min(256, len(rows))).make_room(max(map(len, b.ids)) + longest, longest)
    for seed in range(b.c.repeats + 1):
        limits = lognormal_lengths(len(rows), longest / 8, seed) if imposed else None
        b.run.model.stop_ids = () if imposed else stops
        began = time.perf_counter()
        rollouts = sides.ours(b.run.model, b.run.tokenizer, b.ids, b.c.group, limits, b.run.sampling(), seed, d)
        found[OURS].append(Round(time.perf_counter() - began, sum(len(r.response) for r in rollouts)))
        began = time.perf_counter()
        tokens, _ = sides.static(model, rows, limits, longest, list(stops), seed)
        found[STATIC].append(Round(time.perf_counter() - began, tokens))
        if CONTINUOUS in found:
            try:
                tokens, seconds = sides.continuous(model, rows, limits, longest, list(stops), seed)
                found[CONTINUOUS].append(Round(seconds, tokens))
            except Unable as error:
                print(f"transformers' continuous batching does not run here: {error}")
                del found[CONTINUOUS]
        note(title, found)
    b.run.model.stop_ids = stops
    return found


def our_turn(b: Headline, title: str, found: dict[str, list[Round]]) -> None:
    """Our two steps, with the rule reward and with rewards that all differ."""
    for side, name in ((OURS, "dr_grpo"), (EVERY_ROW, EVERY_ROW)):
        b.run.c = replace(b.run.c, reward=name)
        began = time.perf_counter()
        line, _ = train.one_step(b.run)
        seconds, b.run.step = time.perf_counter() - began, b.run.step + 1  # the next step's draws are others
        parts = {part: line[part] for part in ("seconds_sample", "seconds_reward", "seconds_update", "equal_groups")}
        found[side].append(Round(seconds, round(line["length"] * len(b.ids) * b.c.group), line["reward"], parts))
    note(title, found)


def compare_steps(b: Headline, title: str, cuts: int) -> dict[str, list[Round]]:
    """Our steps, in turns with those of a GRPOTrainer that cuts its own into `cuts` micro-batches."""
    found, paid, began, rounds = {OURS: [], EVERY_ROW: [], TRL: []}, [], [time.perf_counter()], b.c.repeats + 1

    def rule(texts, ids, which):
        totals = [reward.score("dr_grpo", text, b.run.problems[i], row[-1] in b.run.model.stop_ids).total
                  for text, row, i in zip(texts, ids, which)]  # TRL has taken the padding off the ids
        paid.append((sum(map(len, ids)), mean(totals)))
        return totals

    def on_step_end():
        found[TRL].append(Round(time.perf_counter() - began[0], *paid[-1]))
        assert len(paid) == len(found[TRL]), "TRL did not generate once a step"
        our_turn(b, title, found)
        began[0] = time.perf_counter()

    step = sides.TrlStep(b.texts, b.c.group, cuts, b.c.max_new_tokens, rounds, b.run.c.clip_norm)
    trainer = sides.trl_trainer(load_theirs(b), b.run.tokenizer, step, rule, str(b.run.folder / "trl"), on_step_end)
    began[0] = time.perf_counter()
    trainer.train()
    assert torch.get_num_threads() == b.c.threads and b.run.tokenizer(b.texts)["input_ids"] == b.ids
    return found


# ---------------------------------------------------------------- the report

def figures(found: dict[str, list[Round]], rows: int) -> dict[str, dict]:
    """Figures of each side, [median, lowest, highest] or a mean; a side's ratio above 1 says that ours is the faster.

    Sampler: the ratio of ours to each of theirs stands in their line. Step: that of each of ours to TRL's in ours.
    """
    found, results = {name: rounds[1:] for name, rounds in found.items()}, {}  # the first round is the warm-up
    for name, rounds in found.items():
        f = results[name] = {"seconds": spread([r.seconds for r in rounds]),
                             "tokens/s": spread([r.tokens / r.seconds for r in rounds]),
                             "length": mean(r.tokens for r in rounds) / rows, "rounds": [asdict(r) for r in rounds]}
        pair = (found[OURS], rounds) if name in (STATIC, CONTINUOUS) else (rounds, found[TRL]) if (
            TRL in found and name != TRL) else None
        if pair:
            f["tokens/s ratio"] = spread([r.tokens / r.seconds * t.seconds / t.tokens for r, t in zip(*pair)])
            f["seconds ratio"] = spread([t.seconds / r.seconds for r, t in zip(*pair)])
        if rounds[0].parts:
            f["parts"] = {part: mean(r.parts[part] for r in rounds) for part in rounds[0].parts}
        if rounds[0].reward is not None and name != EVERY_ROW:
            f["reward"] = mean(r.reward for r in rounds)
    return results


def table(title: str, found: dict[str, dict]) -> str:
    lines = [f"\n{title:<28}" + "".join(f"{head:<24}" for head in COLUMNS) + "length  reward"]
    for name, f in found.items():
        cells = ["{:,.{n}f} [{:,.{n}f}, {:,.{n}f}]".format(*f[k], n=n) if k in f else "-" for k, n in COLUMNS.items()]
        lines.append(f"  {name:<26}" + "".join(f"{cell:<24}" for cell in cells) + f"{f['length']:6.1f}  "
                     + (f"{f['reward']:6.3f}" if "reward" in f else "     -"))
        if "parts" in f:
            lines.append("    " + ", ".join(f"{part.replace('_', ' ')} {x:.2f}" for part, x in f["parts"].items()))
    return "\n".join(lines)


def quote(found: dict[str, dict[str, dict]]) -> str:
    """The ratios to quote: of the samplers, and of the step at the cut at which TRL does best."""
    said = [f"{title}, ours to {name} {f['tokens/s ratio'][0]:.2f}" for title, result in found.items()
            for name, f in result.items() if name in (STATIC, CONTINUOUS)]
    steps = sorted((t for t in found if TRL in found[t]), key=lambda t: found[t][EVERY_ROW]["tokens/s ratio"])
    said += [f"{title}, {name} {found[title][name]['tokens/s ratio'][0]:.2f}" for title in steps[:1]
             for name in (OURS, EVERY_ROW)]
    return "to quote, useful tokens per second:\n  " + "\n  ".join(said)


def headline(c: CpuConfig, names: list[str], scratch: str, report: Report) -> None:
    b, found, rows = set_up(c, scratch), {}, c.prompts * c.group
    cuts = [] if c.skip_trl or not importlib.util.find_spec("trl") else (
        numbers("--cuts", c.cuts) or [n for n in CUTS if rows % n == 0])

    def show(title: str, rounds: dict[str, list[Round]]) -> None:
        found[title] = figures(rounds, rows)
        report.add(title, found[title], table(title, found[title]))

    if "sampler" in names:
        for title, imposed in (("sampler, its own lengths", False), ("sampler, lengths imposed", True)):
            show(title, compare_samplers(b, title, imposed))
    if "step" in names and cuts:
        for n in cuts:
            show(f"step, TRL {rows // n} x {n}", compare_steps(b, f"step, TRL {rows // n} x {n}", n))
    elif "step" in names:
        print("TRL is skipped:", "--skip-trl" if c.skip_trl else "for it, pip install -r requirements-bench.txt")
        rounds = {OURS: [], EVERY_ROW: []}
        for _ in range(c.repeats + 1):
            our_turn(b, "step", rounds)
        show("step", rounds)
    if found:
        print("\n" + quote(found))


def main(argv: list[str] | None = None):
    c, _ = parse(CpuConfig, "our sampler and training step beside those of transformers and TRL, on a CPU", argv)
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the hub, and TRL would report to it
    names = chosen(c.rows, ("sampler", "step", *ROWS)) or [
        "sampler", "step", *(name for name in ROWS if name not in ("step", "attention"))]
    torch.set_num_threads(c.threads)
    with tempfile.TemporaryDirectory() as scratch:
        report = Report(c, torch.device("cpu"))
        if {"sampler", "step"} & set(names):
            headline(c, names, scratch, report)
        rest = [name for name in names if name not in ("sampler", "step")]
        if rest:
            machine = measure_machine(torch.device("cpu"), torch.float32, 2 ** 28, 2048)
            subject = base_subject(c, machine, scratch)
            table_rows.run_rows(subject, rest, report)
