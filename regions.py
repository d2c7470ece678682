"""Sets of real numbers: intervals, unions, inequalities, finite sets, as lists of (low, closed, high, closed)."""
import functools
import itertools

from lexer import Unfit
from values import close, context, elements, is_name, number

MOST_PIECES = 60  # intervals of a set
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def region(tree) -> list | None:
    """A set of real numbers as sorted, disjoint (low, closed, high, closed); None for what is none."""
    kind, m = tree[0], context()
    if kind == "seq" and len(tree[3]) == 2:
        found = [(number(tree[3][0], m, {}), tree[1] == "[", number(tree[3][1], m, {}), tree[2] == "]")]
    elif kind == "set" or kind == "num":
        values = [number(part, m, {}) for part in (elements(tree) if kind == "set" else [tree])]
        found = [(value, True, value, True) for value in values]
    elif kind == "rel":
        found = inequality(tree, m)
    elif kind in ("union", "list"):
        parts = [region(part) for part in (tree[1:] if kind == "union" else tree[1])]
        if None in parts or kind == "list" and any(part[0] in ("num", "set") for part in tree[1]):
            return None
        both = kind == "list" and (tree[2] == "and" or any(part[0] == "rel" and "!=" in part[2] for part in tree[1]))
        found = functools.reduce(meet, parts) if both else sum(parts, [])  # a, b means or, but: x > 1, x != 2
    elif kind == "words" and tree[1].lower() in ("all real numbers", "all reals", "real numbers"):
        found = [(-m.inf, False, m.inf, False)]
    elif kind in ("cap", "minus") or kind == "add" and tree[1][1][0] == "neg" and tree[1][0][0] == "seq":  # R - {2}
        left, right = map(region, tree[1:] if kind != "add" else (tree[1][0], tree[1][1][1]))
        found = None if left is None or right is None else meet(left, right if kind == "cap" else outside(right, m))
    else:
        return None
    return None if found is None else merged(found)


def inequality(tree, m) -> list | None:
    """x > 1, 1 < x <= 2, x != 3 as intervals."""
    sides, signs, inf = tree[1], tree[2], m.inf
    if signs == ["in"]:
        return region(sides[1]) if is_name(sides[0]) else None
    if len(sides) == 2 and sides[0][:2] == ("fn", "abs") and sides[0][2][0][0] == "var" and signs[0] in TURNED:
        inner, bound = sides[0][2][0], sides[1]  # |x| < c is x < c and x > -c, |x| > c one of the two
        parts = [region(("rel", [inner, bound], signs)), region(("rel", [inner, ("neg", bound)], [TURNED[signs[0]]]))]
        return None if None in parts else meet(*parts) if signs[0][0] == "<" else sum(parts, [])
    at = [i for i, side in enumerate(sides) if is_name(side) and side[0] != "fn"]
    if len(at) != 1 or set(signs) - {"<", ">", "<=", ">=", "!="} or len(sides) > 3 or (len(sides) == 3 and at != [1]):
        return None
    found = [(-inf, False, inf, False)]
    for i, sign in enumerate(signs):
        value = number(sides[i + 1 if i >= at[0] else i], m, {})
        if sign == "!=":
            found = meet(found, [(-inf, False, value, False), (value, False, inf, False)])
        elif (sign[0] == "<") == (i >= at[0]):
            found = meet(found, [(-inf, False, value, "=" in sign)])
        else:
            found = meet(found, [(value, "=" in sign, inf, False)])
    return found


def meet(left: list, right: list) -> list:
    """The intersection of two regions."""
    found = []
    if len(left) * len(right) > MOST_PIECES:
        raise Unfit("too many intervals")
    for a, b in itertools.product(left, right):
        low = max((a[0], not a[1]), (b[0], not b[1]))
        high = min((a[2], a[3]), (b[2], b[3]))
        if low[0] < high[0] or low[0] == high[0] and not low[1] and high[1]:
            found.append((low[0], not low[1], high[0], high[1]))
    return found


def outside(parts: list, m) -> list:
    found = [(-m.inf, False, m.inf, False)]
    for low, closed, high, ends in parts:
        found = meet(found, [(-m.inf, False, low, not closed), (high, not ends, m.inf, False)])
    return found


def merged(parts: list) -> list:
    """Overlapping and touching intervals made one; what is not a real number is Unfit."""
    found = []
    for low, closed, high, ends in sorted(parts, key=lambda p: (p[0], not p[1])):
        if low > high:
            raise Unfit("an interval from high to low")
        if found and (low < found[-1][2] or low == found[-1][2] and (closed or found[-1][3])):
            last = found.pop()
            high, ends = max((last[2], last[3]), (high, ends))
            low, closed = last[0], last[1]
        found.append((low, closed, high, ends))
    return found


def variables(tree) -> list:
    """What the relations of a tree are about: [x] for 1 < x < 2 or x > 5."""
    if tree[0] == "rel":
        inner = [side[2][0] if side[:2] == ("fn", "abs") else side for side in tree[1]]
        return [side for side in inner if is_name(side)]
    return [name for part in tree[1:] for name in (variables(part) if isinstance(part, tuple) and part else
                                                   sum(map(variables, part), []) if isinstance(part, list) else [])]


def same_region(a, b) -> bool:
    called, asked = ({str(name) for name in variables(tree)} for tree in (a, b))
    if len(called) > 1 or len(asked) > 1 or called and asked and called != asked:
        return False
    left, right = region(a), region(b)
    return left is not None and right is not None and len(left) == len(right) and all(
        x[1] == y[1] and x[3] == y[3] and close(x[0], y[0], 1e-45) and close(x[2], y[2], 1e-45) for x, y in zip(left, right))
