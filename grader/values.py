"""The value of a tree: an exact fraction where there is one, else numbers with 60 digits.

Two expressions with variables are compared at random points. mpmath does the numbers; sympy, and so
torch, bring it. Sizes are bounded before anything is computed. The kinds of trees stand in
parser.py.
"""

import functools
import itertools
import math
import random
import threading
from fractions import Fraction

import mpmath

from grader.lexer import NO_UNIT, Unfit

DIGITS = 60  # of the numeric comparison
FINER_DIGITS = 120  # of a second look at two numbers that differ
SHRINKS = 1e-30  # how much smaller that look makes what is only rounding
MOST_BITS = 20_000  # of an exact power
MOST_BITS_OF_BASE = 33_000  # before the point, of what a power is taken of
LARGEST = 10**6  # exponent, factorial
LARGEST_ARGUMENT = 10**15  # reducing a huge angle takes as many digits as it has
LARGEST_FACTORIAL = 500  # computed exactly
MOST_COMPARISONS = 100  # by numbers, for one answer
MOST_VALUES = 64  # of a tree with plus-or-minus signs
SAMPLE_POINTS = 6  # at which two expressions with variables are compared
POSITIVE_POINTS = 3  # of these, where all letters lie above 0
LARGEST_SCALE = 10**6  # of the constants that these points go beyond
MOST_BREAKS = 3  # constants beside which piecewise expressions are compared too
LARGEST_MODULUS = 10**4  # to whose multiples floors are compared
WHOLE = set("ijklmnpqNMK")  # letters that stand for whole numbers in floors and ceilings
COUNTING = ("factorial", "double factorial", "binom")  # functions of small whole numbers
WHOLE_MARK = "#"  # beside names of variables: a function wants whole numbers
FLOOR_MARK = "~"  # beside names of variables: a function wants multiples, as floors do
# Functions of one argument that mpmath calls otherwise
MPMATH_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "cis": "expj"}
# What mpmath raises at a pole or for an argument that makes no sense; Unfit is a ValueError.
NOT_A_NUMBER = (
    ArithmeticError,
    ValueError,
    TypeError,
    AttributeError,
    mpmath.libmp.NoConvergence,
)
# mpmath's precision is a state of its context, so each thread has its own; and its own count.
HERE = threading.local()


def mp_context():
    """This thread's mpmath context of DIGITS digits."""
    if not hasattr(HERE, "mp"):
        HERE.mp = mpmath.MPContext()
        HERE.mp.dps = DIGITS
    return HERE.mp


def finer_context():
    """This thread's mpmath context of FINER_DIGITS digits."""
    if not hasattr(HERE, "finer"):
        HERE.finer = mpmath.MPContext()
        HERE.finer.dps = FINER_DIGITS
    return HERE.finer


# ---------------------------------------------------------------- exact values


def exact_value(tree) -> Fraction | None:
    """The rational value of a tree without letters and roots, None of any other.

    Unfit if the tree divides by zero or its value grows too long.
    """
    value = unchecked_value(tree)
    if value is None:
        return None
    if value.numerator.bit_length() + value.denominator.bit_length() > MOST_BITS:
        raise Unfit("the number is too long")
    return value


def unchecked_value(tree) -> Fraction | None:
    """The value of a tree as in `exact_value`; only its parts are known to be short enough."""
    kind = tree[0]
    if kind == "num":
        return tree[1]
    if kind in ("add", "mul"):
        return exact_operation(kind, tree[1][0], tree[1][1])
    if kind in ("div", "pow"):
        return exact_operation(kind, tree[1], tree[2])
    if kind == "neg":
        value = exact_value(tree[1])
        return None if value is None else -value
    if kind == "pct":
        value = exact_value(tree[1])
        return None if value is None else value / 100
    if kind == "fn" and tree[1] in COUNTING:
        return exact_count(tree[1], tree[2])
    return None


def exact_operation(kind: str, left, right) -> Fraction | None:
    """The value of a sum, product, quotient or power of two trees."""
    first = exact_value(left)
    second = exact_value(right)
    if first is None or second is None:
        return None
    if kind == "add":
        return first + second
    if kind == "mul":
        return first * second
    if kind == "div":
        if second == 0:
            raise Unfit("divides by zero")
        return first / second
    bits = max(first.numerator.bit_length(), first.denominator.bit_length()) * abs(second)
    if second.denominator != 1 or bits > MOST_BITS:
        return None
    return first ** int(second)


def exact_count(name: str, arguments: list) -> Fraction | None:
    """The value of a factorial, single or double, or a binomial coefficient of whole numbers."""
    whole = list(map(exact_value, arguments))
    if None in whole:
        return None
    for n in whole:
        if n.denominator != 1 or not 0 <= n <= LARGEST_FACTORIAL:
            return None
    if name == "factorial":
        return Fraction(math.factorial(*map(int, whole)))
    if name == "double factorial":
        return Fraction(math.prod(range(int(whole[0]), 0, -2)))
    return Fraction(math.comb(*map(int, whole)))


# ---------------------------------------------------------------- numeric values


def variables_of(tree, found: set | None = None) -> set[str]:
    """The variables of a tree; among them WHOLE_MARK and FLOOR_MARK where it has such functions."""
    if found is None:
        found = set()
    if isinstance(tree, list):
        for part in tree:
            variables_of(part, found)
    elif isinstance(tree, tuple):
        kind = tree[0]
        if kind in ("var", "call"):
            found.add(tree[1])
        elif kind == "fn" and tree[1] in COUNTING:
            found.add(WHOLE_MARK)
        elif kind == "fn" and tree[1] in ("gcd", "lcm"):
            found |= {WHOLE_MARK, FLOOR_MARK}
        elif kind == "fn" and tree[1] in ("floor", "ceil"):
            found.add(FLOOR_MARK)
        for part in tree[1:]:
            if isinstance(part, (list, tuple)):
                variables_of(part, found)
    return found


def numeric_value(tree, mp, at: dict):
    """The value of a tree in the mpmath context `mp`, its variables as in `at`.

    Unfit where there is none; mpmath raises others of NOT_A_NUMBER.
    """
    kind = tree[0]
    if kind == "num":
        return mp.mpf(tree[1].numerator) / tree[1].denominator
    if kind == "const":
        return constant(tree[1], mp)
    if kind == "var" and tree[1] in at:
        return at[tree[1]]
    if kind == "add":
        return numeric_value(tree[1][0], mp, at) + numeric_value(tree[1][1], mp, at)
    if kind == "mul":
        return numeric_value(tree[1][0], mp, at) * numeric_value(tree[1][1], mp, at)
    if kind == "div":
        return numeric_value(tree[1], mp, at) / numeric_value(tree[2], mp, at)
    if kind == "pow":
        base = numeric_value(tree[1], mp, at)
        exponent = numeric_value(tree[2], mp, at)
        return numeric_power(base, exponent, exact_value(tree[2]), mp)
    if kind == "neg":
        return -numeric_value(tree[1], mp, at)
    if kind == "pct":
        return numeric_value(tree[1], mp, at) / 100
    if kind == "deg":
        return numeric_value(tree[1], mp, at) * mp.pi / 180
    if kind == "fn":
        arguments = [numeric_value(part, mp, at) for part in tree[2]]
        return numeric_function(tree[1], arguments, mp)
    if kind == "call" and tree[1] in at:
        arguments = [numeric_value(part, mp, at) for part in tree[2]]
        return unknown_function(arguments, at[tree[1]], mp)
    raise Unfit(f"a {kind} is no number")


def constant(name: str, mp):
    """The number of a const tree."""
    if name == "pi":
        return +mp.pi
    if name == "e":
        return +mp.e
    if name == "i":
        return mp.mpc(0, 1)
    return mp.inf


def unknown_function(arguments: list, own, mp):
    """The value of f(x): some smooth function, as random as the number `own` that stands for f."""
    mixed = 0
    for k, value in enumerate(arguments):
        mixed += (k + 1) * value
    return mp.atan(mixed * own + 1) + own


def numeric_power(base, exponent, fraction: Fraction | None, mp):
    """base ** exponent, where `fraction` is the exponent's exact value if it has one.

    An odd root of a number below 0 is the real one: the cube root of -8 is -2.
    """
    is_real = mp.im(base) == 0
    if abs(exponent) > LARGEST:
        raise Unfit("the power is too large")
    if mp.mag(base) > MOST_BITS_OF_BASE:
        raise Unfit("the power is too large")
    is_odd_root = fraction is not None and fraction.denominator > 1 and fraction.denominator % 2
    if is_odd_root and is_real and mp.re(base) < 0:
        return (-1) ** fraction.numerator * mp.power(-mp.re(base), exponent)
    return mp.power(base, exponent)


def numeric_function(name: str, numbers: list, mp):
    """The value of a named function; Unfit if its arguments are too large or too many."""
    if any(abs(value) > LARGEST_ARGUMENT for value in numbers):
        raise Unfit("the argument is too large")
    if name == "max":
        return max(numbers)
    if name == "min":
        return min(numbers)
    if name in ("gcd", "lcm"):
        return numeric_divisor(name, numbers, mp)
    if name == "binom" and len(numbers) == 2:
        if max(map(abs, numbers)) > LARGEST:
            raise Unfit("too large")
        return mp.binomial(*numbers)
    if name == "log" and len(numbers) == 2:
        return mp.ln(numbers[0]) / mp.ln(numbers[1])
    if len(numbers) != 1:
        raise Unfit(f"{name} of {len(numbers)} arguments")
    if name in ("factorial", "double factorial", "exp") and abs(numbers[0]) > LARGEST:
        raise Unfit("too large")
    if name == "factorial":
        return mp.gamma(numbers[0] + 1)
    if name == "double factorial":
        return mp.fac2(numbers[0])
    if name in ("log", "lg"):
        return mp.ln(numbers[0]) / mp.ln(10)
    if name == "abs":
        return abs(numbers[0])
    if name == "cbrt":
        return numeric_power(numbers[0], mp.mpf(1) / 3, Fraction(1, 3), mp)
    return getattr(mp, MPMATH_NAMES.get(name, name))(numbers[0])


def numeric_divisor(name: str, numbers: list, mp):
    """The greatest common divisor or least common multiple; Unfit if a number is not whole."""
    whole = [int(value) for value in numbers]
    if any(value != n for value, n in zip(numbers, whole)):
        raise Unfit("not whole")
    if name == "gcd":
        return mp.mpf(math.gcd(*whole))
    return mp.mpf(math.lcm(*whole))


# ---------------------------------------------------------------- where to compare


def sample_points(variables: set[str], mp, scale: int = 2, most: int = SAMPLE_POINTS) -> list[dict]:
    """Where to compare, the same at every call: `most` values of the variables.

    The first POSITIVE_POINTS lie above 0, where roots and logarithms have one value, the others
    have mixed signs; from the third on letters go beyond `scale`. They are whole numbers above 0
    where a factorial asks for them; in floors, for letters like n.
    """
    letters = letters_of(variables)
    if not letters:
        return [{}]
    found = []
    for k in range(most):
        at = {}
        for i, name in enumerate(letters):
            far = reach(i, k, scale)
            if WHOLE_MARK in variables or (FLOOR_MARK in variables and name in WHOLE):
                at[name] = mp.mpf(whole_sample(name, k, far))
                continue
            value = mp.mpf(drawn(name, k, 300, 2700) * far)
            if k == 3 or (k > 3 and (i + k) % 2):
                at[name] = value / -997
            else:
                at[name] = value / 997
        found.append(at)
    return found


def letters_of(variables: set[str]) -> list[str]:
    """The variables without the marks among them, sorted."""
    return sorted(variables - {WHOLE_MARK, FLOOR_MARK})


def whole_sample(name: str, k: int, far: int) -> int:
    """A whole number for a letter at point number `k`, beyond `far` if that is above 1."""
    if far > 1:
        return drawn(name, k, far + 1, 2 * far + 9)
    return drawn(name, k, 1 + k, 9 + 2 * k)


@functools.lru_cache(maxsize=4096)
def drawn(name: str, k: int, low: int, high: int) -> int:
    """A random whole number from `low` to `high`, the same at every call for a name and a point."""
    return random.Random(f"{name}/{k}").randint(low, high)


def reach(i: int, k: int, scale: int) -> int:
    """The factor of the letter number `i` at point number `k`.

    All letters go far at the third and fourth point, one above and one below 0; then every other
    letter goes farther, as far as a constant times another.
    """
    if k in (2, 3):
        return 4 * scale
    if k > 3 and (i + k) % 2 == 0:
        return 4 * min(scale**2, LARGEST_SCALE)
    return 1


def points_for(one, other, variables: set[str], mp) -> list[dict]:
    """Where to compare two expressions: beyond their constants, and beside those if it matters."""
    constants = constants_of([one, other], set())
    sizes = [max(abs(number.numerator), number.denominator) for number in constants]
    scale = min(max(sizes, default=2), LARGEST_SCALE)
    points = sample_points(variables, mp, max(scale, 2))
    letters = letters_of(variables)
    if not letters:
        return points
    if FLOOR_MARK in variables:
        points += points_at_multiples(letters, modulus_of(sizes), mp)
    if is_piecewise([one, other]):
        points += points_beside(letters, constants, mp)
    return points


def constants_of(tree, found: set) -> set:
    """The rational numbers that stand in a tree, added to `found`."""
    if tree[0] == "num":
        found.add(tree[1])
        return found
    for part in tree:
        if isinstance(part, (list, tuple)) and part:
            constants_of(part, found)
    return found


def modulus_of(sizes: list[int]) -> int:
    """A common multiple of the numerators and denominators, as far as LARGEST_MODULUS allows."""
    modulus = 1
    for size in sorted(sizes):
        if size and math.lcm(modulus, size) <= LARGEST_MODULUS:
            modulus = math.lcm(modulus, size)
    return modulus


def points_at_multiples(letters: list[str], modulus: int, mp) -> list[dict]:
    """Whole points at which every letter is a multiple of the modulus, or one beside it."""
    points = []
    for beside in (0, 1, -1):
        at = {}
        for i, name in enumerate(letters):
            at[name] = mp.mpf(modulus * (i + 2) + beside)
        points.append(at)
    return points


def is_piecewise(tree) -> bool:
    """Whether a tree has a function whose formula changes from place to place."""
    if not isinstance(tree, (list, tuple)):
        return False
    if tree[:1] == ("fn",) and tree[1] in ("abs", "max", "min"):
        return True
    return any(map(is_piecewise, tree))


def points_beside(letters: list[str], constants: set, mp) -> list[dict]:
    """Points on both sides of the constants, and of what cancels them."""
    points = []
    for constant in sorted(constants, key=abs, reverse=True)[:MOST_BREAKS]:
        center = mp.mpf(constant.numerator) / constant.denominator
        for sign, side in itertools.product((1, -1), repeat=2):
            at = {}
            for i, name in enumerate(letters):
                gap = mp.mpf(side * (61 + 10 * i)) / 997
                at[name] = sign * center + gap
            points.append(at)
    return points


# ---------------------------------------------------------------- comparison


def count_anew() -> None:
    """Begin to count the comparisons by numbers of one answer."""
    HERE.left = MOST_COMPARISONS


def count_comparison() -> None:
    """Note one more comparison by numbers; Unfit beyond MOST_COMPARISONS since `count_anew`."""
    HERE.left = getattr(HERE, "left", MOST_COMPARISONS) - 1
    if HERE.left < 0:
        raise Unfit("too many comparisons")


def is_close(left, right, relative: float, absolute: float = 0.0) -> bool:
    """Whether two numbers are equal to `relative`, or to `absolute`.

    Infinities only equal themselves.
    """
    if left == right:
        return True
    if not abs(left) + abs(right) < math.inf:
        return False
    gap = abs(left - right)
    return bool(gap <= relative * max(abs(left), abs(right)) or gap <= absolute)


def is_rounding(gap, finer_gap) -> bool:
    """Whether a number is only what rounding left of 0: it shrinks with more digits."""
    return bool(finer_gap <= gap * SHRINKS)


def settled_value(tree):
    """The value of a tree without variables, 0 where a sum cancelled and left only rounding."""
    value = numeric_value(tree, mp_context(), {})
    if 0 < abs(value) < SHRINKS:
        if is_rounding(abs(value), abs(numeric_value(tree, finer_context(), {}))):
            return mp_context().mpf(0)
    return value


def same_value(one, other, tolerance: float) -> bool:
    """Whether two expressions have one value, for all values of their variables.

    tolerance: the absolute error that may be between two numbers.
    """
    left = exact_value(one)
    right = exact_value(other)
    if left is not None and right is not None:
        if left == right:
            return True
        return bool(tolerance) and abs(left - right) <= Fraction(str(tolerance))
    variables = variables_of(one) | variables_of(other)
    if tolerance and not variables:
        mp = mp_context()
        return bool(abs(numeric_value(one, mp, {}) - numeric_value(other, mp, {})) <= tolerance)
    count_comparison()
    # In double precision first: most pairs differ.
    return not differ_in_doubles(one, other, variables) and same_at_points(one, other, variables)


def differ_in_doubles(one, other, variables: set[str]) -> bool:
    """Whether double precision tells two expressions apart.

    It is asked at the first point at which they are real, else at POSITIVE_POINTS points. Powers
    are left to more digits: (2 - \\sqrt3)^{20} is what two large numbers leave.
    """
    if contains(one, "pow") or contains(other, "pow"):
        return False
    differ = False
    for at in sample_points(variables, mpmath.fp, most=POSITIVE_POINTS):
        try:
            left = numeric_value(one, mpmath.fp, at)
            right = numeric_value(other, mpmath.fp, at)
            far_apart = not is_close(left, right, 1e-6, absolute=1e-12)
        except NOT_A_NUMBER:
            continue  # a pole, or too large
        if not isinstance(left, complex) and not isinstance(right, complex):
            return far_apart
        differ = differ or far_apart
    return differ


def same_at_points(one, other, variables: set[str]) -> bool:
    """Whether two expressions are equal with 60 digits wherever both have a real value.

    They must have one at two points at least, or at the only one where there are no variables.
    Where they are not real, branches of roots and logarithms may differ: such points count only
    where letters are above 0, and if there are too few others.
    """
    mp = mp_context()
    points = points_for(one, other, variables, mp)
    met_real = 0
    met_complex = 0
    agree_complex = True
    for k, at in enumerate(points):
        try:
            left = numeric_value(one, mp, at)
            right = numeric_value(other, mp, at)
        except NOT_A_NUMBER:
            continue  # a pole
        if mp.isnan(left) or mp.isnan(right):
            continue
        is_complex = isinstance(left, mp.mpc) or isinstance(right, mp.mpc)
        if is_complex and (met_real >= 2 or k >= POSITIVE_POINTS):
            continue
        agree = is_close(left, right, 1e-54)
        if not agree and (k >= 2 or is_close(left, right, 1e-10, absolute=1e-20)):
            agree = only_rounding_differs(one, other, variables, k)
        if is_complex:
            met_complex += 1
            agree_complex = agree_complex and agree
        elif agree:
            met_real += 1
        else:
            return False
    wanted = min(2, len(points))
    return met_real >= wanted or (agree_complex and met_real + met_complex >= wanted)


def only_rounding_differs(one, other, variables: set[str], k: int) -> bool:
    """Whether two expressions differ at point number `k` by nothing but rounding."""
    gaps = []
    for mp in (mp_context(), finer_context()):
        at = points_for(one, other, variables, mp)[k]
        gaps.append(abs(numeric_value(one, mp, at) - numeric_value(other, mp, at)))
    if not gaps[0] < math.inf:
        return False
    return is_rounding(*gaps)


# ---------------------------------------------------------------- the shape of a tree


def is_name(tree) -> bool:
    """Whether a tree only calls something: x, f(x), P(A), AB, |AB|, dy/dx. No digits, no sums."""
    kind = tree[0]
    if kind == "var":
        return True
    if kind == "call":
        return all(part[0] == "num" or is_name(part) for part in tree[2])
    if kind == "mul":
        return all(map(is_factor_of_name, tree[1])) and bool(variables_of(tree))
    if kind in ("div", "cap", "union"):  # P(A and B)
        return is_name(tree[1]) and is_name(tree[2])
    if kind == "seq":
        return all(map(is_factor_of_name, tree[3])) and any(map(is_name, tree[3]))
    if kind == "ratio":
        return all(map(is_name, tree[1]))
    if kind == "fn" and tree[1] in ("sin", "cos", "tan"):  # cos theta
        return all(map(is_name, tree[2]))
    if kind == "fn" and tree[1] == "abs":  # |AB| or a determinant, not |x|
        if tree[2][0][0] == "matrix":
            return True
        return tree[2][0][0] == "mul" and is_name(tree[2][0])
    if kind == "words":
        return not NO_UNIT & set(tree[1].lower().replace("n't", " not ").split())
    return False


def is_factor_of_name(tree) -> bool:
    """Whether a tree may be a factor of a name: a name itself, e, i, or the f^{-1} of f^{-1}(x)."""
    if is_name(tree) or tree in (("const", "e"), ("const", "i")):
        return True
    is_power = tree[0] == "pow" and tree[1][0] == "var"
    return is_power and tree[2] == ("neg", ("num", Fraction(1)))


def contains(tree, kind: str) -> bool:
    """Whether a tree of this kind stands anywhere in a tree."""
    if not isinstance(tree, (list, tuple)):
        return False
    return tree[:1] == (kind,) or any(contains(part, kind) for part in tree)


def elements(tree) -> list | None:
    """The members of a bare list or a set, with each plus-or-minus sign both ways.

    None of anything else, unless it has such a sign itself.
    """
    if tree[0] in ("list", "set"):
        found = []
        for part in tree[1]:
            found += plus_and_minus(part)
        return found
    if contains(tree, "pm"):
        return plus_and_minus(tree)
    return None


def plus_and_minus(tree) -> list:
    """All values of a tree with plus-or-minus signs in it, [tree] of one without them.

    Unfit beyond MOST_VALUES.
    """
    if not contains(tree, "pm"):
        return [tree]
    if isinstance(tree, list):
        choices = list(map(plus_and_minus, tree))
        return list(map(list, combinations(choices)))
    if tree[0] == "pm":
        signed = []
        for right in plus_and_minus(tree[2]):
            signed += [right, ("neg", right)]
        pairs = combinations([plus_and_minus(tree[1]), signed])
        return [("add", list(pair)) for pair in pairs]
    choices = list(map(plus_and_minus, tree[1:]))
    return [(tree[0], *parts) for parts in combinations(choices)]


def combinations(choices: list[list]):
    """All ways to take one of each; Unfit if there are more than MOST_VALUES."""
    if math.prod(map(len, choices)) > MOST_VALUES:
        raise Unfit("too many signs")
    return itertools.product(*choices)
