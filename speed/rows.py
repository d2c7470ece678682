"""The rows of a benchmark, each beside its floor and the others.

They are prefill, decode, rollout, log-prob pass, update, step, and attention alone.

    python bench.py cuda --shape qwen2.5-1.5b --rows decode,rollout
    python bench.py cuda --shape tiny --device cpu

The second is a rehearsal, every row on a CPU in seconds, and no measurement.

Weights are random, in bf16 on a GPU, and transformers' model has the very same tensors. Prompts are
Countdown problems cut by the embedded base's tokenizer and joined to the length asked for. Lengths
are imposed (bench.py). Where a package is missing, its side says so; where memory ends, that side
of that row says so, and the rest goes on.

GRPOTrainer of TRL keeps bf16 weights here and steps on them; ours keeps fp32 masters besides, as
train.py does.
"""

import importlib.util
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from config import parse
from engine.batches import micro_batches
from engine.decoder import MOST_SLOTS
from engine.optimizer import MasterAdamW
from sample import Rollout
from speed import decode_kernels, floors, measure, side_ours, side_transformers, side_trl
from speed.floors import Machine
from speed.measure import Side
from speed.report import Report, chosen, numbers
from speed.subject import ROWS, RowsConfig, Subject, random_subject, their_model
from train import Run

PREFILL_TOKENS = 16384  # of the prefill row, in at most 64 prompts


def add_row(
    report: Report,
    subject: Subject,
    title: str,
    work: dict[str, Side],
    tokens: int,
    floor: tuple,
    more: dict | None = None,
) -> None:
    """Measure the sides of a row in turns and report them."""
    settings = subject.settings
    found = measure.take_turns(work, settings.repeats, settings.patience, subject.device)
    report.times(title, found, tokens, subject.machine, floor, more)


# ---------------------------------------------------------------- the sampler's parts


def prefill_row(subject: Subject, report: Report) -> None:
    """Prompts of one length into a cache."""
    width = subject.settings.prompt_tokens
    n = max(1, min(64, PREFILL_TOKENS // width))
    prompts = [prompt[:width] for prompt in subject.prompts(n)]
    work = {
        "ours": Side(side_ours.our_prefill(subject.model, prompts)),
        "static": Side(side_transformers.their_prefill(subject.theirs, prompts)),
    }
    floor = (0, floors.forward_operations(subject.model, [width] * n, 0))
    add_row(report, subject, f"prefill, {n} x {width} tokens", work, n * width, floor)


def decode_row(subject: Subject, report: Report) -> None:
    """One decode step of several numbers of rows."""
    steps = 16 if subject.device.type == "cuda" else 4
    context = subject.settings.context
    for slots in numbers("--slots", subject.settings.slots):
        ours = side_ours.our_decode(subject.model, slots, context, steps)
        static = side_transformers.static_decode(subject.theirs, slots, context, steps)
        work = {"ours": Side(ours), "static": Side(static)}
        title = f"decode, {slots} slots, {context} tokens of context"
        floor = floors.decode_work(subject.model, slots, context)
        add_row(report, subject, title, work, slots, floor)


def rollout_row(subject: Subject, report: Report) -> None:
    """Realistic lengths, then the same number of tokens in equal lengths, ours alone."""
    group = subject.settings.group
    for n in numbers("--rollouts", subject.settings.rollouts):
        prompts = subject.prompts(n // group)
        starts = [len(prompt) for prompt in prompts]
        slots = min(n, MOST_SLOTS)
        limits = subject.limits(n, 0)
        title = f"rollout, {n} rows, lengths imposed, longest {max(limits)}"
        floor = floors.rollout_work(subject.model, starts, group, limits, slots)
        work = rollout_sides(subject, prompts, limits)
        add_row(report, subject, title, work, sum(limits), floor)
        length = round(sum(limits) / n)
        equal = [length] * n
        title = f"rollout, {n} rows of {length} tokens each"
        floor = floors.rollout_work(subject.model, starts, group, equal, slots)
        work = {"ours": rollout_sides(subject, prompts, equal)["ours"]}
        add_row(report, subject, title, work, sum(equal), floor)


def rollout_sides(subject: Subject, prompts: list[list[int]], limits: list[int]) -> dict[str, Side]:
    """Our sampler and transformers' two.

    On a GPU the long calls of theirs warm up with a few tokens.
    """
    group = subject.settings.group
    longest = subject.settings.max_new_tokens
    rows = []
    for prompt in prompts:
        rows += [prompt] * group
    decoder = side_ours.decoder_for(subject.model, prompts, len(rows), longest)
    sampling = subject.sampling()

    def ours():
        side_ours.our_rollouts(
            subject.model, subject.tokenizer, prompts, group, limits, sampling, 0, decoder
        )

    def static():
        side_transformers.static(subject.theirs, rows, limits, longest, subject.stops, 0)

    def static_of_a_few_tokens():
        few = min(longest, 8)
        shorter = [min(n, few) for n in limits]
        side_transformers.static(subject.theirs, rows, shorter, few, subject.stops, 0)

    def continuous() -> float:
        _, seconds = side_transformers.continuous(
            subject.theirs, rows, limits, longest, subject.stops, 0
        )
        return seconds

    def nothing():
        pass

    if subject.device.type != "cuda":
        return {"ours": Side(ours), "static": Side(static), "continuous": Side(continuous)}
    return {
        "ours": Side(ours),
        "static": Side(static, warm=static_of_a_few_tokens),
        "continuous": Side(continuous, warm=nothing),  # its graphs come before its clock starts
    }


# ---------------------------------------------------------------- the trainer's parts


def made_up_rollouts(subject: Subject, n: int) -> list[Rollout]:
    """Rollouts of random ids with imposed lengths, and log-probs that agree with nothing."""
    group = subject.settings.group
    vocabulary = subject.model.config.vocab_size
    generator = torch.Generator().manual_seed(0)
    prompts = subject.prompts(-(-n // group))
    rollouts = []
    for i, length in enumerate(subject.limits(n, 0)):
        ids = torch.randint(1, vocabulary, (length,), generator=generator).tolist()
        rollouts.append(Rollout(prompts[i // group], ids, [-1.0] * length, True))
    return rollouts


def logprobs_row(subject: Subject, report: Report) -> None:
    """The log-probs of made-up rollouts, in the same micro-batches on both sides.

    Ours computes each prompt once, as the trainer does; theirs computes it for each response.
    """
    settings = subject.settings
    rollouts = made_up_rollouts(subject, settings.prompts * settings.group)
    lengths, scored = lengths_of(rollouts)
    batches = []
    for indices in micro_batches(lengths, settings.token_budget):
        batches.append([rollouts[i] for i in indices])

    def ours():
        side_ours.our_logprobs(subject.model, batches, settings.token_budget)

    def static():
        side_transformers.their_logprobs(subject.theirs, batches)

    title = f"log-prob pass, {len(rollouts)} rows, {sum(lengths):,} tokens"
    work = {"ours": Side(ours), "static": Side(static)}
    starts, responses = group_lengths(rollouts, settings.group)
    floor = (0, floors.group_operations(subject.model, starts, settings.group, responses))
    add_row(report, subject, title, work, scored, floor)


def group_lengths(rollouts: list[Rollout], group: int) -> tuple[list[int], list[int]]:
    """(tokens of each group's prompt, tokens of each response) of whole groups of rollouts."""
    starts = [len(rollout.prompt) for rollout in rollouts[::group]]
    responses = [len(rollout.response) for rollout in rollouts]
    return starts, responses


def lengths_of(rollouts: list[Rollout]) -> tuple[list[int], int]:
    """(tokens of each rollout with its prompt, tokens of all responses)."""
    lengths = [len(rollout.prompt) + len(rollout.response) for rollout in rollouts]
    scored = sum(len(rollout.response) for rollout in rollouts)
    return lengths, scored


def our_run(subject: Subject) -> Run:
    """What an update needs, with the optimizer's fp32 masters on the subject's device.

    There is one for all rows, as its hooks stay.
    """
    if subject.run:
        return subject.run
    settings = subject.settings
    config = side_ours.training_config(
        prompts_per_step=settings.prompts,
        group_size=settings.group,
        max_new_tokens=settings.max_new_tokens,
        token_budget=settings.token_budget,
    )
    subject.model.requires_grad_(True)
    subject.run = Run(
        config,
        Path(subject.folder),
        subject.model,
        subject.tokenizer,
        optimizer=MasterAdamW(subject.model, subject.model.dtype),
        problems="countdown",
        held_out=[],
        suite={},
        reference=None,
    )
    return subject.run


def update_row(subject: Subject, report: Report) -> None:
    """A whole update with its optimizer step, and how long the optimizer step takes of it."""
    settings = subject.settings
    run = our_run(subject)
    rollouts = made_up_rollouts(subject, settings.prompts * settings.group)
    generator = torch.Generator().manual_seed(0)
    advantage = torch.rand(len(rollouts), generator=generator) + 0.5
    lengths, scored = lengths_of(rollouts)

    def optimizer_step():
        for parameter in subject.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        run.optimizer.accumulate()
        run.optimizer.step(side_ours.LR, 1.0)

    def whole_update():
        side_ours.our_update(run, rollouts, advantage)

    alone = {"ours": Side(optimizer_step)}
    found = measure.take_turns(alone, settings.repeats, settings.patience, subject.device)["ours"]
    if isinstance(found, list):
        found = round(1000 * measure.spread(found)[0], 2)
    title = f"update, {len(rollouts)} rows, {sum(lengths):,} tokens"
    work = {"ours": Side(whole_update)}
    starts, responses = group_lengths(rollouts, settings.group)
    floor = (0, floors.update_operations(subject.model, starts, settings.group, responses))
    more = {"optimizer step, ms": found}
    add_row(report, subject, title, work, scored, floor, more)


# ---------------------------------------------------------------- a whole step


def step_row(subject: Subject, report: Report) -> None:
    """A whole step and its split.

    TRL's is the time between the ends of two of its own, less ours, which runs in between.
    """
    settings = subject.settings
    run = our_run(subject)
    rows = settings.prompts * settings.group
    prompts = subject.prompts(settings.prompts)
    limits = subject.limits(rows, 0)
    decoder = side_ours.decoder_for(subject.model, prompts, rows, settings.max_new_tokens)
    rounds = settings.repeats + 1  # the first one warms up
    parts = []  # of each of our steps: the seconds of its parts

    def our_turn():
        parts.append(side_ours.our_step(run, prompts, limits, len(parts), decoder))

    theirs = "is not installed: pip install -r requirements-bench.txt"
    if importlib.util.find_spec("trl"):
        try:
            theirs = trl_steps(subject, limits, rounds, our_turn)[1:]
        except torch.OutOfMemoryError:
            theirs = "out of memory beside ours"
            parts.clear()
    while len(parts) < rounds:
        our_turn()
    measured = parts[1:]
    split = {}
    for part in measured[0]:
        middle = measure.spread([seconds[part] for seconds in measured])[0]
        split[f"seconds of {part}"] = round(middle, 3)
    title = (
        f"step, {settings.prompts} x {settings.group} rollouts, lengths imposed, "
        f"longest {max(limits)}"
    )
    found = {"ours": [sum(seconds.values()) for seconds in measured], "trl": theirs}
    report.times(title, found, sum(limits), subject.machine, more=split)


def trl_steps(subject: Subject, limits: list[int], rounds: int, our_turn) -> list[float]:
    """Seconds of steps of GRPOTrainer with imposed lengths; `our_turn()` is called after each."""
    settings = subject.settings
    rows = len(limits)
    seconds = []
    drawn = []  # of each step: the lengths of its responses

    def rule(texts, ids, which) -> list[float]:
        drawn.append(sorted(map(len, ids)))
        return [i * 7919 % 101 / 101 for i in range(rows)]  # no two of a group are equal

    def after_step(taken: float):
        seconds.append(taken)
        our_turn()

    cuts = max(1, rows // settings.trl_rows)
    while rows % cuts:
        cuts += 1
    texts = subject.texts(settings.prompts)
    step = side_trl.TrlStep(texts, settings.group, cuts, settings.max_new_tokens, rounds, 1.0)
    # A model of its own: a trainer changes the forward of the model that it is given.
    model = their_model(subject.model, subject.tokenizer)
    side_trl.impose(model, limits, subject.stops)
    side_trl.run_steps(model, subject.tokenizer, step, rule, f"{subject.folder}/trl", after_step)
    expected = sorted(limits)
    for lengths in drawn:
        assert lengths == expected, "TRL's responses have not their imposed lengths"
    return seconds


# ---------------------------------------------------------------- attention, and all rows


def attention_row(subject: Subject, report: Report) -> None:
    """One layer's attention for one token a row, by kernel."""
    for slots in numbers("--slots", subject.settings.slots):
        found, text = decode_kernels.compare(
            subject.model.config,
            slots,
            subject.settings.context,
            subject.device,
            subject.model.dtype,
            subject.machine,
            subject.settings.repeats,
        )
        report.add(f"attention of one layer, {slots} slots", found, text)


def machine_line(machine: Machine, dtype: torch.dtype) -> str:
    """What the machine does at most, in words."""
    return (
        f"measured: copies {machine.bandwidth / 1e9:,.1f} GB/s, matrix products "
        f"{machine.rate / 1e12:,.2f} TFLOP/s ({dtype})"
    )


def run_rows(subject: Subject, names: list[str], report: Report) -> None:
    """Measure these rows; one that has no memory says so, and the next one goes on."""
    machine = subject.machine
    report.add("machine", asdict(machine), machine_line(machine, subject.model.dtype))
    rows = {
        "prefill": prefill_row,
        "decode": decode_row,
        "rollout": rollout_row,
        "logprobs": logprobs_row,
        "update": update_row,
        "step": step_row,
        "attention": attention_row,
    }
    for name in names:
        try:
            rows[name](subject, report)
        except torch.OutOfMemoryError:  # while the row was being made
            report.add(name, "out of memory", f"\n{name}: out of memory")
        if subject.device.type == "cuda":
            torch.cuda.empty_cache()


def main(argv: list[str] | None = None) -> None:
    settings, _ = parse(
        RowsConfig,
        "random weights of a published shape beside transformers, TRL and the machine's limit",
        argv,
    )
    os.environ["HF_HUB_OFFLINE"] = "1"
    names = chosen(settings.rows, ROWS) or list(ROWS)
    with tempfile.TemporaryDirectory() as scratch:
        subject = random_subject(settings, scratch)
        run_rows(subject, names, Report(settings, subject.device))
    print(f"\nall figures: {settings.json}", file=sys.stderr)
