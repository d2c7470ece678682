"""Primed with habits of search RL ends far higher, even if every primed answer was wrong; empty
thinking or dots do not.

Cognitive Behaviors (arXiv 2503.01307; figures: its published runs, step 250): Llama-3.2-3B ends at
.34; primed with 1000 traces that verify, go back, set sub-goals and chain backwards at .74, with
such traces that all end in a wrong answer at .74, with empty thinking at .41, with dots of the same
length at .38. Mechanism: RL makes likelier what pays now and then. Checking a result and going back
pays in the sampled responses whatever the answers of the priming traces were; dots never do.

Planted: the base is the embedded one, fine-tuned until it guesses only (first prediction; its
pre-training held searches, so priming wakes a habit here and need not teach it from nothing). Then
PRIMES traces an arm:
    all          search in order, a verdict after each try, back to the last step that is good;
                 gives up now and then
    wrong        such a search that never comes to the target and at last writes it for another
                 result: no answer is right
    back-track   the same search without verdicts, which stops anywhere
    verify       one guess and its verdict: it never goes back
    sub-goal     backwards from the target: what two numbers must come to so that the third ends
                 there, and one try for it
    dots, empty  dots, as many as the thinking of `all` has tokens, or nothing; always with a right
                 answer
    unprimed     the base as it is

Most of the difference is there before RL, for priming wakes searches that pre-training had: `all`
begins at .47, `wrong` at .44, the unprimed base at .13. RL then adds .31, .30 and .13 (empty .14,
dots .11). The predictions are about the end.

No prediction is made for one habit alone: on the seeds of development RL from `verify` went back by
itself, though not on every seed; `back-track` won less than half of what `all` did (the paper's arm
ends at .77) and `sub-goal` ended below the base. `all` sets no sub-goals: half of its traces
searching by them brought it down, for that search was new to the base. From `wrong` this base takes
the search, and does its sums as before: 4 in 10 of its responses are right before RL.

Falsified if dots or empty thinking win half of what `all` wins over the unprimed base, or if wrong
answers in the priming cost 0.15 or half of what `all` is above dots.
"""

import random
from pathlib import Path
from statistics import mean

import model as lm
import tasks
from evaluation import behaviour
from experiments import figures, training
from experiments.evidence import (
    above,
    below,
    columns,
    curves,
    differences,
    less_than_half,
    more_than_half,
    numbers,
    within,
)
from tasks import traces

SEEDS = (30, 31, 32, 33)
STEPS = 70
PRIMES = 1500
LONGEST = 128
ARMS = ("all", "wrong", "back-track", "verify", "sub-goal", "dots", "empty", "unprimed")
GUESS = traces.MIXTURE["guess"]
ALL = traces.Habit(0.0, ordered=True, tries=60, give_up=0.3, checks=True)
VERIFY = traces.Habit(0.0, ordered=False, tries=1, give_up=1.0, checks=True)


# ---------------------------------------------------------------- the planted world


def response(problem: tasks.Problem, arm: str, rng: random.Random, tokenizer) -> str | None:
    """A trace of this arm, as it follows the `short` template.

    None if the arm has none of this problem.
    """
    some_tries = rng.randint(1, 4)  # drawn for every arm, so that all go through one sequence
    if arm == "sub-goal":
        lines, answer = by_goal(problem, rng)
    else:
        habit = habit_of(arm, some_tries)
        lines, answer = traces.search_countdown(problem, habit, rng)
    if arm == "wrong":  # the last result, which is not the target, is taken for it
        if tasks.check(answer, problem)[0]:
            return None
        expression = lines[-1].partition("=")[0]
        lines[-1] = f"{expression}={problem.facts['target']} yes"
    thinking = "\n".join(lines)
    if arm == "dots":
        answer = problem.answer
        thinking = "." * len(tokenizer(thinking)["input_ids"])
    if arm == "empty":
        answer = problem.answer
        thinking = ""
    return f"{thinking}</think> <answer>{answer}</answer>"


def habit_of(arm: str, some_tries: int) -> traces.Habit:
    """How an arm searches; `dots` and `empty` do it as `all` does, and then hide their lines."""
    if arm == "unprimed":
        return GUESS
    if arm == "verify":
        return VERIFY
    if arm in ("wrong", "back-track"):
        checks = arm == "wrong"
        return traces.Habit(0.0, ordered=True, tries=some_tries, give_up=0.0, checks=checks)
    return ALL


def by_goal(problem: tasks.Problem, rng: random.Random) -> tuple[list[str], str]:
    """(lines, answer) of a trace that goes backwards from the target.

    First what the target and one number leave for the other two, then the move of these that meets
    it, if there is one, else any.
    """
    target = problem.facts["target"]
    last, first, second = rng.sample(problem.facts["numbers"], 3)
    move, goal = rng.choice(tasks.moves(target, last))
    tries = tasks.moves(first, second)
    meeting = [attempt for attempt in tries if attempt[1] == goal]
    attempt, value = rng.choice(meeting or tries)
    lines = [f"{move}={goal}", f"{attempt}={traces.written(value, rng)}"]
    return lines, undo(move, target, last, attempt)


def undo(move: str, target: int, last: int, attempt: str) -> str:
    """The answer that a backward move asks for: it turns the attempt and the last number into the
    target, if the attempt meets the goal.

    In a difference or quotient the larger of target and last number stands first in `move`.
    """
    operator = next(sign for sign in move if sign in "+-*/")
    if operator == "+":
        return f"({attempt})-{last}"
    if operator == "*":
        return f"({attempt})/{last}"
    inverse = "+" if operator == "-" else "*"
    if target >= last:
        return f"({attempt}){inverse}{last}"
    return f"{last}{operator}({attempt})"


def pairs(arm: str, n: int, tokenizer) -> list[tuple[str, str]]:
    """n (prompt, response) of an arm, on training problems."""
    rng = random.Random(f"four_habits {arm}")
    drawn = 3 * n if arm == "wrong" else n  # many problems have no wrong trace
    found = []
    for problem in tasks.make_problems("countdown", "train", f"four_habits {arm}", drawn):
        prompt = tasks.prompt(problem, "short", tokenizer)
        trace = response(problem, arm, rng, tokenizer)
        if trace is not None:
            found.append((prompt, trace))
    return found[:n]


def prepare(folder: Path, device: str) -> None:
    """Make a base that guesses, and from it a primed one for each other arm."""
    tokenizer = lm.load("base")[1]
    guesser = training.make_base(
        folder / "unprimed",
        pairs("unprimed", 8000, tokenizer),
        device=device,
        steps=120,
        rows=64,
        lr=1e-3,
        warmup=10,
    )
    for arm in ARMS:
        if arm == "unprimed":
            continue
        training.make_base(
            folder / arm,
            pairs(arm, PRIMES, tokenizer),
            model=str(guesser),
            device=device,
            steps=50,
            rows=64,
            lr=5e-4,
            warmup=5,
        )


# ---------------------------------------------------------------- measurement


def checking(model: Path, seed: int, device: str) -> float:
    """The share of a model's responses to held-out problems that judge a result."""
    _, graded = training.evaluate_held_out(model, "countdown", 256, 2, LONGEST, seed, device)
    checks = []
    for group in graded:
        for sampled in group.responses:
            checks.append(behaviour.count(sampled.text)["verification"] > 0)
    return mean(checks)


def measure(folder: Path, arm: str, seed: int, device: str) -> dict:
    """Accuracy, checks and length on held-out problems before and after RL."""
    base = folder / arm / "base"
    out = folder / f"{arm}-{seed}"
    lines = training.run_rl(
        out,
        base,
        task="countdown",
        reward="simplerl",
        loss="dr_grpo",
        steps=STEPS,
        prompts_per_step=16,
        group_size=8,
        max_new_tokens=LONGEST,
        lr=3e-4,
        seed=seed,
        device=device,
        eval_problems=512,
    )
    found = {
        "start": lines[0]["eval_accuracy"],
        "final": lines[-1]["eval_accuracy"],
        "checks_start": checking(base, seed, device),
        "checks_final": checking(out / f"checkpoints/step-{STEPS}", seed, device),
        "length_start": lines[0]["eval_length"],
        "length_final": lines[-1]["eval_length"],
        "truncated": lines[-1]["eval_truncated"],
    }
    by_step = {name: training.curve(lines, name) for name in ("accuracy", "length")}
    return {"numbers": found, "curves": by_step}


# ---------------------------------------------------------------- predictions


def judge(found: dict) -> list[tuple[str, bool | None]]:
    """The predictions with their answers."""
    all_over_dots = differences(found, "all", "dots", "final")
    wrong_over_dots = differences(found, "wrong", "dots", "final")
    all_over_wrong = differences(found, "all", "wrong", "final")
    all_over_base = differences(found, "all", "unprimed", "final")
    predictions = [
        (
            "the base judges a result in less than 1 % of its responses",
            below(numbers(found, "unprimed", "checks_start"), 0.01),
        ),
        ("`all` ends more than 0.15 above dots", above(all_over_dots, 0.15)),
        (
            "wrong answers keep more than half of that",
            more_than_half(wrong_over_dots, all_over_dots),
        ),
        ("`all` and wrong end within 0.15", within(all_over_wrong, 0.15)),
    ]
    for arm in ("dots", "empty"):
        over_base = differences(found, arm, "unprimed", "final")
        text = f"{arm}: it wins less than half of what `all` wins over that base"
        predictions.append((text, less_than_half(over_base, all_over_base)))
    return predictions


def table(found: dict) -> list[str]:
    """The figures of the arms."""
    checks = ("checks_start", "checks_final")
    return columns(found, ("start", "final", *checks, "length_start", "length_final"))


# ---------------------------------------------------------------- figure


def draw(found: dict, figure) -> None:
    """Accuracy by step of RL."""
    axes = figure.subplots()
    for i, arm in enumerate(found):
        figures.band(axes, curves(found, arm, "accuracy"), arm, color=f"C{i}")
    axes.set(
        title="Primed with habits of search RL ends far higher, right or wrong; dots do not help",
        xlabel="step of RL",
        ylabel="accuracy on Countdown",
        ylim=(0, 1),
    )
    figures.legend(figure, axes)
