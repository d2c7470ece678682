"""Reflection is in the base before RL, at its data's rate; RL takes it up only where it pays, and
never from nothing.

Dr. GRPO (arXiv 2503.20783, section 2.3): the bases that R1-Zero runs start from reflect already;
and in its appendix, of R1-Zero itself: responses that reflect are no more often right for it.
R1-Zero (2501.12948, table 3) shows such a moment as the work of RL. Mechanism: RL can only reweight
what is sampled, and it reweights by reward, not by wording.

Planted, by fine-tuning the embedded base: a response to a Countdown problem is a guess (13 %
right). A share goes on with "rethink" and writes its last equation again. Where it pays, that line
ends in a verdict, and after a "no" an ordered search follows; where it is empty, nothing follows
but the same answer. The word is spelt in bytes the base hardly knows, so those arms first read
traces that all reflect, half of them emptily, and then their own mixture; a part of the 2 % stays
empty from that. The arm without reflection has never read the word, nor these searches, from which
`empty` has some accuracy to gain.

What pays is the search and not the word, which is its entrance. On the 15 seeds of its first three
runs RL took the word up from 10 % on each, and dropped it again on 2, when it could search without;
accuracy stayed. From 2 % it came to the search without the word on 5. So the rate is predicted at
its highest and with 10 %, accuracy with both; the rate at the end is only shown. "Highest" is that
of five steps' mean, over the two groups that each step writes down: what is sampled after the last
update is not in it.

Falsified if the rate before RL is far from the data's share, if reflection grows from 0 %, does not
grow from 10 % where it pays, or grows as much where it is empty; or if empty reflection goes with
right answers.
"""

import random
from pathlib import Path
from statistics import mean

import tasks
from evaluation.behaviour import count
from experiments import figures, training
from experiments.evidence import (
    above,
    changes,
    columns,
    curves,
    less_than_half,
    near,
    numbers,
    within,
)
from experiments.length_growth import GUESS, SEARCH
from tasks import traces

SEEDS = (30, 31, 32, 33, 34)
STEPS = 40
LONGEST = 192
RARE = "pays, 2 %"
PAYS = "pays, 10 %"
ABSENT = "absent"
EMPTY = "empty, 10 %"
ARMS = {  # the share of the traces that reflects, and whether it pays
    RARE: (0.02, True),
    PAYS: (0.10, True),
    ABSENT: (0.0, True),
    EMPTY: (0.10, False),
}


# ---------------------------------------------------------------- the planted world


def response(problem: tasks.Problem, share: float, pays: bool, rng: random.Random) -> str:
    """A guess, and in a share of the cases a reflection on it."""
    lines, answer = traces.search_countdown(problem, GUESS, rng)
    if rng.random() < share:
        last = lines[-1]
        value = int(last.partition("=")[2])
        right = value == problem.facts["target"]
        lines.append("rethink")
        if not pays:
            lines.append(last)
        elif right:
            lines.append(f"{last} yes")
        else:
            lines.append(f"{last} no")
            more, answer = traces.search_countdown(problem, SEARCH, rng)
            lines += more
    return "\n".join(lines) + f"</think> <answer>{answer}</answer>"


def prepare(folder: Path, device: str) -> None:
    """Make a base that can spell the word, and from it one for each arm."""
    problems = tasks.make_problems("countdown", "train", "aha", 6000)
    prompts = [tasks.prompt(problem, "short", None) for problem in problems]
    spelling = make_spelling_base(folder / "spelling", problems, prompts, device)
    for arm, (share, pays) in ARMS.items():
        rng = random.Random(f"aha {arm}")
        pairs = []
        for prompt, problem in zip(prompts, problems):
            pairs.append((prompt, response(problem, share, pays, rng)))
        if share:  # 2 % are too few to learn the word from
            start = str(spelling)
        else:  # this arm has never read it
            start = "base"
        training.make_base(
            folder / arm,
            pairs,
            model=start,
            device=device,
            steps=100,
            rows=64,
            lr=5e-4,
            warmup=10,
        )


def make_spelling_base(
    folder: Path, problems: list[tasks.Problem], prompts: list[str], device: str
) -> Path:
    """A base whose responses all reflect, half of them emptily."""
    rng = random.Random("aha")
    pairs = []
    for prompt, problem in zip(prompts, problems):
        pays = rng.random() < 0.5
        pairs.append((prompt, response(problem, 1.0, pays, rng)))
    return training.make_base(folder, pairs, device=device, steps=150, rows=64, lr=1e-3, warmup=10)


# ---------------------------------------------------------------- measurement


def reflects(text: str) -> bool:
    """Whether a response reflects."""
    return count(text)["reflection"] > 0


def gain(graded: list) -> float | None:
    """Accuracy of reflecting responses minus that of the others to the same problem.

    None if no problem has both.
    """
    differences = []
    for group in graded:
        reflecting = []
        others = []
        for sampled, scored in zip(group.responses, group.rewards):
            if reflects(sampled.text):
                reflecting.append(scored.accuracy)
            else:
                others.append(scored.accuracy)
        if reflecting and others:
            differences += [accuracy - mean(others) for accuracy in reflecting]
    if not differences:
        return None
    return mean(differences)


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """The rate of reflection by step of RL; rate, accuracy and gain before and after."""
    base = folder / arm / "base"
    out = folder / f"{arm}-{seed}"
    lines = training.run_rl(
        out,
        base,
        task="countdown",
        loss="dr_grpo",
        steps=STEPS,
        prompts_per_step=16,
        group_size=8,
        max_new_tokens=LONGEST,
        lr=3e-4,
        seed=seed,
        device=device,
        eval_every=1,
    )
    by_step = {name: training.curve(lines, name) for name in ("length", "accuracy")}
    rates = []
    for responses in training.rollouts_by_step(out, STEPS):
        rates.append(mean(reflects(row["text"]) for row in responses))
    by_step["reflects"] = rates
    of_five_steps = [mean(rates[i : i + 5]) for i in range(STEPS - 4)]
    found = {"rate_highest": max(of_five_steps)}
    final = out / f"checkpoints/step-{STEPS}"
    for when, model, k in (("before", base, 8), ("after", final, 2)):
        measured, graded = training.evaluate_held_out(
            model, "countdown", 512, k, LONGEST, seed, device
        )
        reflecting = []
        for group in graded:
            reflecting += [reflects(sampled.text) for sampled in group.responses]
        found[f"accuracy_{when}"] = measured["pass@1"]
        found[f"gain_{when}"] = gain(graded)
        found[f"rate_{when}"] = mean(reflecting)
    return {"numbers": found, "curves": by_step}


# ---------------------------------------------------------------- predictions


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""
    predictions = []
    for arm, bound in ((PAYS, 0.03), (EMPTY, 0.03), (RARE, 0.015)):
        share = ARMS[arm][0]
        text = f"{arm}: the rate before RL is within {bound} of the data's"
        predictions.append((text, near(numbers(found, arm, "rate_before"), share, bound)))
    rates_of_absent = []
    for when in ("before", "highest", "after"):
        rates_of_absent += numbers(found, ABSENT, f"rate_{when}")
    rise_if_it_pays = changes(found, PAYS, "rate_before", "rate_highest")
    rise_if_empty = changes(found, EMPTY, "rate_before", "rate_highest")
    predictions += [
        (
            "absent: no response reflects, before RL, in it or after",
            max(rates_of_absent) == 0,
        ),
        (
            "pays, 10 %: in RL the rate comes, over five steps, to more than 0.3 above that before",
            above(rise_if_it_pays, 0.3),
        ),
    ]
    for arm in (PAYS, RARE):
        rise = changes(found, arm, "accuracy_before", "accuracy_after")
        predictions.append((f"{arm}: accuracy rises by more than 0.3", above(rise, 0.3)))
    predictions += [
        (
            "empty: the rate rises by less than half of what it does with pays, 10 %",
            less_than_half(rise_if_empty, rise_if_it_pays),
        ),
        (
            "empty, before RL: reflecting responses are as often right as others "
            "to the same problems, within 0.1",
            within(numbers(found, EMPTY, "gain_before"), 0.1),
        ),
        (
            "pays, 10 %, before RL: they are more often right, by more than 0.3",
            above(numbers(found, PAYS, "gain_before"), 0.3),
        ),
    ]
    return predictions


def table(found: dict) -> list[str]:
    """The figures of the arms."""
    rates = ("rate_before", "rate_highest", "rate_after")
    return columns(found, (*rates, "accuracy_before", "accuracy_after", "gain_before"))


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """What reflection is worth before RL; the rate and the accuracy by step."""
    figure.set_size_inches(13, 4.8)
    before, rate, right = figure.subplots(1, 3)
    for i, arm in enumerate(found):
        draw_arm(found, arm, f"C{i}", i, (before, rate, right))
    before.axhline(0, color="black", lw=0.5)
    before.set(
        ylabel="before RL: accuracy of responses that\n"
        "reflect, minus that of others to the same problem",
        ylim=(-0.2, 1),
    )
    before.set_xticks(range(len(found)), found, rotation=20)
    rate.set(
        xlabel="step of RL",
        ylabel="share that reflects (two groups a step; a line a seed)",
        ylim=(0, 1),
    )
    right.set(xlabel="step of RL", ylabel="accuracy (share right)", ylim=(0, 1))
    figures.legend(figure, right)
    figure.suptitle("RL takes up the reflection that the base has, where it pays; it makes none")


def draw_arm(found: dict, arm: str, color: str, position: int, panels: tuple) -> None:
    """One arm in each panel."""
    before, rate, right = panels
    gains = [value for value in numbers(found, arm, "gain_before") if value is not None]
    if gains:
        figures.bar(before, position, gains, color=color)
    # A line a seed: some keep the word, some drop it, and a mean is neither.
    for j, by_step in enumerate(curves(found, arm, "reflects")):
        label = arm if j == 0 else None
        figures.band(rate, [by_step], label, 5, color=color, lw=1)
    figures.band(right, curves(found, arm, "accuracy"), arm, color=color)
