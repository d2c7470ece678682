"""The behaviours of the embedded base: synthetic reasoning traces, in a stated mixture.

A base model has seen much reasoning, most of it poor. Ours has seen exactly this: MIXTURE says how
often each way of working appears, and nothing else was in its pre-training text. Most traces guess
at once; some try a few things and give up; a few search in order, check each result against the
target and go back when it fails. Arithmetic slips at the rate SLIP. None of it is chosen by the
outcome: the wrong answers of the guessers are in the text as they fall. The behaviours that RL
selects are planted here, and docs/base.md says so.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from config import UserError
from tasks.countdown import LARGEST, combine, moves, take_random
from tasks.knights import holds, identities, role
from tasks.problem import Problem

SLIP = 0.01  # probability that a written result is wrong, per equation


@dataclass(frozen=True)
class Habit:
    share: float  # of all traces
    # Systematic search that skips what cannot reach the target; else tries drawn at random.
    ordered: bool
    tries: int  # at most
    # Probability to stop and answer with the last try, after each try that failed.
    give_up: float
    checks: bool  # writes a verdict ("yes" / "no") after each try


MIXTURE = {
    "guess": Habit(0.55, ordered=False, tries=1, give_up=1.0, checks=False),
    "try": Habit(0.30, ordered=False, tries=4, give_up=0.35, checks=True),
    "search": Habit(0.15, ordered=True, tries=60, give_up=0.01, checks=True),
}

# What the base reads: share of the pairs by task. Countdown is what `python train.py` trains on.
TASK_SHARE = {"countdown:3": 0.80, "countdown:4": 0.04, "kk": 0.08, "arithmetic": 0.08}


def pick(rng: random.Random) -> str:
    """The name of a habit, drawn by share."""
    shares = [habit.share for habit in MIXTURE.values()]
    return rng.choices(list(MIXTURE), shares)[0]


def trace(problem: Problem, habit: str, rng: random.Random) -> str:
    """A response to `problem` in the manner of `habit`.

    It follows the `short` template, which opens `<think>`.
    """
    writers = {
        "countdown": search_countdown,
        "kk": search_kk,
        "arithmetic": work_arithmetic,
        "sums": work_plainly,
        "words": work_plainly,
    }
    if problem.task not in writers:
        raise UserError(f"task {problem.task!r} has no traces: choose {', '.join(writers)}")
    writer = writers[problem.task]
    lines, answer = writer(problem, MIXTURE[habit], rng)
    return "\n".join(lines) + f"</think> <answer>{answer}</answer>"


def written(value: int, rng: random.Random) -> int:
    """The value as it gets written down: now and then a slip of 1, 2 or 10."""
    if rng.random() >= SLIP:
        return value
    return in_range(value + rng.choice((-10, -2, -1, 1, 2, 10)))


def in_range(value: int) -> int:
    """The nearest number that the base has a token for and a problem can have as a value."""
    return min(LARGEST, max(1, value))


def verdict(fits: bool) -> str:
    """What a habit that checks writes behind a try."""
    if fits:
        return "yes"
    return "no"


# ---------------------------------------------------------------- countdown

Value = tuple[str, int]  # an expression and its value
Step = tuple[Value, Value, str, int]  # two values x and y, the move that joins them, its value


def worth_trying(a: int, b: int, target: int) -> list[tuple[str, int]]:
    """The last moves that can reach the target.

    + and * only make more of two numbers, - and / only less.
    """
    wants_more = target > max(a, b)
    chosen = []
    for move, value in moves(a, b):
        makes_more = "+" in move or "*" in move
        if makes_more == wants_more or value == target:
            chosen.append((move, value))
    return chosen


def ordered_tries(pool: list[Value], target: int) -> Iterator[list[Step]]:
    """Every way to join the numbers, depth first; the tries that it yields share prefixes."""
    for i, j in itertools.combinations(range(len(pool)), 2):
        x = pool[i]
        y = pool[j]
        rest = [value for k, value in enumerate(pool) if k not in (i, j)]
        if not rest:
            for move, value in worth_trying(x[1], y[1], target):
                yield [(x, y, move, value)]
            continue
        for move, value in moves(x[1], y[1]):
            joined = (combine(x, y, move), value)
            for tail in ordered_tries([joined, *rest], target):
                yield [(x, y, move, value), *tail]


def random_tries(pool: list[Value], rng: random.Random) -> Iterator[list[Step]]:
    """Tries drawn independently, without end.

    Of each, two random values are joined by a random move until one is left.
    """
    while True:
        values = list(pool)
        path = []
        while len(values) > 1:
            x = take_random(values, rng)
            y = take_random(values, rng)
            move, value = rng.choice(moves(x[1], y[1]))
            path.append((x, y, move, value))
            values.append((combine(x, y, move), value))
        yield path


def search_countdown(problem: Problem, habit: Habit, rng: random.Random) -> tuple[list[str], str]:
    """Lines of a search and the expression it answers with.

    A line is an equation; the last of a try has a verdict.
    """
    target = problem.facts["target"]
    pool = [(str(number), number) for number in problem.facts["numbers"]]
    if habit.ordered:
        tries = ordered_tries(pool, target)
    else:
        tries = random_tries(pool, rng)
    lines = []
    previous = []
    answer = ""
    for path in itertools.islice(tries, habit.tries):
        for depth, (_, _, move, value) in enumerate(path):
            if habit.ordered and previous[: depth + 1] == path[: depth + 1]:
                continue  # back-tracked to a step that is already on the page
            shown = written(value, rng)
            line = f"{move}={shown}"
            is_last = depth == len(path) - 1
            if habit.checks and is_last:
                line += f" {verdict(shown == target)}"
            lines.append(line)
        previous = path
        x, y, move, _ = path[-1]
        answer = combine(x, y, move)
        if habit.checks and (shown == target or rng.random() < habit.give_up):
            break
    return lines, answer


# ---------------------------------------------------------------- knights and knaves


def search_kk(problem: Problem, habit: Habit, rng: random.Random) -> tuple[list[str], str]:
    """Assignments tried in turn.

    Each is checked person by person until a statement does not fit its speaker.
    """
    names = problem.facts["names"]
    lines = []
    answer = ""
    for knights in assignments_to_try(len(names), habit, rng):
        answer = identities(names, knights)
        people = [f"{name} {role(knights[i])}" for i, name in enumerate(names)]
        lines.append("try " + " ".join(people))
        if not habit.checks:
            break
        fits = check_people(problem, knights, lines, rng)
        if fits or rng.random() < habit.give_up:
            break
    return lines, answer


def assignments_to_try(people: int, habit: Habit, rng: random.Random) -> Iterator[tuple[bool, ...]]:
    """The first assignments in order, or random ones, each drawn when its turn comes."""
    every = list(itertools.product((True, False), repeat=people))
    if habit.ordered:
        yield from every[: habit.tries]
        return
    for _ in range(habit.tries):
        yield rng.choice(every)


def check_people(
    problem: Problem, knights: tuple[bool, ...], lines: list[str], rng: random.Random
) -> bool:
    """Whether the assignment fits as far as the habit can tell; a line for each person checked."""
    names = problem.facts["names"]
    for i, said in enumerate(problem.facts["statements"]):
        slipped = rng.random() < SLIP
        seems_true = holds(said, knights) != slipped
        fits = seems_true == knights[i]
        truth = "false"
        if seems_true:
            truth = "true"
        lines.append(f"{names[i]} says {truth} {verdict(fits)}")
        if not fits:
            return False
    return True


# ---------------------------------------------------------------- arithmetic


def work_arithmetic(problem: Problem, habit: Habit, rng: random.Random) -> tuple[list[str], str]:
    """Guessers blurt a number near the result, triers work it out.

    Searchers work it out and do it again to check.
    """
    equations = problem.facts["moves"]
    if not habit.checks:
        result = equations[-1][1]
        near = result + rng.choice((-10, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 10))
        return ["about"], str(in_range(near))
    lines = []
    for move, value in equations:
        shown = written(value, rng)
        lines.append(f"{move}={shown}")
    if habit.ordered:
        for move, value in equations:
            shown = written(value, rng)
            lines.append(f"{move}={shown} {verdict(shown == value)}")
    return lines, str(shown)


# ---------------------------------------------------------------- sums and word problems


def work_plainly(problem: Problem, habit: Habit, rng: random.Random) -> tuple[list[str], str]:
    """A line for each step and the right answer, whatever the habit: there is nothing to search.

    The embedded base has not seen these traces; they are for the cold start of another model.
    """
    lines = [f"{text}={value}" for text, value in problem.facts["moves"]]
    return lines, problem.answer
