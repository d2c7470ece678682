"""The answers of problems from files, which have no generator: `data` as text, `math` in value."""

import re
from fractions import Fraction

from grader import grade_answer
from tasks.arithmetic import number_of
from tasks.problem import Problem

# A `$` before a number; and after it a percent sign, a `$`, a full stop.
AROUND_A_NUMBER = re.compile(r"^\\?\$ ?| ?(?:\\?%)?\$?\.?$")


def check_data(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    r"""Right: the same exact number as the file's answer, or the same text up to white space.

    Other text is not parsed. A `$` around a number and a `%` or full stop after it are dropped
    (`\$` and `\%` too): `$1,250.00` is `1250`.
    """
    wanted = " ".join(problem.answer.split())
    value = plain_number(answer)
    if answer == wanted:
        return True, True, "right"
    if value is None:
        return False, False, "neither a number nor the same text"
    if value == plain_number(wanted):
        return True, True, "right"
    return False, True, "not equal"


def plain_number(text: str) -> Fraction | None:
    """The number in a text with its dollars, percent sign and full stop dropped."""
    return number_of(AROUND_A_NUMBER.sub("", text))


def check_math(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: the file's answer in value, however it is written (grader/).

    A problem may state a tolerance. Whatever is written counts as parsed.
    """
    tolerance = problem.facts.get("tolerance", 0.0)
    parsed = bool(answer)
    if grade_answer(answer, problem.answer, tolerance):
        return True, parsed, "right"
    return False, parsed, "not equal"
