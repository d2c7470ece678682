"""The headline on a CPU: the embedded base, or a real model, beside transformers and TRL.

All have one set of weights, problems and threads, and one compute type.

    python bench.py cpu                     # then the rows of speed/rows.py on the same model
    python bench.py cpu --rows sampler,step --cuts 16
    python bench.py cpu --model FOLDER      # a real model: defaults of its own, floors beside it

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

Compute type. The base computes in fp32. With --model, --dtype decides for all sides. In bf16 ours
keeps fp32 masters beside its bf16 weights; transformers' model has bf16 weights, which TRL trains
under autocast (its default) and without masters, which is less work.

With --model or --dtype each table has its floor (speed/floors.py), and a third table of samplers
gives every response the longest length, where a static batch wastes nothing. The floor of the step
is that of its sampling and its update, each prompt computed once, for as many tokens as ours draws.
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

import model as lm
import reward
import tasks
import train
from config import UserError, check_settings, parse, setting
from engine.device import DTYPES, pick_dtype
from speed import floors, side_ours, side_transformers, side_trl
from speed import rows as table_rows
from speed.figures import (
    CONTINUOUS,
    EVERY_ROW,
    OURS,
    STATIC,
    TRL,
    Round,
    figures,
    floor_line,
    quote,
    table,
)
from speed.floors import Machine, measure_machine
from speed.lengths import even_lengths, lognormal_lengths
from speed.measure import Unable
from speed.report import Report, check_json, chosen, numbers
from speed.subject import ROWS, base_subject
from storage import model_folder
from train import Run, open_run

CUTS = (1, 4, 16, 64)  # micro-batches that TRL's step is cut into, as far as they divide its rows
HEADLINE = ("sampler", "step")
KNOWN = ("sampler", "step", *ROWS)
CPU = torch.device("cpu")
MEASURED = (2**28, 2048)  # bytes that are copied and width of the matrices, for the machine's rates
# Where the lengths of the samplers' responses come from.
OWN = "its own lengths"
IMPOSED = "lengths imposed"
EQUAL = "equal lengths"
# The defaults with --model: for a small instruct model, with which a step of TRL's takes tens of
# seconds. A whole step in one micro-batch would take too much memory.
WITH_MODEL = {
    "prompts": 8,
    "group": 16,
    "max_new_tokens": 16,
    "task": "sums:20",
    "template": "chat",
    "answer_style": "last-number",
    "rows": "sampler,step",
}
CUTS_WITH_MODEL = (4, 16)


@dataclass(frozen=True)
class CpuConfig:
    """The headline's size, and what is measured."""

    model: str = setting("base", "model folder or hub id")
    dtype: str = setting(
        "auto",
        "compute type of all sides: auto takes bf16 where that is faster",
        choices=("auto", *DTYPES),
    )
    repeats: int = setting(3, "measured rounds, after one for warming up")
    threads: int = setting(2, "CPU threads")
    prompts: int = setting(16, "problems of the headline; with --model 8")
    group: int = setting(16, "responses per problem")
    max_new_tokens: int = setting(
        256,
        "longest response, tokens; with --model 16; imposed lengths have an eighth as their mean",
    )
    task: str = setting("countdown", "task of the headline; with --model sums:20")
    template: str = setting("short", "prompt template; with --model chat", choices=tasks.TEMPLATES)
    answer_style: str = setting(
        "auto",
        "where in a response the answer stands; with --model last-number",
        choices=reward.STYLES,
    )
    cuts: str = setting(
        "", "cuts of TRL's step, separated by commas; empty: 1, 4, 16, 64, with --model 4, 16"
    )
    rows: str = setting(
        "",
        f"what to measure, separated by commas: sampler, step, {', '.join(ROWS)}; "
        "empty: all but attention, with --model sampler, step",
    )
    context: int = setting(128, "tokens that a decoding row sees, in the decode rows")
    slots: str = setting("1,16,64,256,512", "rows that decode at a time, in the decode rows")
    json: str = setting("bench-cpu.json", "write all figures to this file")
    skip_trl: bool = setting(False, "measure our training step alone")

    def __post_init__(self):
        check_settings(self)
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
        if tasks.stop_strings(self.template):
            raise UserError(
                f"--template {self.template}: a string ends its responses, and the others' sides "
                "end them at a token; choose another"
            )
        chosen(self.rows, KNOWN)
        numbers("--slots", self.slots)
        check_json(self.json)


@dataclass
class Headline:
    """What the sides share."""

    settings: CpuConfig
    run: Run  # our model, tokenizer and optimizer; its problems are the same ones in every step
    texts: list[str]  # prompts as TRL is given them; none where it is left out
    ids: list[list[int]]  # prompts
    machine: Machine | None  # where the tables have floors


def settings_for(settings: CpuConfig, given: set[str]) -> CpuConfig:
    """The settings with the defaults of a real model, if --model is among the given ones."""
    if "model" not in given:
        return settings
    missing = {name: value for name, value in WITH_MODEL.items() if name not in given}
    settings = replace(settings, **missing)
    if "cuts" in given:
        return settings
    rollouts = settings.prompts * settings.group
    dividing = [str(cut) for cut in CUTS_WITH_MODEL if rollouts % cut == 0]
    return replace(settings, cuts=",".join(dividing))


def compute_type(settings: CpuConfig) -> torch.dtype:
    """The type that all sides compute in."""
    folder = model_folder.find(settings.model)
    model_folder.check_complete(folder)
    shape = lm.read_config(folder)
    dtype, _ = pick_dtype(settings.dtype, CPU, shape.hidden_size)
    return dtype


def set_up(settings: CpuConfig, scratch: str, machine: Machine | None) -> Headline:
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
        task=settings.task,
        template=settings.template,
        answer_style=settings.answer_style,
        dtype=settings.dtype,
        prompts_per_step=settings.prompts,
        group_size=settings.group,
        max_new_tokens=settings.max_new_tokens,
        eval_problems=1,
        device="cpu",
    )
    run = open_run(config)
    run.problems = tasks.make_problems(settings.task, "train", "bench", settings.prompts)
    texts = []
    vocabulary = run.model.config.vocab_size
    ids = tasks.encode_prompts(run.problems, config.template, run.tokenizer, vocabulary)
    if step_cuts(settings):
        for problem, prompt in zip(run.problems, ids):
            text = tasks.prompt(problem, config.template, run.tokenizer)
            texts.append(side_trl.text_for_trl(text, prompt, run.tokenizer))
    return Headline(settings, run, texts, ids, machine)


def load_theirs(headline: Headline):
    """transformers' model of the same folder, in the type that ours computes in."""
    from transformers import AutoModelForCausalLM

    folder = headline.run.config.model
    return AutoModelForCausalLM.from_pretrained(folder, dtype=headline.run.model.dtype)


def say_progress(title: str, found: dict[str, list[Round]]) -> None:
    """One line on stderr: the seconds of the round that has just ended."""
    number = len(found[OURS]) - 1
    which = f"round {number}" if number else "warm-up"
    seconds = [f"{name} {rounds[-1].seconds:.1f} s" for name, rounds in found.items()]
    print(f"{title}, {which}: {'; '.join(seconds)}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- the sampler


def imposed_lengths(kind: str, rows: int, longest: int, seed: int) -> list[int] | None:
    """The lengths that a round imposes on every side; None where the model ends its responses."""
    if kind == OWN:
        return None
    if kind == EQUAL:
        return [longest] * rows
    return lognormal_lengths(rows, longest / 8, seed)


def compare_samplers(
    headline: Headline, title: str, kind: str
) -> tuple[dict[str, list[Round]], list[int]]:
    """(rounds of each sampler, the lengths of our responses in the last one).

    kind: where the lengths come from. Continuous batching is left out aloud where it cannot run.
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
    if kind != OWN:
        ours.stop_ids = ()
    lengths = []
    found = {OURS: [], STATIC: [], CONTINUOUS: []}
    for seed in range(settings.repeats + 1):
        limits = imposed_lengths(kind, len(rows), longest, seed)
        one, lengths = our_sampling(headline, limits, seed, decoder)
        found[OURS].append(one)
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
    return found, lengths


def our_sampling(
    headline: Headline, limits: list[int] | None, seed: int, decoder
) -> tuple[Round, list[int]]:
    """(one round of our sampler, the lengths of its responses)."""
    run = headline.run
    group = headline.settings.group
    began = time.perf_counter()
    rollouts = side_ours.our_rollouts(
        run.model, run.tokenizer, headline.ids, group, limits, run.sampling(), seed, decoder
    )
    seconds = time.perf_counter() - began
    lengths = [len(rollout.response) for rollout in rollouts]
    return Round(seconds, sum(lengths)), lengths


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
            got = reward.score("dr_grpo", text, run.problems[i], finished, run.config.answer_style)
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


# ---------------------------------------------------------------- the floors


def sampling_floor(headline: Headline, lengths: list[int]) -> tuple[float, str]:
    """(seconds that sampling responses of these lengths takes at least, by what)."""
    starts = [len(prompt) for prompt in headline.ids]
    slots = len(lengths)  # no program has to let a row wait
    work = floors.rollout_work(headline.run.model, starts, headline.settings.group, lengths, slots)
    return headline.machine.floor(*work)


def step_floors(headline: Headline, rounds: list[Round]) -> dict[str, tuple[float, str]]:
    """What the parts of a step take at least, for the mean tokens of these rounds of ours.

    No lengths of as many tokens take less than even ones.
    """
    starts = [len(prompt) for prompt in headline.ids]
    group = headline.settings.group
    tokens = mean(one.tokens for one in rounds[1:])
    lengths = even_lengths(round(tokens), len(starts) * group)
    operations = floors.update_operations(headline.run.model, starts, group, lengths)
    return {
        "sampling": sampling_floor(headline, lengths),
        "update": headline.machine.floor(0, operations),
    }


# ---------------------------------------------------------------- the report


def heading(headline: Headline) -> str:
    """What is compared, in words."""
    settings = headline.settings
    dtype = headline.run.model.dtype
    if dtype == torch.bfloat16:
        weights = (
            "bf16 on all sides: ours has fp32 masters beside its bf16 weights; transformers' model "
            "has bf16 weights, which TRL trains under autocast and without masters"
        )
    else:
        weights = "fp32 on all sides: there are no masters beside the weights"
    return (
        f"{settings.model} on {settings.task}, template {settings.template}, "
        f"{settings.prompts} x {settings.group} responses of at most {settings.max_new_tokens} "
        f"tokens\n{weights}\n{table_rows.machine_line(headline.machine, dtype)}"
    )


def show_headline(
    settings: CpuConfig, names: list[str], scratch: str, report: Report, machine: Machine | None
) -> None:
    """Measure and report the sampler, the step, or both, and say what to quote.

    machine: where the tables are to have floors.
    """
    headline = set_up(settings, scratch, machine)
    if machine:
        about = {"dtype": str(headline.run.model.dtype), **asdict(machine)}
        report.add("compared", about, heading(headline))
    rollouts = settings.prompts * settings.group
    found = {}

    def show(title: str, rounds: dict[str, list[Round]]) -> None:
        found[title] = figures(rounds, rollouts)
        report.add(title, found[title], table(title, found[title]))

    def show_floor(title: str, parts: dict[str, tuple[float, str]], sides: list[str]) -> None:
        compared = {name: found[title][name] for name in sides if name in found[title]}
        report.add(f"{title}: floor", parts, floor_line(parts, compared))

    def show_step(title: str, rounds: dict[str, list[Round]]) -> None:
        show(title, rounds)
        if machine:
            # Not of the step that leaves rows out: it need not do all of this work.
            show_floor(title, step_floors(headline, rounds[EVERY_ROW]), [EVERY_ROW, TRL])

    if "sampler" in names:
        kinds = [OWN, IMPOSED]
        if machine:
            kinds.append(EQUAL)
        for kind in kinds:
            title = f"sampler, {kind}"
            rounds, lengths = compare_samplers(headline, title, kind)
            show(title, rounds)
            if machine:
                parts = {"sampling": sampling_floor(headline, lengths)}
                show_floor(title, parts, [OURS, STATIC, CONTINUOUS])
    if "step" in names:
        cuts = step_cuts(settings)
        for cut in cuts:
            title = f"step, TRL {rollouts // cut} x {cut}"
            show_step(title, compare_steps(headline, title, cut))
        if not cuts:
            show_step("step", our_steps_alone(headline, "step"))
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
    settings, given = parse(
        CpuConfig,
        "our sampler and training step beside those of transformers and TRL, on a CPU",
        argv,
    )
    settings = settings_for(settings, given)
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here needs the hub, and TRL would report to it
    names = chosen(settings.rows, KNOWN) or [name for name in KNOWN if name != "attention"]
    torch.set_num_threads(settings.threads)
    dtype = compute_type(settings)
    with tempfile.TemporaryDirectory() as scratch:
        report = Report(settings, CPU)
        headline_names = [name for name in names if name in HEADLINE]
        others = [name for name in names if name not in HEADLINE]
        has_floors = not given.isdisjoint({"model", "dtype"})
        machine = None
        if headline_names and has_floors:
            machine = measure_machine(CPU, dtype, *MEASURED)
        if headline_names:
            show_headline(settings, headline_names, scratch, report, machine)
        if others:
            machine = measure_machine(CPU, dtype, *MEASURED)
            subject = base_subject(settings, machine, scratch)
            table_rows.run_rows(subject, others, report)
