"""Countdown: make the target from the given numbers, each used exactly once, with + - * /.

The generator joins random numbers by random moves, so every problem can be solved. The checker
works an expression out exactly, by recursive descent; nothing evaluates the text.
"""

import random
import re
from collections import Counter
from fractions import Fraction

from tasks.problem import Problem

# Generated problems stay within 0..100: the embedded base has one token for each of these numbers.
LARGEST = 100

# ---------------------------------------------------------------- moves: two numbers become one


def moves(a: int, b: int) -> list[tuple[str, int]]:
    """What two positive integers can be made into, as (text, value) with a positive integer value.

    The larger number stands first where order matters, so nothing negative or fractional ever
    appears. There is always a move: the difference, or 1 as the quotient of equal numbers.
    """
    larger = max(a, b)
    smaller = min(a, b)
    possible = [(f"{a}+{b}", a + b)]
    if larger > smaller:
        possible.append((f"{larger}-{smaller}", larger - smaller))
    possible.append((f"{a}*{b}", a * b))
    if larger % smaller == 0:
        possible.append((f"{larger}/{smaller}", larger // smaller))
    return [(text, value) for text, value in possible if value <= LARGEST]


def combine(x: tuple[str, int], y: tuple[str, int], move: str) -> str:
    """The expression of a move.

    `move` names two values; `x` and `y` are the (expression, value) that stand for them.
    """
    first, operator, _ = re.split("([-+*/])", move)
    left = bracketed(x[0])
    right = bracketed(y[0])
    if int(first) == x[1]:
        return left + operator + right
    return right + operator + left


def bracketed(expression: str) -> str:
    """An expression as an operand: all but a plain number goes into brackets."""
    if expression.isdigit():
        return expression
    return f"({expression})"


def take_random(pool: list, rng: random.Random):
    """Take one element out of the pool, all as likely."""
    return pool.pop(rng.randrange(len(pool)))


# ---------------------------------------------------------------- the generator


def make_countdown(rng: random.Random, size: int = 3) -> Problem:
    """`size` numbers from 1 to 20 and a target from 1 to 100 that uses each exactly once.

    It is solvable by construction. facts: numbers (tuple of int), target (int). Key: the numbers in
    order of size, and the target.
    """
    while True:
        numbers = tuple(rng.randint(1, 20) for _ in range(size))
        expression, target = random_expression(numbers, rng)
        if len(set(numbers)) > 1:  # all equal is no puzzle
            break
    listed = ", ".join(map(str, numbers[:-1]))
    return Problem(
        task="countdown",
        question=f"Using {listed} and {numbers[-1]} exactly once each, make {target} with + - * /.",
        answer=expression,
        key=f"countdown {sorted(numbers)} {target}",
        facts={"numbers": numbers, "target": target},
    )


def random_expression(numbers: tuple[int, ...], rng: random.Random) -> tuple[str, int]:
    """(expression, value): join two values by a random legal move until one is left."""
    pool = [(str(number), number) for number in numbers]
    while len(pool) > 1:
        x = take_random(pool, rng)
        y = take_random(pool, rng)
        move, value = rng.choice(moves(x[1], y[1]))
        pool.append((combine(x, y, move), value))
    return pool[0]


QUESTION = re.compile(
    r"Using ([0-9]{1,9}(?:, [0-9]{1,9}){0,18}) and ([0-9]{1,9}) exactly once each, "
    r"make ([0-9]{1,9}) with \+ - \* /\."
)


def read_countdown(question: str) -> Problem | None:
    """The problem that a question states in the generator's words; None if it states none.

    It has no answer: whether there is one is not known.
    """
    found = QUESTION.fullmatch(" ".join(question.split()))
    if not found:
        return None
    numbers = (*map(int, found[1].split(", ")), int(found[2]))
    target = int(found[3])
    return Problem(
        task="countdown",
        question=question,
        answer="",
        key=f"countdown {sorted(numbers)} {target}",
        facts={"numbers": numbers, "target": target},
    )


# ---------------------------------------------------------------- the value of an expression

DIGITS = "0123456789"
LONGEST_ANSWER = 200  # characters
MOST_DIGITS = 9  # of a number in an expression
DEEPEST = 20  # brackets within brackets
# [0-9], not \d or str.isdigit: those accept Arabic-Indic digits and superscripts.
TOKENS = re.compile(r"[0-9]+|\S")
SIGNS = str.maketrans("×÷−", "*/-")


def expression_value(text: str) -> tuple[Fraction | None, list[int]]:
    """The exact value of an expression (None: it divides by zero) and the numbers in it, in order.

    The grammar, read by recursive descent:

        sum     = product {(+|-) product}
        product = operand {(*|/) operand}
        operand = number | "(" sum ")"

    So there is no sign before a number, no decimal point, no `**`, no `//`, no `= 24` at the end:
    ValueError says what is in the way.
    """
    expression = Expression(text)
    value = expression.read_sum(depth=0)
    rest = expression.look()
    if rest:
        raise ValueError(f"cannot read {rest}")
    return value, expression.numbers


class Expression:
    """A text on its way through the grammar: which token comes next, and the numbers so far."""

    def __init__(self, text: str):
        self.tokens = TOKENS.findall(text.translate(SIGNS))
        self.position = 0
        self.numbers = []

    def look(self) -> str:
        """The next token, "" at the end."""
        if self.position == len(self.tokens):
            return ""
        return self.tokens[self.position]

    def take(self) -> str:
        """The next token, "" at the end, and go on behind it."""
        token = self.look()
        if token:
            self.position += 1
        return token

    def read_sum(self, depth: int) -> Fraction | None:
        """Products joined by + and -, from left to right; `depth` brackets are open."""
        value = self.read_product(depth)
        while self.look() in ("+", "-"):
            operator = self.take()
            value = self.apply(operator, value, self.read_product(depth))
        return value

    def read_product(self, depth: int) -> Fraction | None:
        """Operands joined by * and /, from left to right."""
        value = self.read_operand(depth)
        while self.look() in ("*", "/"):
            operator = self.take()
            value = self.apply(operator, value, self.read_operand(depth))
        return value

    def read_operand(self, depth: int) -> Fraction | None:
        """A number, or a sum in brackets."""
        token = self.take() or "the end"
        if token[0] in DIGITS:
            return self.number(token)
        if token != "(":
            raise ValueError(f"expected a number, found {token}")
        if depth == DEEPEST:
            raise ValueError("too many brackets within brackets")
        value = self.read_sum(depth + 1)
        if self.take() != ")":
            raise ValueError("a bracket is not closed")
        return value

    def number(self, token: str) -> Fraction:
        """The value of a token of digits, which is noted."""
        if len(token) > MOST_DIGITS:
            raise ValueError("a number is too long")
        number = int(token)
        self.numbers.append(number)
        return Fraction(number)

    def apply(
        self, operator: str, left: Fraction | None, right: Fraction | None
    ) -> Fraction | None:
        """One exact step of arithmetic.

        None (not a number) stays None, and a division by zero makes one.
        """
        if left is None or right is None:
            return None
        if operator == "+":
            return left + right
        if operator == "-":
            return left - right
        if operator == "*":
            return left * right
        if right == 0:
            return None
        return left / right


# ---------------------------------------------------------------- the value that Python finds

PYTHON_CHARACTERS = set("0123456789+-*/(). ")
PYTHON_TOKENS = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+|\*\*|//|\S")
MOST_BITS = 10_000  # of a power of whole numbers


def python_value(text: str) -> float | None:
    """The value of an expression by Python's arithmetic, which TinyZero's checker asks; None
    without one.

    Unlike `expression_value` it has signs, decimals, powers (`2**3`) and whole quotients (`7//2`).
    It is worked out here, by recursive descent; what would take for ever (`9**9**9`) has no value.
    """
    if len(text) > LONGEST_ANSWER or not set(text) <= PYTHON_CHARACTERS:
        return None
    expression = PythonExpression(text)
    try:
        value = expression.read_sum(depth=0)
    except (ValueError, TypeError, ArithmeticError):
        return None
    if expression.look():
        return None
    return value


class PythonExpression(Expression):
    """The same with Python's numbers and operators:

    product = signed {(*|/|//) signed}
    signed  = (+|-) signed | power
    power   = operand [** signed]
    """

    def __init__(self, text: str):
        super().__init__(text)
        self.tokens = PYTHON_TOKENS.findall(text)

    def read_product(self, depth: int):
        value = self.read_signed(depth)
        while self.look() in ("*", "/", "//"):
            operator = self.take()
            value = self.apply(operator, value, self.read_signed(depth))
        return value

    def read_signed(self, depth: int):
        """A power, with any number of signs before it."""
        negative = False
        while self.look() in ("+", "-"):
            negative ^= self.take() == "-"
        value = self.read_power(depth)
        if negative:
            return -value
        return value

    def read_power(self, depth: int):
        """An operand, perhaps raised to another; the sign of -2**2 comes after the power."""
        base = self.read_operand(depth)
        if self.look() != "**":
            return base
        self.take()
        return self.apply("**", base, self.read_signed(depth))

    def read_operand(self, depth: int):
        """As in the other grammar, but a number may also begin with its point."""
        if self.look().startswith("."):
            return self.number(self.take())
        return super().read_operand(depth)

    def number(self, token: str):
        """A whole number or a decimal; Python refuses 05."""
        if "." in token:
            return float(token)
        if token[0] == "0" and int(token) != 0:
            raise ValueError("a number begins with 0")
        return int(token)

    def apply(self, operator: str, left, right):
        """One step of Python's arithmetic; ArithmeticError where it has none."""
        if operator == "+":
            return left + right
        if operator == "-":
            return left - right
        if operator == "*":
            return left * right
        if operator == "/":
            return left / right
        if operator == "//":
            return left // right
        whole = isinstance(left, int) and isinstance(right, int)
        if whole and left.bit_length() * right > MOST_BITS:
            raise ValueError("the power is too large")
        return left**right


# ---------------------------------------------------------------- the checker


def value_as_text(answer: str) -> str | None:
    """The value of an expression, for people; None if it is not one or is too long to be."""
    if len(answer) > LONGEST_ANSWER:
        return None
    try:
        value, _ = expression_value(answer)
    except ValueError:
        return None
    if value is None:
        return "a division by zero"
    return str(value)


def check_countdown(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: an expression over exactly the given numbers whose value is the target.

    Each number is used as often as it was given.
    """
    try:
        value, numbers = expression_value(answer)
    except ValueError as error:
        return False, False, str(error)
    misuse = misuse_of(numbers, problem.facts["numbers"])
    if misuse:
        return False, True, misuse
    if value is None:
        return False, True, "divides by zero"
    target = problem.facts["target"]
    if value != target:
        return False, True, f"value is {value}, not {target}"
    return True, True, "right"


def misuse_of(numbers: list[int], given: tuple[int, ...]) -> str:
    """What is wrong with the numbers of an expression, "" if they are those that were given."""
    used_count = Counter(numbers)
    given_count = Counter(given)
    for number in [*used_count, *given_count]:
        used = used_count[number]
        if number not in given_count:
            return f"uses {number}, which is not given"
        if used == 0:
            return f"does not use {number}"
        if used != given_count[number]:
            return f"uses {number} {times(used)}"
    return ""


def times(count: int) -> str:
    """How often, in words."""
    if count == 1:
        return "once"
    if count == 2:
        return "twice"
    return f"{count} times"


def check_as_tinyzero(answer: str, problem: Problem) -> bool:
    """Right by TinyZero's own checker (countdown.py of Jiayi-Pan/TinyZero).

    The whole numbers in the answer, in whatever they are used (`1.5` holds 1 and 5), are those
    given, and Python finds the target to 1e-5.
    """
    if len(answer) > LONGEST_ANSWER:
        return False
    numbers = [int(digits) for digits in re.findall("[0-9]+", answer)]
    if sorted(numbers) != sorted(problem.facts["numbers"]):
        return False
    value = python_value(answer)
    return value is not None and abs(value - problem.facts["target"]) < 1e-5
