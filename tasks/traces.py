"""The behaviours of the embedded base: synthetic reasoning traces, in a stated mixture.

A base model has seen much reasoning, most of it poor. Ours has seen exactly this: MIXTURE says how often each way of
working appears, and nothing else was in its pre-training text. Most traces guess at once; some try a few things and
give up; a few search in order, check each result against the target and go back when it fails. Arithmetic slips at the
rate SLIP. None of it is chosen by the outcome: the wrong answers of the guessers are in the text as they fall.
The behaviours that RL selects are planted here, and the README says so.
"""
import itertools
import random
from dataclasses import dataclass

from tasks import LARGEST, Problem, combine, holds, identities, steps

SLIP = 0.01  # probability that a written result is wrong, per equation


@dataclass(frozen=True)
class Habit:
    share: float  # of all traces
    ordered: bool  # systematic search, skipping what cannot reach the target; else tries drawn at random
    tries: int  # at most
    give_up: float  # probability to stop and answer with the last try, after each try that failed
    checks: bool  # writes a verdict ("yes" / "no") after each try


MIXTURE = {
    "guess": Habit(0.55, ordered=False, tries=1, give_up=1.0, checks=False),
    "try": Habit(0.30, ordered=False, tries=4, give_up=0.35, checks=True),
    "search": Habit(0.15, ordered=True, tries=60, give_up=0.01, checks=True),
}


def pick(rng: random.Random) -> str:
    """The name of a habit, drawn by share."""
    return rng.choices(list(MIXTURE), [habit.share for habit in MIXTURE.values()])[0]


def trace(problem: Problem, habit: str, rng: random.Random) -> str:
    """A response to `problem` in the manner of `habit`, as it follows the `short` template (which opens `<think>`)."""
    writer = {"countdown": search_countdown, "kk": search_kk, "arithmetic": work_arithmetic}[problem.task]
    lines, answer = writer(problem, MIXTURE[habit], rng)
    return "\n".join(lines) + f"</think> <answer>{answer}</answer>"


def written(value: int, rng: random.Random) -> int:
    """The value as it gets written down: now and then a slip of 1, 2 or 10."""
    if rng.random() >= SLIP:
        return value
    return min(LARGEST, max(1, value + rng.choice((-10, -2, -1, 1, 2, 10))))


# ---------------------------------------------------------------- countdown

def worth_trying(a: int, b: int, target: int) -> list[tuple[str, int]]:
    """The last moves that can reach the target: + and * only make more of two numbers, - and / only less."""
    grows = target > max(a, b)
    return [(move, value) for move, value in steps(a, b)
            if ("+" in move or "*" in move) == grows or value == target]


def ordered_tries(pool: list, target: int):
    """Every way to join the numbers, depth first; yields lists of moves that share prefixes, as (x, y, move, value)."""
    for i, j in itertools.combinations(range(len(pool)), 2):
        x, y = pool[i], pool[j]
        rest = [p for k, p in enumerate(pool) if k not in (i, j)]
        for move, value in (steps if rest else lambda a, b: worth_trying(a, b, target))(x[1], y[1]):
            step = (x, y, move, value)
            if not rest:
                yield [step]
                continue
            for tail in ordered_tries([(combine(x, y, move), value), *rest], target):
                yield [step, *tail]


def random_tries(pool: list, rng: random.Random):
    """Tries drawn independently: join two random values by a random move until one is left."""
    while True:
        values, path = list(pool), []
        while len(values) > 1:
            x, y = (values.pop(rng.randrange(len(values))) for _ in range(2))
            move, value = rng.choice(steps(x[1], y[1]))
            path.append((x, y, move, value))
            values.append((combine(x, y, move), value))
        yield path


def search_countdown(problem: Problem, habit: Habit, rng: random.Random) -> tuple[list[str], str]:
    """Lines of a search and the expression it answers with. A line is an equation; the last of a try has a verdict."""
    target = problem.facts["target"]
    pool = [(str(n), n) for n in problem.facts["numbers"]]
    tries = ordered_tries(pool, target) if habit.ordered else random_tries(pool, rng)
    lines, previous, answer = [], [], ""
    for path in itertools.islice(tries, habit.tries):
        for depth, step in enumerate(path):
            if habit.ordered and previous[:depth + 1] == path[:depth + 1]:
                continue  # back-tracked to a step that is already on the page
            x, y, move, value = step
            shown = written(value, rng)
            last = depth == len(path) - 1
            verdict = (" yes" if shown == target else " no") if habit.checks and last else ""
            lines.append(f"{move}={shown}{verdict}")
        previous, answer = path, combine(x, y, move)
        if habit.checks and (shown == target or rng.random() < habit.give_up):
            break
    return lines, answer


# ---------------------------------------------------------------- knights and knaves

def search_kk(problem: Problem, habit: Habit, rng: random.Random) -> tuple[list[str], str]:
    """Assignments tried in turn; each is checked person by person until a statement does not fit its speaker."""
    names, statements = problem.facts["names"], problem.facts["statements"]
    every = list(itertools.product((True, False), repeat=len(names)))
    tries = every if habit.ordered else (rng.choice(every) for _ in range(habit.tries))
    lines, answer = [], ""
    for knights in itertools.islice(tries, habit.tries):
        answer = identities(names, knights)
        lines.append("try " + " ".join(f"{n} {'knight' if k else 'knave'}" for n, k in zip(names, knights)))
        if not habit.checks:
            break
        for i, said in enumerate(statements):
            true = holds(said, knights) != (rng.random() < SLIP)
            fits = true == knights[i]
            lines.append(f"{names[i]} says {'true' if true else 'false'} {'yes' if fits else 'no'}")
            if not fits:
                break
        if fits or rng.random() < habit.give_up:
            break
    return lines, answer


# ---------------------------------------------------------------- arithmetic

def work_arithmetic(problem: Problem, habit: Habit, rng: random.Random) -> tuple[list[str], str]:
    """Guessers blurt a number near the result, triers work it out, searchers work it out and do it again to check."""
    moves = problem.facts["moves"]
    if not habit.checks:
        near = moves[-1][1] + rng.choice((-10, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 10))
        return ["about"], str(min(LARGEST, max(1, near)))
    lines = []
    for again in range(2 if habit.ordered else 1):
        for move, value in moves:
            shown = written(value, rng)
            lines.append(f"{move}={shown}" + (" yes" if again and shown == value else " no" if again else ""))
    return lines, str(shown)
