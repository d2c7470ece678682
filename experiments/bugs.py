"""Five classic faults of an implementation can be measured; three of them change accuracy by less
than 0.1 in the end.

Each fault is a switch that exists only here; all but the first on Countdown with the embedded base
and Dr. GRPO:
    stop token left out     of the loss, in the world of length_bias, where responses choose their
                            length
    temperature forgotten   sampling at 0.7, the trainer's log-probs at 1 (control: the same with a
                            trainer that knows)
    top-p                   0.9 in the sampler, of which the trainer knows nothing
    local normaliser        a step is the mean of its micro-batches' means: a row counts for more
                            among fewer
    pure bf16               weights rounded to bf16 after each step (control: fp32 at the same small
                            learning rate)

What they break: the stop token is an action; on-policy, sampler and trainer agree on every
log-prob; the gradient does not depend on how a step is cut into micro-batches; a step of 3e-5 is
lost beside a weight of 0.02, where bf16's numbers are 1.2e-4 apart. Falsified if what `judge`
measures of a fault is as its control has it, or if one of the middle three is 0.1 or more away from
its control's accuracy in the last ten of 40 steps (on the way it may be: docs/laboratory.md).
"""

from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

import grpo
import model as lm
import train
from engine import optimizer as optim
from experiments import figures, length_bias, training
from experiments.evidence import (
    above,
    below,
    columns,
    curves,
    differences,
    length_gaps,
    less_than_half,
    near,
    numbers,
    within,
)
from train import Run

# What the faults patch: the place, and the name of its function there.
RESPONSE_LOGPROBS = (lm.SharedPrompts, "response_logprobs")
RUN_SAMPLING = (Run, "sampling")
MICRO_BATCHES = (train, "micro_batches")
POLICY_LOSS = (grpo, "policy_loss")
OPTIMIZER_STEP = (optim.MasterAdamW, "step")

SEEDS = (10, 11, 12, 13)
STEPS = 40
COUNTDOWN = dict(prompts_per_step=16, group_size=8, max_new_tokens=160, token_budget=1024)
# A run in which sampler and trainer disagree stops; max_logprob_gap 0 lets the two faults go on.
ARMS = {
    "no fault, marks": dict(loss="grpo"),
    "stop token left out": dict(loss="grpo"),
    "no fault": {},
    "temperature forgotten": dict(temperature=0.7, max_logprob_gap=0.0),
    "no fault, temperature 0.7": dict(temperature=0.7),
    "top-p": dict(max_logprob_gap=0.0),
    "local normaliser": {},
    "pure bf16": dict(lr=3e-5),
    "no fault, lr 3e-5": dict(lr=3e-5),
}
COLOURS = dict(zip(ARMS, ("black", "C4", "black", "C0", "C0", "C1", "C2", "C3", "C3")))
MARKS = ("no fault, marks", "stop token left out")  # the arms in the world of length_bias
CUT = ("no fault", "local normaliser")  # the arms whose micro-batches are cut in two ways


# ---------------------------------------------------------------- the faults


def temperature_forgotten():
    """The trainer's log-probs are those at temperature 1, whatever the sampler's was."""
    honest = getattr(*RESPONSE_LOGPROBS)

    def at_temperature_1(shared, prompts, responses, temperature):
        return honest(shared, prompts, responses)

    return patch.object(*RESPONSE_LOGPROBS, at_temperature_1)


def top_p():
    """The sampler draws from the likeliest 0.9; training refuses to be told so."""
    honest = getattr(*RUN_SAMPLING)

    def with_top_p(run):
        return replace(honest(run), top_p=0.9)

    return patch.object(*RUN_SAMPLING, with_top_p)


@contextmanager
def local_normaliser():
    """What gradient accumulation does if each micro-batch takes its own mean."""
    honest_cut = getattr(*MICRO_BATCHES)
    honest_loss = getattr(*POLICY_LOSS)
    batches = []  # of the step that is being made

    def cut(*args):
        batches[:] = honest_cut(*args)
        return list(batches)

    def loss(logprobs, old, advantages, lengths, kind, step, *rest):
        as_if_alone = replace(step, rows=len(advantages) * len(batches))
        return honest_loss(logprobs, old, advantages, lengths, kind, as_if_alone, *rest)

    with patch.object(*MICRO_BATCHES, cut), patch.object(*POLICY_LOSS, loss):
        yield


def pure_bf16():
    """The masters, and so the weights, hold only what bf16 can."""
    honest = getattr(*OPTIMIZER_STEP)

    def step(optimizer, lr, clip_norm):
        norm = honest(optimizer, lr, clip_norm)
        with torch.no_grad():
            for p, master in zip(optimizer.params, optimizer.masters):
                master.copy_(master.bfloat16())
                p.copy_(master)
        return norm

    return patch.object(*OPTIMIZER_STEP, step)


FAULTS = {
    "stop token left out": length_bias.without_stop,
    "temperature forgotten": temperature_forgotten,
    "top-p": top_p,
    "local normaliser": local_normaliser,
    "pure bf16": pure_bf16,
}


def fault(arm: str):
    """The fault of an arm, as long as this context is entered; a control has none."""
    start = FAULTS.get(arm, nullcontext)
    return start()


# ---------------------------------------------------------------- measurement


def prepare(folder: Path, device: str) -> None:
    """Make the world of length_bias; the embedded base and generated problems need nothing."""
    length_bias.prepare(folder, device)


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """Accuracy, lengths and the sampler's agreement with the trainer, with the arm's fault."""
    if arm in MARKS:
        base = folder / "base"
        world = dict(data=str(folder / "problems.jsonl"), **length_bias.WORLD)
    else:
        base = "base"
        world = COUNTDOWN
    settings = {**world, **ARMS[arm]}
    out = folder / f"{arm}-{seed}"
    ratio = None
    with fault(arm):
        lines = training.run_rl(out, base, steps=STEPS, seed=seed, device=device, **settings)
        if arm in CUT:
            ratio = ratio_of_norms(out, seed, device)
    names = ("accuracy", "length_right", "length_wrong", "logprob_gap_mean")
    by_step = {name: training.curve(lines, name) for name in names}
    wrong = training.late(by_step["length_wrong"][:30])  # steps 11 to 30
    right = training.late(by_step["length_right"][:30])
    accuracy = training.late(by_step["accuracy"], 10)
    found = {
        "accuracy": accuracy,
        "gain": accuracy - training.late(by_step["accuracy"][:3]),
        "wrong - right": wrong - right,
        "first gap": lines[1]["logprob_gap_mean"],
        "norm, cut": ratio,
    }
    return {"numbers": found, "curves": by_step}


def ratio_of_norms(out: Path, seed: int, device: str) -> float | None:
    """The gradient's norm of one step in many micro-batches over that in a single one.

    It is a step of more groups than in the run. None if there is no gradient.
    """
    norms = []
    for budget in (1024, 10**6):
        settings = {**COUNTDOWN, "prompts_per_step": 64, "token_budget": budget}
        folder = out.parent / f"{out.name}-{budget}"
        lines = training.run_rl(folder, "base", steps=1, seed=seed, device=device, **settings)
        norms.append(lines[1]["grad_norm"])
    cut, whole = norms
    if not whole:
        return None
    return cut / whole


# ---------------------------------------------------------------- predictions


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""
    return (
        judge_agreement(found)
        + judge_norms(found)
        + judge_accuracies(found)
        + judge_lengths(found)
        + judge_bf16(found)
    )


def judge_agreement(found: dict) -> list[tuple[str, bool | None]]:
    """Do sampler and trainer agree on log-probs in the first step, before any update?"""
    predictions = []
    for arm in ("no fault", "no fault, temperature 0.7"):
        answer = below(numbers(found, arm, "first gap"), 1e-4)
        predictions.append((f"{arm}: sampler and trainer agree to 1e-4", answer))
    for arm in ("temperature forgotten", "top-p"):
        answer = above(numbers(found, arm, "first gap"), 1e-3)
        text = f"{arm}: they differ by more than ten times that, from the first step"
        predictions.append((text, answer))
    return predictions


def judge_norms(found: dict) -> list[tuple[str, bool | None]]:
    """Does the gradient depend on how a step is cut into micro-batches?"""
    honest = numbers(found, "no fault", "norm, cut")
    local = numbers(found, "local normaliser", "norm, cut")
    return [
        (
            "no fault: the gradient's norm is the same in one micro-batch as in many, to 0.1 %",
            near(honest, 1.0, 1e-3),
        ),
        ("local normaliser: in many it is more than 5 % larger", above(local, 1.05)),
    ]


def judge_accuracies(found: dict) -> list[tuple[str, bool | None]]:
    """Is the accuracy at the end that of the control?"""
    controls = {
        "temperature forgotten": "no fault, temperature 0.7",
        "top-p": "no fault",
        "local normaliser": "no fault",
    }
    predictions = []
    for arm, control in controls.items():
        cost = differences(found, arm, control, "accuracy")
        text = f"{arm}: accuracy of the last ten steps is within 0.1 of that without the fault"
        predictions.append((text, within(cost, 0.1)))
    return predictions


def judge_lengths(found: dict) -> list[tuple[str, bool | None]]:
    """Which responses are longer if the stop token is no action?"""
    left_out = numbers(found, "stop token left out", "wrong - right")
    honest = numbers(found, "no fault, marks", "wrong - right")
    return [
        (
            "stop token left out: in steps 11 to 30 right responses are more than 2 tokens longer "
            "than wrong ones",
            below(left_out, -2.0),
        ),
        ("without the fault wrong ones are", above(honest, 2.0)),
    ]


def judge_bf16(found: dict) -> list[tuple[str, bool | None]]:
    """Do small steps change weights that are kept in bf16?"""
    rounded = numbers(found, "pure bf16", "gain")
    fp32 = numbers(found, "no fault, lr 3e-5", "gain")
    text = "pure bf16: less than half of what fp32 gains at the same learning rate"
    return [(text, less_than_half(rounded, fp32))]


def table(found: dict) -> list[str]:
    """The figures of the arms."""
    return columns(found, ("accuracy", "gain", "wrong - right", "first gap", "norm, cut"), 3)


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """A panel for each measurement in which a fault shows."""
    figure.set_size_inches(10, 7)
    (accuracy, agreement), (lengths, norms) = figure.subplots(2, 2)
    draw_curves(found, accuracy, "accuracy")
    accuracy.set(xlabel="step", ylabel="accuracy (share right)")
    draw_curves(found, agreement, "logprob_gap_mean")
    agreement.set(
        xlabel="step",
        ylabel="sampler and trainer: difference\nof log-probs (nats, mean)",
        yscale="log",
    )
    draw_lengths(found, lengths)
    draw_norms(found, norms)
    figures.legend(figure, accuracy)
    figure.suptitle(
        "Each fault shows in a measurement; the accuracy at the end tells of few of them"
    )


def draw_curves(found: dict, axes, name: str) -> None:
    """A curve of every arm on Countdown."""
    for arm in found:
        if arm in MARKS:
            continue
        style = "--" if arm.startswith("no fault") else "-"
        by_seed = curves(found, arm, name)
        figures.band(axes, by_seed, arm, 5, color=COLOURS[arm], ls=style)


def draw_lengths(found: dict, axes) -> None:
    """How much longer wrong responses are, with and without the stop token in the loss."""
    for arm in MARKS:
        figures.band(axes, length_gaps(found, arm), arm, 5, color=COLOURS[arm])
    axes.set(xlabel="step", ylabel="length, wrong − right (tokens)")
    axes.legend(frameon=False)


def draw_norms(found: dict, axes) -> None:
    """The norms of a gradient that is cut into micro-batches, a point a seed."""
    for i, arm in enumerate(CUT):
        ratios = [ratio for ratio in numbers(found, arm, "norm, cut") if ratio]
        axes.plot([i] * len(ratios), ratios, "o", color=COLOURS[arm])
    axes.axhline(1, color="black", lw=0.5)
    axes.set(
        ylabel="norm of the first gradient:\nmany micro-batches over one",
        xlim=(-0.5, 1.5),
        ylim=(0, 2),
    )
    axes.set_xticks((0, 1), CUT)
