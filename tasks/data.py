"""The answers of problems from files, which have no generator: `data` as text, `math` in value.

Both sides are brought into one spelling first, because a file and a model write the same answer
with other characters: full-width digits, another minus sign, a curled apostrophe, an accent of its
own, a space that has no width. What stands for another value keeps its own sign: 10² is not 102,
5½ is not 51/2, ℝ is not R.
"""

import re
import unicodedata
from fractions import Fraction

from grader import grade_answer
from tasks.arithmetic import number_of
from tasks.problem import Problem

# ---------------------------------------------------------------- one spelling

# What looks alike and is no compatible form of one character to Unicode: one sign for all.
LOOKALIKES = {
    "-": "−‐‑‒–—―",
    "'": "‘’‛′ʼ",
    '"': "“”„‟",
    "/": "⁄∕",
    "*": "∗",
    ":": "∶",
    ".": "。",
    # no width: spaces, joiners, marks of direction, soft hyphen, byte order mark
    "": "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069"
    "\u00ad\ufeff",
}
# Sets of numbers, which NFKC would make plain letters.
SETS = "ℂℍℕℙℚℝℤ"
RAISED_OR_LOWERED = ("<super>", "<sub>")


def sign_by_character() -> dict[int, str]:
    """LOOKALIKES the other way round: what stands for each character."""
    found = {}
    for sign, characters in LOOKALIKES.items():
        for character in characters:
            found[ord(character)] = sign
    return found


SIGN_OF = sign_by_character()


def in_one_spelling(text: str) -> str:
    """A text in NFKC with one sign for what looks alike, single spaces, and its value as it was."""
    composed = unicodedata.normalize("NFC", text)
    compatible = "".join(map(compatible_form, composed))
    signs = unicodedata.normalize("NFC", compatible).translate(SIGN_OF)
    return " ".join(signs.split())


def compatible_form(character: str) -> str:
    """A character in NFKC; itself where that would be another value.

    So are raised and lowered characters, fractions and numbers in circles, and sets of numbers.
    """
    form = unicodedata.decomposition(character).partition(" ")[0]
    if form in RAISED_OR_LOWERED or character in SETS or unicodedata.category(character) == "No":
        return character
    return unicodedata.normalize("NFKC", character)


# ---------------------------------------------------------------- checkers

# A `$` before a number; and after it a percent sign, a `$`, a full stop.
AROUND_A_NUMBER = re.compile(r"^\\?\$ ?| ?(?:\\?%)?\$?\.?$")
LIST_OF_ONE = re.compile(r"\[ *(['\"])([^'\"]*)\1 *\]")  # ['2'], as other programs write an answer
TRUTHS = ("true", "false")


def check_data(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    r"""Right: the same exact number as the file's answer, or the same text in one spelling.

    Other text is not parsed. A `$` around a number and a `%` or full stop after it are dropped
    (`\$` and `\%` too): `$1,250.00` is `1250`. Capitals count, but for True and False.
    """
    answer = plain_text(answer)
    wanted = plain_text(problem.answer)
    value = plain_number(answer)
    if answer == wanted:
        return True, True, "right"
    if value is None:
        return False, False, "neither a number nor the same text"
    if value == plain_number(wanted):
        return True, True, "right"
    return False, True, "not equal"


def plain_text(text: str) -> str:
    """A text in one spelling; of a list of one text that text, of a truth its small letters."""
    text = in_one_spelling(text)
    only = LIST_OF_ONE.fullmatch(text)
    if only:
        text = only[2].strip()
    if text.lower() in TRUTHS:
        return text.lower()
    return text


def plain_number(text: str) -> Fraction | None:
    """The number in a text with its dollars, percent sign and full stop dropped."""
    return number_of(AROUND_A_NUMBER.sub("", text))


def check_math(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: the file's answer in value, however it is written (grader/).

    A problem may state a tolerance. Whatever is written counts as parsed.
    """
    tolerance = problem.facts.get("tolerance", 0.0)
    parsed = bool(answer)
    if grade_answer(in_one_spelling(answer), in_one_spelling(problem.answer), tolerance):
        return True, parsed, "right"
    return False, parsed, "not equal"
