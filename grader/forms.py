"""Answers of a form of their own, made into trees that can be compared: 1, 2, ..., 10; vectors in
i, j, k; intervals with letters; constants under other names; cases.

The kinds of trees stand in parser.py.
"""

import itertools
import re

from grader.parser import ALL_REALS, BOLD, DOTS, INFINITY, MINUS_INFINITY, ONE, ZERO
from grader.regions import TURNED
from grader.values import elements, exact_value, is_name, same_value, variables_of

# ---------------------------------------------------------------- 1, 2, ..., 10


def has_dots(tree) -> bool:
    """Whether a tree is a bare list or a set with dots in it."""
    return tree[0] in ("list", "set") and DOTS in tree[1]


def same_progression(one, other) -> bool:
    """Whether two lists are one arithmetic progression, of which dots may leave a part out."""
    left = elements(one)
    right = elements(other)
    if left is None or right is None:
        return False
    first = progression(left)
    second = progression(right)
    if first is None or second is None:
        return False
    if (first[2] is None) != (second[2] is None):
        return False
    return all(same_value(a, b, 0.0) for a, b in zip(first, second) if a is not None)


def progression(parts: list) -> tuple | None:
    """(first, second, last) of an arithmetic progression, last None where it goes on for ever.

    None of any other list. Two parts at least stand before the dots, at most one behind them.
    """
    place = len(parts)
    if DOTS in parts:
        place = parts.index(DOTS)
    shown = parts[:place]
    behind = parts[place + 1 :]
    if len(shown) < 2 or len(behind) > 1:
        return None
    for one, middle, other in zip(shown, shown[1:], shown[2:]):
        if not same_value(("add", [one, other]), ("add", [middle, middle]), 0.0):
            return None
    if DOTS in parts and not behind:
        return shown[0], shown[1], None
    if not is_reached(shown[0], shown[1], parts[-1]):
        return None
    return shown[0], shown[1], parts[-1]


def is_reached(first, second, last) -> bool:
    """Whether a progression comes to its last part; of letters nobody knows."""
    values = list(map(exact_value, (first, second, last)))
    if None in values:
        return True
    start, following, end = values
    if start == following:
        return False
    steps = (end - start) / (following - start)
    return steps.denominator == 1 and steps >= 1


# ---------------------------------------------------------------- vectors in i, j, k

UNITS = ("i", "j", "k")


def unit_vector(tree) -> str:
    """The letter of i, j, k under any mark, "" of anything else."""
    if tree[0] not in ("const", "var"):
        return ""
    name = tree[1]
    for mark in ("hat", "vec", *BOLD):
        name = name.removeprefix(f"{mark}(").removesuffix(")")
    if name in UNITS:
        return name
    return ""


def vector(tree, size: int):
    """2i - j + 3k as the tuple (2, -1, 3), a tree with `size` factors; None of other trees.

    It has a j at least: a + bi is a complex number.
    """
    factors = {}
    for term in terms_of(tree, False):
        taken = factor_of_unit(term)
        if taken is None or taken[0] in factors:
            return None
        letter, factor = taken
        factors[letter] = factor
    if "j" not in factors or not set(factors) <= set(UNITS[:size]):
        return None
    parts = [factors.get(letter, ZERO) for letter in UNITS[:size]]
    return ("seq", "(", ")", parts)


def beside(tree, other):
    """A vector as a tuple of as many parts as `other` has, a tuple or a column; else the tree."""
    if tree[0] in ("seq", "matrix") or other[0] not in ("seq", "matrix"):
        return tree
    return vector(tree, len(other[-1])) or tree  # the last item of either is its parts


def terms_of(tree, negative: bool) -> list:
    """The terms of a sum, the minus signs before them kept; a product or quotient term by term."""
    if tree[0] == "add":
        return terms_of(tree[1][0], negative) + terms_of(tree[1][1], negative)
    if tree[0] == "neg":
        return terms_of(tree[1], not negative)
    if tree[0] == "div":
        _, above, below = tree
        return [("div", term, below) for term in terms_of(above, negative)]
    if tree[0] == "mul" and tree[1][1][0] == "add":
        factor, total = tree[1]
        return [("mul", [factor, term]) for term in terms_of(total, negative)]
    if negative:
        return [("neg", tree)]
    return [tree]


def factor_of_unit(term) -> tuple | None:
    """(letter, factor) of a term with one of i, j, k as a factor; None of any other."""
    letter = unit_vector(term)
    if letter:
        return letter, ONE
    if term[0] == "mul":
        first, second = term[1]
        for part, rest in ((second, first), (first, second)):
            taken = factor_of_unit(part)
            if taken is not None:
                return taken[0], ("mul", [rest, taken[1]])
    if term[0] in ("neg", "div"):
        taken = factor_of_unit(term[1])
        if taken is not None:
            return taken[0], (term[0], taken[1], *term[2:])
    return None


# ---------------------------------------------------------------- intervals with letters


OPENING = {"<": "(", "<=": "["}
CLOSING = {"<": ")", "<=": "]"}


def interval_with_letters(tree):
    """The interval that h - r <= x <= h + r is, as a tree; None of any other relation.

    The name stands in the middle of three sides, of two on the left.
    """
    if tree[0] != "rel":
        return None
    sides = tree[1]
    signs = tree[2]
    if signs == ["in"] and is_name(sides[0]) and sides[1][0] == "seq":
        return sides[1]
    if len(sides) == 3 and is_name(sides[1]):
        if set(signs) <= {">", ">="}:
            sides = sides[::-1]
            signs = [TURNED[sign] for sign in reversed(signs)]
        if set(signs) <= {"<", "<="}:
            return interval(sides[0], signs[0], signs[1], sides[2])
        return None
    if len(sides) != 2 or not is_name(sides[0]):
        return None
    if signs[0] in ("<", "<="):
        return interval(MINUS_INFINITY, "<", signs[0], sides[1])
    if signs[0] in (">", ">="):
        return interval(sides[1], TURNED[signs[0]], "<", INFINITY)
    return None


def interval(low, low_sign: str, high_sign: str, high):
    """The tree of the interval between two ends; <= means that an end belongs to it."""
    return ("seq", OPENING[low_sign], CLOSING[high_sign], [low, high])


# ---------------------------------------------------------------- other forms

OTHERWISE = ("words", "otherwise")


def with_otherwise(rows: list) -> list:
    """The rows of cases; a last condition `otherwise` as what the other conditions leave out."""
    *others, last = rows
    if last[-1] != OTHERWISE or not others:
        return list(rows)
    left_out = ALL_REALS
    for row in others:
        condition = row[-1]
        if condition[0] != "rel":
            return list(rows)
        left_out = ("minus", left_out, condition)
    return [*others, [*last[:-1], left_out]]


# Names that a gold has for constants of integration, and names that an answer may have for them
INDEXED_CONSTANT = re.compile(r"[cC]_?\d")
CONSTANT = re.compile(r"[cCkK](?:_?\d)?|[ABD]")
MOST_RENAMINGS = 6


def with_constants_of(answer, gold) -> list:
    """The answer with its constants under the names of the gold's c_1, c_2, in several ways.

    The way that keeps their order comes first. A name that both have means the same in both.
    """
    mine = variables_of(answer) - variables_of(gold)
    theirs = variables_of(gold) - variables_of(answer)
    shared = variables_of(gold) & variables_of(answer)
    if not mine or len(mine) != len(theirs) or any(map(INDEXED_CONSTANT.fullmatch, shared)):
        return []
    if not all(map(CONSTANT.fullmatch, mine)) or not all(map(INDEXED_CONSTANT.fullmatch, theirs)):
        return []
    found = []
    for names in itertools.islice(itertools.permutations(sorted(theirs)), MOST_RENAMINGS):
        renaming = answer
        for old, new in zip(sorted(mine), names):
            renaming = renamed(renaming, ("var", old), ("var", new))
        found.append(renaming)
    return found


def renamed(tree, old, new):
    """The tree with `new` in all places of `old`."""
    if tree == old:
        return new
    if isinstance(tree, (list, tuple)):
        return type(tree)(renamed(part, old, new) for part in tree)
    return tree


def without_degrees(tree):
    """The tree without degree signs, those of a function's argument aside."""
    if not isinstance(tree, (list, tuple)) or tree[:1] == ("fn",):
        return tree
    if tree[:1] == ("deg",):
        return without_degrees(tree[1])
    return type(tree)(map(without_degrees, tree))
