"""Arithmetic: the value of an expression of whole numbers; and exact numbers from plain text."""

import random
import re
from fractions import Fraction

from tasks.countdown import combine, moves
from tasks.problem import Problem

# ---------------------------------------------------------------- the generator


def make_arithmetic(rng: random.Random, size: int = 3) -> Problem:
    """An expression of `size` numbers from 1 to 20.

    Every intermediate value is a whole number from 1 to 100. facts: moves, the list of
    (text, value) in the order in which they are computed. Key: the expression.
    """
    numbers = [rng.randint(1, 20) for _ in range(size)]
    pool = [(str(number), number) for number in numbers]
    computed = []
    while len(pool) > 1:
        # Neighbours, so that the expression reads in the order in which it was drawn.
        i = rng.randrange(len(pool) - 1)
        x = pool[i]
        y = pool[i + 1]
        move, value = rng.choice(moves(x[1], y[1]))
        pool[i : i + 2] = [(combine(x, y, move), value)]
        computed.append((move, value))
    expression, value = pool[0]
    return Problem(
        task="arithmetic",
        question=f"What is {expression}?",
        answer=str(value),
        key=f"arithmetic {expression}",
        facts={"moves": computed},
    )


# ---------------------------------------------------------------- the checker

LONGEST_NUMBER = 50  # characters
# 12  -3  .5  1,250.75
NUMBER = re.compile(r"[-+]?(?=[.0-9])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.[0-9]+)?")
FRACTION = re.compile(r"[-+]?[0-9]+/0*[1-9][0-9]*")  # a denominator of zero is no number


def number_of(text: str) -> Fraction | None:
    """The exact value of a plain integer, decimal or a/b in ASCII, else None.

    Thousands commas are allowed. Fraction() itself would take 1e999999999, 1_000 and digits of any
    script.
    """
    if len(text) > LONGEST_NUMBER:
        return None
    if NUMBER.fullmatch(text) or FRACTION.fullmatch(text):
        return Fraction(text.replace(",", ""))
    return None


def check_arithmetic(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: the value as an integer or decimal.

    Not as a/b: for `What is 12/4?` that would be the question itself.
    """
    value = number_of(answer)
    if value is None or "/" in answer:
        return False, False, "not a number"
    if value == Fraction(problem.answer):
        return True, True, "right"
    return False, True, f"value is {answer}, not {problem.answer}"
