"""A mismatched template costs accuracy and RL wins it back, so RL improves more where the template
was worse.

Dr. GRPO (arXiv 2503.20783, sections 2 and 3.3): Qwen2.5-Math answers best without a template; the
R1 template takes much of its accuracy, RL brings it back, and the improvement looks like learning
to reason. Mechanism: the ability is in the weights and the template only hides it; a few right
samples in mixed groups teach the model where to begin.

Planted: the embedded base has read Countdown under the template `short` only. The base of this
experiment is fine-tuned for a moment on traces of its own kinds, half of them searches, so that it
is able before RL; 4 % stand under `qwen-math`, so that some of that is left there. RL runs under
`short` (matched), `none` (the same without the tag `<think>`) and `qwen-math`, and, as the control,
under `qwen-math` from the embedded base, which has never seen it: nothing right to sample, nothing
to reward.

A first design left "half is missing" undecided (seeds 0 to 4: `short` .23 and `qwen-math` .08
before RL, .79 and .69 after): its traces were those of the embedded base, of which 15 % search, so
that there was little to hide, and after RL 23 % of the responses under `qwen-math` were cut off at
128 tokens.

Falsified if one of the two mismatched templates does not cost accuracy at step 0, or half of that
is still missing after RL, or the matched one gains as much; or if RL learns where nothing was left,
which is the limit of the claim.
"""

import random
from pathlib import Path
from statistics import mean

import model as lm
import tasks
from experiments import figures, training
from experiments.evidence import (
    above,
    below,
    columns,
    curves,
    differences,
    less_than_half,
    numbers,
)
from tasks import traces

SEEDS = (10, 11, 12, 13, 14)
STEPS = 40
SHARE = 0.04  # of the fine-tuning traces under the other template
HABITS = {"guess": 0.3, "try": 0.2, "search": 0.5}
MATCHED = "short"
UNTAGGED = "none"
OTHER = "qwen-math"
UNSEEN = "qwen-math, never seen"
ARMS = {MATCHED: "matched", UNTAGGED: "mismatched", OTHER: "mismatched", UNSEEN: "control"}


# ---------------------------------------------------------------- the planted world


def prepare(folder: Path, device: str) -> None:
    """Make a base that has read nearly all of its traces under one template."""
    rng = random.Random("template")
    tokenizer = lm.load("base")[1]
    pairs = []
    for problem in tasks.make_problems("countdown", "train", "template", 3000):
        if rng.random() < SHARE:
            template = OTHER
        else:
            template = MATCHED
        prompt = tasks.prompt(problem, template, tokenizer)
        (kind,) = rng.choices(list(HABITS), HABITS.values())
        pairs.append((prompt, traces.trace(problem, kind, rng)))
    training.make_base(folder, pairs, device=device, steps=30, rows=64, lr=5e-4, warmup=5)


# ---------------------------------------------------------------- measurement


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """Held-out accuracy under the arm's template before and after RL."""
    template = OTHER if arm == UNSEEN else arm
    base = "base" if arm == UNSEEN else folder / "base"
    lines = training.run_rl(
        folder / f"{arm}-{seed}",
        base,
        task="countdown",
        template=template,
        loss="dr_grpo",
        steps=STEPS,
        prompts_per_step=16,
        group_size=8,
        max_new_tokens=160,
        lr=3e-4,
        seed=seed,
        device=device,
        eval_problems=512,
    )
    start = lines[0]["eval_accuracy"]
    final = lines[-1]["eval_accuracy"]
    found = {
        "start": start,
        "final": final,
        "improvement": final - start,
        "truncated": lines[-1]["eval_truncated"],
    }
    by_step = {name: training.curve(lines, name) for name in ("accuracy", "length")}
    return {"numbers": found, "curves": by_step}


# ---------------------------------------------------------------- predictions


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""
    predictions = []
    for arm in (UNTAGGED, OTHER):
        cost = differences(found, MATCHED, arm, "start")
        missing = differences(found, MATCHED, arm, "final")
        more = differences(found, arm, MATCHED, "improvement")
        predictions += [
            (f"{arm}: before RL it costs more than 0.1", above(cost, 0.1)),
            (f"{arm}: after RL less than half of that is missing", less_than_half(missing, cost)),
            (f"{arm}: it improves more than the matched one", above(more, 0.0)),
        ]
    unseen = below(numbers(found, UNSEEN, "final"), 0.05)
    predictions.append(("where the template leaves nothing RL ends < 0.05", unseen))
    return predictions


def table(found: dict) -> list[str]:
    """The figures of the arms."""
    return columns(found, ("start", "final", "improvement", "truncated"))


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """Accuracy by step of RL; held-out accuracy before it and gained in it."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    names = []
    for i, arm in enumerate(found):
        color = f"C{i}"
        figures.band(left, curves(found, arm, "accuracy"), arm, smooth=3, color=color)
        final = numbers(found, arm, "final")
        gained = numbers(found, arm, "improvement")
        figures.bar(right, i, final, color=color)
        figures.bar(right, i, numbers(found, arm, "start"), color="white", alpha=0.6)
        right.text(i, max(final) + 0.02, f"{mean(gained):+.2f}", ha="center")
        name = arm.replace(", ", ",\n")
        names.append(f"{name}\n({ARMS[arm]})")
    figure.suptitle("A mismatched template hides what the base can do; RL finds it again")
    left.set(xlabel="step of RL", ylabel="accuracy on Countdown, training problems", ylim=(0, 1))
    figures.legend(figure, left)
    right.set(ylabel="held-out accuracy: before RL (pale) and gained", ylim=(0, 1))
    right.set_xticks(range(len(found)), names, fontsize=7)
