"""The value of a tree from latex.py: an exact fraction where there is one, else numbers with 60 digits at random points.

mpmath does the numbers; sympy, and so torch, bring it. Sizes are bounded before anything is computed.
"""
import itertools
import math
import random
import threading
from fractions import Fraction

import mpmath

from lexer import Unfit
from units import NO_UNIT

DIGITS = 60  # of the numeric comparison
SMALLEST = 1e-52  # what counts as 0 beside numbers of everyday size: DIGITS less some rounding
MOST_BITS = 20_000  # of an exact power
LARGEST = 10 ** 6  # exponent, factorial
LARGEST_FACTORIAL = 500  # computed exactly
MOST_COMPARISONS = 100  # by numbers, for one answer
WHOLE = set("ijklmnpqNMK")  # letters that stand for whole numbers in floors and ceilings
MOST_VALUES = 64  # of a tree with plus-or-minus signs
HERE = threading.local()  # mpmath's precision is a state of its context: one for each thread
# What mpmath raises at a pole or for an argument that makes no sense; Unfit is a ValueError
NOT_A_NUMBER = (ArithmeticError, ValueError, TypeError, AttributeError, mpmath.libmp.NoConvergence)


def context():
    if not hasattr(HERE, "mp"):
        HERE.mp = mpmath.MPContext()
        HERE.mp.dps = DIGITS
    return HERE.mp


def exact(tree) -> Fraction | None:
    """The rational value of a tree without letters and roots, else None; Unfit if it divides by zero or grows too long."""
    value = rational(tree)
    if value is not None and value.numerator.bit_length() + value.denominator.bit_length() > MOST_BITS:
        raise Unfit("the number is too long")
    return value


def rational(tree) -> Fraction | None:
    """One step of `exact`."""
    kind = tree[0]
    if kind == "num":
        return tree[1]
    if kind in ("neg", "pct"):
        value = exact(tree[1])
        return None if value is None else -value if kind == "neg" else value / 100
    if kind == "fn" and tree[1] in ("factorial", "binom"):
        whole = [exact(part) for part in tree[2]]
        if None not in whole and all(n.denominator == 1 and 0 <= n <= LARGEST_FACTORIAL for n in whole):
            return Fraction({"factorial": math.factorial, "binom": math.comb}[tree[1]](*map(int, whole)))
    if kind not in ("add", "mul", "div", "pow"):
        return None
    left, right = (exact(part) for part in (tree[1] if kind in ("add", "mul") else tree[1:]))
    if left is None or right is None:
        return None
    if kind in ("add", "mul"):
        return left + right if kind == "add" else left * right
    if kind == "div":
        if right == 0:
            raise Unfit("divides by zero")
        return left / right
    bits = max(left.numerator.bit_length(), left.denominator.bit_length()) * abs(right)
    return left ** int(right) if right.denominator == 1 and bits <= MOST_BITS else None


def names(tree, found: set | None = None) -> set[str]:
    """The variables of a tree; functions that want whole numbers leave the mark '#', floors '~'."""
    found = set() if found is None else found
    if isinstance(tree, list):
        for part in tree:
            names(part, found)
    elif isinstance(tree, tuple):
        if tree[0] in ("var", "call"):
            found.add(tree[1])
        elif tree[0] == "fn" and tree[1] in ("factorial", "binom", "gcd", "lcm"):
            found.add("#")
        elif tree[0] == "fn" and tree[1] in ("floor", "ceil"):
            found.add("~")
        for part in tree[1:]:
            if isinstance(part, (list, tuple)):
                names(part, found)
    return found


MPMATH_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "cis": "expj"}  # of functions of one argument


def number(tree, m, at: dict):
    """The value of a tree in mpmath's context `m`, variables as in `at`; Unfit where there is none."""
    kind = tree[0]
    if kind == "num":
        return m.mpf(tree[1].numerator) / tree[1].denominator
    if kind == "const":
        return {"pi": +m.pi, "e": +m.e, "i": m.mpc(0, 1), "inf": m.inf}[tree[1]]
    if kind == "var" and tree[1] in at:
        return at[tree[1]]
    if kind == "call" and tree[1] in at:  # an unknown function: some smooth one, as random as the variables
        return m.atan(sum((k + 1) * number(part, m, at) for k, part in enumerate(tree[2])) * at[tree[1]] + 1) + at[tree[1]]
    if kind == "neg":
        return -number(tree[1], m, at)
    if kind in ("add", "mul"):
        left, right = number(tree[1][0], m, at), number(tree[1][1], m, at)
        return left + right if kind == "add" else left * right
    if kind == "div":
        return number(tree[1], m, at) / number(tree[2], m, at)
    if kind == "pow":
        return power(number(tree[1], m, at), number(tree[2], m, at), exact(tree[2]), m)
    if kind == "pct":
        return number(tree[1], m, at) / 100
    if kind == "deg":
        return number(tree[1], m, at) * m.pi / 180
    if kind == "fn":
        return function(tree[1], [number(part, m, at) for part in tree[2]], m)
    raise Unfit(f"a {kind} is no number")


def power(base, exponent, fraction: Fraction | None, m):
    if abs(exponent) > LARGEST or abs(m.mpf(base) if m.im(base) == 0 else base) > m.mpf(10) ** 10_000:
        raise Unfit("the power is too large")
    if fraction is not None and fraction.denominator % 2 and fraction.denominator > 1 and m.im(base) == 0 and m.re(base) < 0:
        return (-1) ** fraction.numerator * m.power(-m.re(base), exponent)  # the real root: the cube root of -8 is -2
    return m.power(base, exponent)


def function(name: str, x: list, m):
    if any(abs(value) > 10 ** 15 for value in x):  # reducing a huge angle takes as many digits as it has
        raise Unfit("the argument is too large")
    if name in ("gcd", "lcm", "max", "min"):
        if name in ("max", "min"):
            return (max if name == "max" else min)(x)
        whole = [int(value) for value in x]
        if any(value != n for value, n in zip(x, whole)):
            raise Unfit("not whole")
        return m.mpf((math.gcd if name == "gcd" else math.lcm)(*whole))
    if name == "binom" and len(x) == 2:
        if max(map(abs, x)) > LARGEST:
            raise Unfit("too large")
        return m.binomial(*x)
    if name == "log" and len(x) == 2:
        return m.ln(x[0]) / m.ln(x[1])
    if len(x) != 1:
        raise Unfit(f"{name} of {len(x)} arguments")
    if name == "factorial":
        if abs(x[0]) > LARGEST:
            raise Unfit("too large")
        return m.gamma(x[0] + 1)
    if name in ("log", "lg"):
        return m.ln(x[0]) / m.ln(10)
    if name == "abs":
        return abs(x[0])
    if name == "cbrt":
        return power(x[0], m.mpf(1) / 3, Fraction(1, 3), m)
    if name == "exp" and abs(x[0]) > LARGEST:
        raise Unfit("too large")
    return getattr(m, MPMATH_NAMES.get(name, name))(x[0])


def points(variables: set[str], m) -> list[dict]:
    """Where to compare, the same at every call: three points above 0, where roots and logarithms have one value, then
    three with mixed signs. Whole numbers above 0 where a factorial asks for them; in floors for letters like n."""
    letters = sorted(variables - {"#", "~"})
    if not letters:
        return [{}]
    found = []
    for k in range(6):
        at = {}
        for i, name in enumerate(letters):
            draw = random.Random(f"{name}/{k}")
            if "#" in variables or "~" in variables and name in WHOLE:
                at[name] = m.mpf(draw.randint(1 + k, 9 + 2 * k))
            else:
                negative = k >= 3 and (k == 3 or (i + k) % 2)
                at[name] = m.mpf(draw.randint(300, 2700)) / (-997 if negative else 997)
        found.append(at)
    return found


def count(anew: bool = False) -> None:
    """Note one more comparison by numbers; Unfit when there were MOST_COMPARISONS since counting began anew."""
    HERE.left = MOST_COMPARISONS if anew else getattr(HERE, "left", MOST_COMPARISONS) - 1
    if HERE.left < 0:
        raise Unfit("too many comparisons")


def close(x, y, relative: float) -> bool:
    """Equal to `relative`, and near 0 to what cancellation leaves of it; infinities only equal themselves."""
    gap = abs(x - y)
    return bool(x == y or abs(x) + abs(y) < math.inf and (
        gap <= relative * max(abs(x), abs(y)) or gap <= (SMALLEST if relative < 1e-30 else 1e-12)))


def same_value(a, b, tolerance: float) -> bool:
    """Whether two expressions have one value, for all values of their variables."""
    left, right = exact(a), exact(b)
    if left is not None and right is not None:
        return left == right or bool(tolerance) and abs(left - right) <= Fraction(str(tolerance))
    variables = names(a) | names(b)
    if not variables and tolerance:
        m = context()
        return bool(abs(number(a, m, {}) - number(b, m, {})) <= tolerance)
    count()
    m = mpmath.fp
    try:  # in double precision first: most pairs differ
        if not close(number(a, m, p := points(variables, m)[0]), number(b, m, p), 1e-6):
            return False
    except NOT_A_NUMBER:
        pass
    m, met = context(), 0
    for at in points(variables, m):
        try:
            x, y = number(a, m, at), number(b, m, at)
        except NOT_A_NUMBER:
            continue  # a pole
        if m.isnan(x) or m.isnan(y):
            continue
        if met >= 2 and min(at.values(), default=1) < 0 and (m.im(x) or m.im(y)):
            continue  # branches of roots and logarithms may differ below 0
        if not close(x, y, 1e-45):
            return False
        met += 1
    return met >= min(2, len(points(variables, m)))


# ---------------------------------------------------------------- the shape of a tree

def is_name(tree) -> bool:
    """Something that is only called: x, f(x), P(A), AB, |AB|, dy/dx. No digits, no sums."""
    kind = tree[0]
    if kind == "var" or kind == "call" and all(part[0] == "num" or is_name(part) for part in tree[2]):
        return True
    if kind == "mul":
        return all(is_name(part) or part in (("const", "e"), ("const", "i")) or part[0] == "pow" and part[1][0] == "var"
                   and part[2] == ("neg", ("num", Fraction(1))) for part in tree[1]) and bool(names(tree))  # f^{-1}(x), too
    if kind == "div":
        return is_name(tree[1]) and is_name(tree[2])
    if kind == "seq":
        return all(map(is_name, tree[3]))
    if kind in ("cap", "union") or kind == "fn" and tree[1] in ("sin", "cos", "tan"):  # P(A and B), cos theta
        return all(map(is_name, tree[1:] if kind != "fn" else tree[2]))
    if kind == "fn" and tree[1] == "abs":  # |AB|, not |x|
        return tree[2][0][0] == "mul" and is_name(tree[2][0])
    return kind == "words" and not NO_UNIT & set(tree[1].lower().replace("n't", " not ").split())


def spread(tree) -> list:
    """All values of a tree with plus-or-minus signs in it; a list of one without them, Unfit beyond MOST_VALUES."""
    if not contains(tree, "pm"):
        return [tree]
    if isinstance(tree, list):
        found = [list(parts) for parts in bounded([spread(part) for part in tree])]
    elif tree[0] == "pm":
        found = [("add", [left, right]) for left, right in bounded([spread(tree[1]), [
            signed for right in spread(tree[2]) for signed in (right, ("neg", right))]])]
    else:
        found = [(tree[0], *parts) for parts in bounded([spread(part) for part in tree[1:]])]
    return found


def bounded(choices: list[list]):
    """All ways to take one of each; Unfit if there are more than MOST_VALUES."""
    if math.prod(map(len, choices)) > MOST_VALUES:
        raise Unfit("too many signs")
    return itertools.product(*choices)


def contains(tree, kind: str) -> bool:
    return isinstance(tree, (list, tuple)) and (tree[:1] == (kind,) or any(contains(part, kind) for part in tree))


def elements(tree) -> list | None:
    """The members of a bare list or a set, plus-or-minus signs spread out; None for anything else."""
    if tree[0] in ("list", "set"):
        return [value for part in tree[1] for value in spread(part)]
    return spread(tree) if contains(tree, "pm") else None
