"""Sets of real numbers: intervals, unions, inequalities and finite sets, compared as intervals.

A region is a list of `Interval`s. The kinds of trees stand in parser.py.
"""

import functools
import itertools
from typing import NamedTuple

from grader.lexer import Unfit
from grader.values import elements, is_close, is_name, mp_context, settled_value

MOST_PIECES = 60  # intervals of a set
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}  # each sign read from the other side
ALL_REAL = ("all real numbers", "all reals", "real numbers")


class Interval(NamedTuple):
    """The real numbers from `low` to `high`; an end belongs to it where it is closed."""

    low: object  # numbers of mpmath
    low_closed: bool
    high: object
    high_closed: bool


def same_region(first, second) -> bool:
    """Whether two trees are one set of real numbers, or say so of one variable."""
    called = set(map(str, subjects(first)))
    asked = set(map(str, subjects(second)))
    if len(called) > 1 or len(asked) > 1:
        return False
    if called and asked and called != asked:
        return False
    left = region_of(first)
    right = region_of(second)
    if left is None or right is None or len(left) != len(right):
        return False
    return all(same_interval(one, other) for one, other in zip(left, right))


def same_interval(one: Interval, other: Interval) -> bool:
    """Whether two intervals have the same ends."""
    if one.low_closed != other.low_closed or one.high_closed != other.high_closed:
        return False
    return is_close(one.low, other.low, 1e-45) and is_close(one.high, other.high, 1e-45)


def subjects(tree) -> list:
    """What the relations of a tree are about: [x] for 1 < x < 2 or x > 5."""
    if tree[0] == "rel":
        inner = [inside_bars(side) for side in tree[1]]
        return [side for side in inner if is_name(side)]
    found = []
    for part in tree[1:]:
        if isinstance(part, tuple) and part:
            found += subjects(part)
        elif isinstance(part, list):
            for tree_inside in part:
                found += subjects(tree_inside)
    return found


def inside_bars(tree):
    """The x of |x|; any other tree as it is."""
    if tree[:2] == ("fn", "abs"):
        return tree[2][0]
    return tree


# ---------------------------------------------------------------- trees as regions


def region_of(tree) -> list[Interval] | None:
    """A set of real numbers as sorted, disjoint intervals; None of what is none."""
    found = pieces_of(tree)
    if found is None:
        return None
    return merged(found)


def pieces_of(tree) -> list[Interval] | None:
    """A set of real numbers as intervals, which may overlap; None of what is none."""
    kind = tree[0]
    if kind == "seq" and len(tree[3]) == 2:
        low = settled_value(tree[3][0])
        high = settled_value(tree[3][1])
        return [Interval(low, tree[1] == "[", high, tree[2] == "]")]
    if kind == "num":
        return [single_number(tree)]
    if kind == "set":
        return list(map(single_number, elements(tree)))
    if kind == "rel":
        return inequality(tree)
    if kind == "union":
        return united([tree[1], tree[2]])
    if kind == "list":
        return listed(tree)
    if kind == "words" and tree[1].lower() in ALL_REAL:
        return [everything()]
    if kind == "cap":
        return intersection(tree[1], tree[2])
    if kind == "minus":
        return difference(tree[1], tree[2])
    if kind == "add":
        left, right = tree[1]
        if left[0] == "seq" and right[0] == "neg":  # R - {2}
            return difference(left, right[1])
    return None


def everything() -> Interval:
    """All real numbers."""
    infinity = mp_context().inf
    return Interval(-infinity, False, infinity, False)


def single_number(tree) -> Interval:
    """A number as the interval that holds only it."""
    value = settled_value(tree)
    return Interval(value, True, value, True)


def united(trees: list) -> list[Interval] | None:
    """The union of sets, which may overlap; None if one of them is none."""
    regions = list(map(pieces_of, trees))
    if None in regions:
        return None
    return list(itertools.chain(*regions))


def listed(tree) -> list[Interval] | None:
    """A bare list of conditions: a comma and `or` mean a union, `and` an intersection.

    x > 1, x != 2 mean both.
    """
    regions = list(map(region_of, tree[1]))
    if None in regions or any(part[0] in ("num", "set") for part in tree[1]):
        return None
    if tree[2] == "," and any(part[0] == "rel" and part[2] == ["="] for part in tree[1]):
        return None  # it may mean both or one of them
    excludes = any(part[0] == "rel" and "!=" in part[2] for part in tree[1])
    if excludes or tree[2] == "and":
        return functools.reduce(meet, regions)
    return list(itertools.chain(*regions))


def intersection(left, right) -> list[Interval] | None:
    """What is in both sets; None if one of them is none."""
    one = region_of(left)
    other = region_of(right)
    if one is None or other is None:
        return None
    return meet(one, other)


def difference(left, right) -> list[Interval] | None:
    """What is in the left set and not in the right one; None if one of them is none."""
    one = region_of(left)
    other = region_of(right)
    if one is None or other is None:
        return None
    return meet(one, outside(other))


def inequality(tree) -> list[Interval] | None:
    """The intervals of x > 1, 1 < x <= 2, x != 3; None of other relations."""
    sides = tree[1]
    signs = tree[2]
    if signs == ["in"]:
        if is_name(sides[0]):
            return region_of(sides[1])
        return None
    if len(sides) == 2 and signs[0] in TURNED and bounds_absolute_value(sides):
        return absolute_value(sides[0][2][0], signs[0], sides[1])
    if signs == ["="] and sides[0][0] == "var":  # x = -2 or 1 <= x <= 3
        return [single_number(sides[1])]
    at = [i for i, side in enumerate(sides) if is_name(side) and side[0] != "fn"]
    if len(at) != 1 or set(signs) - {"<", ">", "<=", ">=", "!="} or len(sides) > 3:
        return None
    middle = at[0]
    if len(sides) == 3 and middle != 1:
        return None
    found = [everything()]
    for i, sign in enumerate(signs):
        if i >= middle:  # the variable stands on the left of this sign
            found = meet(found, bounded_by(sign, sides[i + 1]))
        else:
            found = meet(found, bounded_by(TURNED.get(sign, sign), sides[i]))
    return found


def bounded_by(sign: str, bound) -> list[Interval]:
    """The x of `x sign bound`."""
    value = settled_value(bound)
    infinity = mp_context().inf
    below = Interval(-infinity, False, value, sign == "<=")
    above = Interval(value, sign == ">=", infinity, False)
    if sign == "!=":
        return [below, above]
    if sign in ("<", "<="):
        return [below]
    return [above]


def bounds_absolute_value(sides: list) -> bool:
    """Whether the left side of a relation is |x|."""
    return sides[0][:2] == ("fn", "abs") and sides[0][2][0][0] == "var"


def absolute_value(inner, sign: str, bound) -> list[Interval] | None:
    """|x| < c is x < c and x > -c; |x| > c is one of x > c and x < -c."""
    one = region_of(("rel", [inner, bound], [sign]))
    other = region_of(("rel", [inner, ("neg", bound)], [TURNED[sign]]))
    if one is None or other is None:
        return None
    if sign in ("<", "<="):
        return meet(one, other)
    return one + other


# ---------------------------------------------------------------- operations on regions


def meet(left: list[Interval], right: list[Interval]) -> list[Interval]:
    """The intersection of two regions; Unfit if it takes more than MOST_PIECES steps."""
    if len(left) * len(right) > MOST_PIECES:
        raise Unfit("too many intervals")
    found = []
    for one, other in itertools.product(left, right):
        # Of two equal ends the open one is the tighter one.
        low, low_open = max((one.low, not one.low_closed), (other.low, not other.low_closed))
        high, high_closed = min((one.high, one.high_closed), (other.high, other.high_closed))
        is_point = low == high and not low_open and high_closed
        if low < high or is_point:
            found.append(Interval(low, not low_open, high, high_closed))
    return found


def outside(parts: list[Interval]) -> list[Interval]:
    """The real numbers that are in none of the intervals."""
    infinity = mp_context().inf
    found = [everything()]
    for part in parts:
        below = Interval(-infinity, False, part.low, not part.low_closed)
        above = Interval(part.high, not part.high_closed, infinity, False)
        found = meet(found, [below, above])
    return found


def by_low_end(part: Interval) -> tuple:
    """The order of intervals: of two that begin at one number the closed one comes first."""
    return (part.low, not part.low_closed)


def merged(parts: list[Interval]) -> list[Interval]:
    """The intervals sorted, overlapping and touching ones made one.

    Unfit if one goes from high to low; what is not a real number cannot be sorted, a TypeError.
    """
    found = []
    for part in sorted(parts, key=by_low_end):
        if part.low > part.high:
            raise Unfit("an interval from high to low")
        if found and touches(found[-1], part):
            last = found.pop()
            end = max((last.high, last.high_closed), (part.high, part.high_closed))
            part = Interval(last.low, last.low_closed, *end)
        found.append(part)
    return found


def touches(left: Interval, right: Interval) -> bool:
    """Whether an interval leaves no gap to the next one."""
    if right.low < left.high:
        return True
    return right.low == left.high and (right.low_closed or left.high_closed)
