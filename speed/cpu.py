"""The headline on a CPU: the embedded base beside transformers and TRL.

All have one set of problems and threads, and compute in fp32.

    python bench.py cpu                     # then the rows of speed/rows.py on the same model
    python bench.py cpu --rows sampler,step --cuts 16

Sampler: sample.generate against transformers' generate, which gets all rows as one left-padded
batch, with its default cache and attention, and decodes until the last row ends; and against its
continuous batching, set up and warmed up before the clock starts. Ours also records the log-prob of
every token. Measured twice: the model's own lengths, and lengths imposed. Ratios of useful tokens
per second are the ones to quote, because draws differ in length.

Training step: sample, reward, advantages, update, with one optimizer step on all rollouts, at the
model's own lengths. Ours is train.train_step. TRL's is the time from the end of one step of
GRPOTrainer to the end of the next, less our steps, which run in between. Both: Dr. GRPO without a
KL term, the same rule reward, clipped gradients, a learning rate too small to move the policy. TRL
generates with transformers' static batch, without gradient checkpointing, logging or saving. It is
measured at several cuts of the step into micro-batches (rows x cuts); the one to quote is that at
which it does best.

Ours spends no forward pass on groups whose rewards are all equal: their gradient is exactly 0. What
that saves depends on the model, so each round has a second step of ours with made-up rewards that
all differ: no row is left out.
"""

import importlib.util
import os
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from statistics import mean

import torch

import reward
import tasks
import train
from config import UserError, parse, setting
from speed import rows as table_rows
from speed import side_ours, side_transformers, side_trl
from speed.figures import CONTINUOUS, EVERY_ROW, OURS, STATIC, TRL, Round, figures, quote, table
from speed.floors import measure_machine
from speed.lengths import lognormal_lengths
from speed.measure import Unable
from speed.report import Report, check_json, chosen, numbers
from speed.subject import ROWS, base_subject
from storage import model_folder
from train import Run, open_run

CUTS = (1, 4, 16, 64)  # micro-batches that TRL's step is cut into, as far as they divide its rows
HEADLINE = ("sampler", "step")
KNOWN = ("sampler", "step", *ROWS)


@dataclass(frozen=True)
class CpuConfig:
    """The headline's size, and what is measured."""

    model: str = setting("base", "model folder or hub id")
    repeats: int = setting(3, "measured rounds, after one for warming up")
    threads: int = setting(2, "CPU threads")
    prompts: int = setting(16, "Countdown problems of the headline")
    group: int = setting(16, "responses per problem")
    max_new_tokens: int = setting(
        256, "longest response, tokens; imposed lengths have an eighth as their mean"
    )
    cuts: str = setting("", "cuts of TRL's step, separated by commas; empty: 1, 4, 16, 64")
    rows: str = setting(
        "",
        f"what to measure, separated by commas: sampler, step, {', '.join(ROWS)}; "
        "empty: all but attention",
    )
    context: int = setting(128, "tokens that a decoding row sees, in the decode rows")
    slots: str = setting("1,16,64,256,512", "rows that decode at a time, in the decode rows")
    json: str = setting("bench-cpu.json", "write all figures to this file")
    skip_trl: bool = setting(False, "measure our training step alone")

    def __post_init__(self):
        at_least_1 = min(self.repeats, self.threads, self.prompts) >= 1
        at_least_2 = min(self.group, self.context) >= 2
        if not (at_least_1 and at_least_2 and self.max_new_tokens >= 8):
            raise UserError(
                "--repeats, --threads and --prompts must be at least 1, --group and --context at "
                "least 2, --max-new-tokens at least 8"
            )
        rollouts = self.prompts * self.group
        for cut in numbers("--cuts", self.cuts):
            if rollouts % cut:
                raise UserError(f"--cuts {self.cuts}: each must divide {rollouts} rollouts")
        chosen(self.rows, KNOWN)
        numbers("--slots", self.slots)
        check_json(self.json)


@dataclass
class Headline:
    """What the sides share."""

    settings: CpuConfig
    run: Run  # our model, tokenizer and optimizer; its problems are the same ones in every step
    texts: list[str]  # prompts
    ids: list[list[int]]  # prompts


def set_up(settings: CpuConfig, scratch: str) -> Headline:
    """Load our model, and draw the problems.

    A reward is added under the name EVERY_ROW: made up, and no two are equal. It is negative, so
    that the length limit takes nothing from it.
    """
    rng = random.Random(0)

    def made_up(*_):
        return -rng.random(), 0.0

    reward.REWARDS[EVERY_ROW] = made_up
    config = side_ours.training_config(
        out=f"{scratch}/run",
        model=str(model_folder.find(settings.model)),
        prompts_per_step=settings.prompts,
        group_size=settings.group,
        max_new_tokens=settings.max_new_tokens,
        eval_problems=1,
        device="cpu",
    )
    run = open_run(config)
    run.problems = tasks.make_problems("countdown", "train", "bench", settings.prompts)
    texts = [tasks.prompt(problem, config.template, run.tokenizer) for problem in run.problems]
    ids = [tasks.encode(text, config.template, run.tokenizer) for text in texts]
    return Headline(settings, run, texts, ids)


def load_theirs(headline: Headline):
    """transformers' model of the same folder, fp32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(headline.run.config.model, dtype=torch.float32)


def say_progress(title: str, found: dict[str, list[Round]]) -> None:
    """One line on stderr: the seconds of the round that has just ended."""
    number = len(found[OURS]) - 1
    which = f"round {number}" if number else "warm-up"
    seconds = [f"{name} {rounds[-1].seconds:.1f} s" for name, rounds in found.items()]
    print(f"{title}, {which}: {'; '.join(seconds)}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the sampler


def compare_samplers(headline: Headline, title: str, imposed: bool) -> dict[str, list[Round]]:
    """Rounds of each sampler, with the model's own lengths or with imposed ones.

    Continuous batching is left out aloud where it cannot run.
    """
    settings = headline.settings
    ours = headline.run.model
    theirs = load_theirs(headline).eval()
    stops = ours.stop_ids
    longest = settings.max_new_tokens
    rows = []
    for ids in headline.ids:
        rows += [ids] * settings.group
    decoder = side_ours.decoder_for(ours, headline.ids, len(rows), longest)
    if imposed:
        ours.stop_ids = ()
    found = {OURS: [], STATIC: [], CONTINUOUS: []}
    for seed in range(settings.repeats + 1):
        limits = None
        if imposed:
            limits = lognormal_lengths(len(rows), longest / 8, seed)
        found[OURS].append(our_sampling(headline, limits, seed, decoder))
        began = time.perf_counter()
        tokens, _ = side_transformers.static(theirs, rows, limits, longest, list(stops), seed)
        found[STATIC].append(Round(time.perf_counter() - began, tokens))
        if CONTINUOUS in found:
            try:
                tokens, seconds = side_transformers.continuous(
                    theirs, rows, limits, longest, list(stops), seed
                )
                found[CONTINUOUS].append(Round(seconds, tokens))
            except Unable as error:
                print(f"transformers' continuous batching does not run here: {error}")
                del found[CONTINUOUS]
        say_progress(title, found)
    ours.stop_ids = stops
    return found


def our_sampling(headline: Headline, limits: list[int] | None, seed: int, decoder) -> Round:
    """One round of our sampler."""
    run = headline.run
    group = headline.settings.group
    began = time.perf_counter()
    rollouts = side_ours.our_rollouts(
        run.model, run.tokenizer, headline.ids, group, limits, run.sampling(), seed, decoder
    )
    seconds = time.perf_counter() - began
    return Round(seconds, sum(len(rollout.response) for rollout in rollouts))


# ---------------------------------------------------------------- the training step


def our_turn(headline: Headline, title: str, found: dict[str, list[Round]]) -> None:
    """Our two steps, with the rule reward and with rewards that all differ."""
    for side, reward_name in ((OURS, "dr_grpo"), (EVERY_ROW, EVERY_ROW)):
        found[side].append(our_step(headline, reward_name))
    say_progress(title, found)


def our_step(headline: Headline, reward_name: str) -> Round:
    """One step of train.py."""
    run = headline.run
    run.config = replace(run.config, reward=reward_name)
    began = time.perf_counter()
    line, _ = train.train_step(run)
    seconds = time.perf_counter() - began
    run.step += 1  # the next step's draws are others
    names = ("seconds_sample", "seconds_reward", "seconds_update", "equal_groups")
    parts = {name: line[name] for name in names}
    tokens = round(line["length"] * len(headline.ids) * headline.settings.group)
    return Round(seconds, tokens, line["reward"], parts)


def compare_steps(headline: Headline, title: str, cuts: int) -> dict[str, list[Round]]:
    """Our steps, in turns with those of a GRPOTrainer that cuts its own into micro-batches."""
    settings = headline.settings
    run = headline.run
    found = {OURS: [], EVERY_ROW: [], TRL: []}
    paid = []  # of each step of TRL's: (useful tokens, mean reward)

    def rule(texts, ids, which) -> list[float]:
        totals = []
        for text, row, i in zip(texts, ids, which):
            finished = row[-1] in run.model.stop_ids  # TRL has taken the padding off the ids
            got = reward.score("dr_grpo", text, run.problems[i], finished)
            totals.append(got.total)
        paid.append((sum(map(len, ids)), mean(totals)))
        return totals

    def after_step(seconds: float):
        found[TRL].append(Round(seconds, *paid[-1]))
        assert len(paid) == len(found[TRL]), "TRL did not generate once a step"
        our_turn(headline, title, found)

    rounds = settings.repeats + 1
    step = side_trl.TrlStep(
        headline.texts, settings.group, cuts, settings.max_new_tokens, rounds, run.config.clip_norm
    )
    folder = str(run.folder / "trl")
    theirs = load_theirs(headline)
    side_trl.run_steps(theirs, run.tokenizer, step, rule, folder, after_step)
    assert torch.get_num_threads() == settings.threads, "TRL changed the number of threads"
    ids = run.tokenizer(headline.texts)["input_ids"]
    assert ids == headline.ids, "TRL changed the tokenizer"
    return found


def step_cuts(settings: CpuConfig) -> list[int]:
    """The cuts of TRL's step that are measured; none where TRL is left out."""
    if settings.skip_trl or not importlib.util.find_spec("trl"):
        return []
    rollouts = settings.prompts * settings.group
    dividing = [cut for cut in CUTS if rollouts % cut == 0]
    return numbers("--cuts", settings.cuts) or dividing


# ---------------------------------------------------------------- the report


def show_headline(settings: CpuConfig, names: list[str], scratch: str, report: Report) -> None:
    """Measure and report the sampler, the step, or both, and say what to quote."""
    headline = set_up(settings, scratch)
    rollouts = settings.prompts * settings.group
    found = {}

    def show(title: str, rounds: dict[str, list[Round]]) -> None:
        found[title] = figures(rounds, rollouts)
        report.add(title, found[title], table(title, found[title]))

    if "sampler" in names:
        title = "sampler, its own lengths"
        show(title, compare_samplers(headline, title, imposed=False))
        title = "sampler, lengths imposed"
        show(title, compare_samplers(headline, title, imposed=True))
    if "step" in names:
        cuts = step_cuts(settings)
        for cut in cuts:
            title = f"step, TRL {rollouts // cut} x {cut}"
            show(title, compare_steps(headline, title, cut))
        if not cuts:
            show("step", our_steps_alone(headline, "step"))
    print("\n" + quote(found))


def our_steps_alone(headline: Headline, title: str) -> dict[str, list[Round]]:
    """Our steps where TRL is left out, which is said."""
    why = "for it, pip install -r requirements-bench.txt"
    if headline.settings.skip_trl:
        why = "--skip-trl"
    print("TRL is skipped:", why)
    rounds = {OURS: [], EVERY_ROW: []}
    for _ in range(headline.settings.repeats + 1):
        our_turn(headline, title, rounds)
    return rounds


def main(argv: list[str] | None = None) -> None:
    settings, _ = parse(
        CpuConfig,
        "our sampler and training step beside those of transformers and TRL, on a CPU",
        argv,
    )
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the hub, and TRL would report to it
    names = chosen(settings.rows, KNOWN) or [name for name in KNOWN if name != "attention"]
    torch.set_num_threads(settings.threads)
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as scratch:
        report = Report(settings, cpu)
        headline_names = [name for name in names if name in HEADLINE]
        if headline_names:
            show_headline(settings, headline_names, scratch, report)
        others = [name for name in names if name not in HEADLINE]
        if others:
            machine = measure_machine(cpu, torch.float32, 2**28, 2048)
            subject = base_subject(settings, machine, scratch)
            table_rows.run_rows(subject, others, report)
