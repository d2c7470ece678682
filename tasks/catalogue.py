"""Which tasks there are: from a task's name to its problems, and from an answer to its verdict.

A task of your own is a generator, a checker (or one that is there: `data` compares texts and
numbers), and a line in each of the two tables.
"""

import random
from collections.abc import Callable

from config import UserError
from tasks.arithmetic import LONGEST_NUMBER, check_arithmetic, make_arithmetic
from tasks.countdown import LONGEST_ANSWER, check_countdown, make_countdown
from tasks.data import check_data, check_math
from tasks.knights import check_kk, make_kk, make_perturbed
from tasks.problem import Problem, split_of
from tasks.sums import make_sums
from tasks.words import make_words

# name: (function of a random.Random and a size, smallest size, largest size)
GENERATORS = {
    "countdown": (make_countdown, 2, 6),
    "kk": (make_kk, 2, 8),
    "kk-perturbed": (make_perturbed, 2, 8),
    "arithmetic": (make_arithmetic, 2, 6),
    "sums": (make_sums, 10, 99),
    "words": (make_words, 1, 2),
}

# Problem.task: (checker, the most characters of an answer). A checker takes the answer with single
# spaces and returns (right, parsed, why). Parsed: it has the form of an answer.
CHECKS = {
    "countdown": (check_countdown, LONGEST_ANSWER),
    "kk": (check_kk, 1000),
    "arithmetic": (check_arithmetic, LONGEST_NUMBER),
    "sums": (check_arithmetic, LONGEST_NUMBER),
    "words": (check_arithmetic, LONGEST_NUMBER),
    "data": (check_data, 1000),
    "math": (check_math, 2000),
}

# ---------------------------------------------------------------- verdicts


def check(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """(right, parsed, why) of an answer's text, by `problem.task`.

    It never raises because of the answer; UserError if nothing checks the task.
    """
    if problem.task not in CHECKS:
        raise UserError(f"no checker for task {problem.task!r} (have: {', '.join(CHECKS)})")
    checker, longest = CHECKS[problem.task]
    answer = " ".join(answer.split())
    if len(answer) > longest:
        return False, False, "the answer is too long"
    return checker(answer, problem)


# ---------------------------------------------------------------- problems

# Draws in a row without a new problem of the wanted split, before the task counts as exhausted.
PATIENCE = 20_000


def generator(task: str) -> Callable[[random.Random], Problem]:
    """The function of a random.Random that draws problems of a task.

    A task is written `name`, `name:size` or `name:from-to`. A range draws a size for each problem,
    all as often. UserError names what is wrong.
    """
    name, _, size = task.partition(":")
    if name == "math":
        raise UserError("task 'math' has no generator: give it problems with --data (a JSONL file)")
    bounds = []
    if size:
        bounds = size.split("-")
    numeric = all(bound.isdecimal() for bound in bounds)
    if name not in GENERATORS or len(bounds) > 2 or not numeric:
        raise UserError(
            f"unknown task {task!r}: choose {', '.join(GENERATORS)}, with a size if you like "
            "(countdown:4, kk:3-7), or math with --data"
        )
    make_problem, smallest, largest = GENERATORS[name]
    if not bounds:
        return make_problem
    first = int(bounds[0])
    last = int(bounds[-1])
    if not smallest <= first <= last <= largest:
        raise UserError(f"task {task!r}: the size of {name} goes from {smallest} to {largest}")

    def make_sized(rng: random.Random) -> Problem:
        if first == last:
            return make_problem(rng, first)
        return make_problem(rng, rng.randint(first, last))

    return make_sized


def make_problems(task: str, split: str, seed: str | int, n: int) -> list[Problem]:
    """`n` different problems of one split, a pure function of its arguments.

    UserError if the task has too few.
    """
    found = up_to(task, split, seed, n)
    if len(found) < n:
        raise UserError(
            f"task {task!r} has only about {len(found)} different {split} problems, not {n}"
        )
    return found


def up_to(task: str, split: str, seed: str | int, n: int) -> list[Problem]:
    """`n` different problems of one split, or those found before PATIENCE draws in a row brought
    nothing new.
    """
    make_problem = generator(task)
    rng = random.Random(f"{task}/{split}/{seed}")
    found = {}
    misses = 0
    while len(found) < n:
        problem = make_problem(rng)
        if problem.key not in found and split_of(problem.key) == split:
            found[problem.key] = problem
            misses = 0
            continue
        misses += 1
        if misses > PATIENCE:
            break
    return list(found.values())


def batch(source: str | list[Problem], seed: int, step: int, n: int) -> list[Problem]:
    """The `n` training problems of one step, a pure function of seed and step.

    So a resumed run draws the same. A list is gone through in a fresh order each epoch; a generated
    task is drawn anew.
    """
    if isinstance(source, str):
        return make_problems(source, "train", f"{seed}/{step}", n)
    chosen = []
    for position in range(step * n, (step + 1) * n):
        epoch, i = divmod(position, len(source))
        if i == 0 or not chosen:  # a new order at the start of an epoch
            rng = random.Random(f"{seed}/{epoch}")
            order = rng.sample(range(len(source)), len(source))
        chosen.append(source[order[i]])
    return chosen


def other_problems(
    source: str | list[Problem], seed: int, step: int, attempt: int, n: int, known: list[Problem]
) -> list[Problem]:
    """Up to `n` training problems beside those that a step knows; a pure function.

    attempt: counts the times that a step asks. A list or a small task may have no others left, then
    there are fewer.
    """
    keys = {problem.key for problem in known}
    if isinstance(source, str):
        drawn = up_to(source, "train", f"{seed}/{step}/{attempt}", n + len(known))
    else:
        rng = random.Random(f"{seed}/{step}/{attempt}")
        drawn = rng.sample(source, len(source))
    others = [problem for problem in drawn if problem.key not in keys]
    return others[:n]
