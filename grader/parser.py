r"""Reads a mathematical answer, in LaTeX or as typed, into a tree; it evaluates nothing.

A tree is a tuple whose first item names it:

    num Fraction         const pi,e,i,inf        var name
    add [trees]          mul [trees]             neg a
    div a b              pow a b                 pm a b               (a plus or minus b)
    fn name [trees]      call name [trees]                            (f(x), an unknown function)
    list [trees] joiner  set [trees]                                  (bare commas, "or", "and")
    matrix [rows]        seq open close [trees]                       (in brackets)
    cases [rows]         dots                                         (a value and its condition)
    union a b            cap a b                 minus a b
    rel [trees] [signs]  ratio [trees]           based digits base
    pct a                deg a                   unit a name          words text

The lexer makes tokens, a recursive descent makes the tree; what the grammar does not know is
`Unfit`. Length, depth, digits and powers of ten are bounded, so the time is bounded too.

Left out on purpose: sums, integrals and limits: such answers are compared as text. The modulus of a
congruence is taken off before (wording.py).
"""

import functools
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

from grader.lexer import (
    CARDINALS,
    DECORATION,
    DOLLARS,
    FUNCTIONS,
    GREEK,
    OPERATORS,
    Unfit,
    clean,
    tokenize,
    unit_name,
)

LONGEST = 2000  # characters of an answer
MOST_TERMS = 100  # of a sum or product: a tree of them is as deep
DEEPEST = 40  # brackets within brackets: each costs some ten Python frames
LONGEST_NUMBER = 400  # digits
LONGEST_EXPONENT = 5  # characters of the exponent in 4e33
LARGEST_EXPONENT = 400  # of ten, in 4e33
ENDS = (None, None)  # the token behind the last one
SET_SIGNS = {"cup": "union", "cap": "cap", "setminus": "minus"}
# The commands that no factor begins with.
BETWEEN = set(
    """
    or and cup cap setminus pm mp times cdot choose over newrow {set }set rfloor rceil rangle
    boxed fbox
    """.split()
)
# The commands that cannot stand where a value begins.
NO_BEGINNING = set(
    """
    rfloor rceil rangle }set newrow right left end choose per ldots
    """.split()
)
ALWAYS_APPLIED = set("det dim arg ker hom Pr Re Im".split())  # commands that are functions
INVERSE = ["^", "{", "-", "1", "}"]  # the tokens of f^{-1}
MATRICES = set("matrix pmatrix bmatrix Bmatrix smallmatrix array cases".split())
BOLD = ("mathbf", "boldsymbol", "bm", "pmb")
SAME_NAME = (*BOLD, "vec", "mathcal", "mathfrak", "mathscr")  # over one letter these only dress it
IF = ("if", "for", "when")
PERIOD_MARKS = (("cmd", "overline"), ("cmd", "dot"), ("cmd", "bar"))  # over repeating decimals
ZERO = ("num", Fraction(0))
ONE = ("num", Fraction(1))
HALF = ("num", Fraction(1, 2))
MINUS_ONE = ("neg", ONE)
DOTS = ("dots",)  # in a list: and so on
INFINITY = ("const", "inf")
MINUS_INFINITY = ("neg", INFINITY)
ALL_REALS = ("seq", "(", ")", [MINUS_INFINITY, INFINITY])
SAME_DECORATION = {
    "overline": "bar",
    "widehat": "hat",
    "widetilde": "tilde",
    "overrightarrow": "vec",
}
# \mathbb{R} with one of these behind it: the part of the real numbers that it is
SIGNED_REALS = {
    "+": ("seq", "(", ")", [ZERO, INFINITY]),
    ">0": ("seq", "(", ")", [ZERO, INFINITY]),
    "ge0": ("seq", "[", ")", [ZERO, INFINITY]),
    "-": ("seq", "(", ")", [MINUS_INFINITY, ZERO]),
    "<0": ("seq", "(", ")", [MINUS_INFINITY, ZERO]),
    "le0": ("seq", "(", "]", [MINUS_INFINITY, ZERO]),
}


def parse(text: str, thousands: bool = True, applied: frozenset = frozenset()):
    """The tree of an answer; Unfit if it is blank, too long, too deep, or not in the grammar.

    thousands: whether 1,234 outside brackets is one number. applied: names that are functions
    where a bracket follows, not factors.
    """
    tree, _ = parse_names(text, thousands, applied)
    return tree


@functools.lru_cache(maxsize=8192)
def parse_names(text: str, thousands: bool, applied: frozenset) -> tuple:
    """The (tree, names) of an answer as in `parse`: how its letters and symbols stand in it."""
    if len(text) > LONGEST:
        raise Unfit("too long")
    parser = Parser(tokenize(clean(text, thousands)), applied)
    tree = parser.read_items()
    if parser.peek() != ENDS:
        raise Unfit(f"found {parser.peek()[1]}")
    return tree, parser.names


@dataclass
class Names:
    """How often each name of an answer stands alone, and as a factor before a bracket."""

    alone: Counter = field(default_factory=Counter)
    before_bracket: Counter = field(default_factory=Counter)


def possible_functions(one: Names, other: Names) -> frozenset:
    """The names of two answers that were read as factors and may be functions.

    A name that stands alone anywhere is a factor. Small letters must be seen twice on one side.
    """
    found = set()
    for names in (one, other):
        for name, times_seen in names.before_bracket.items():
            if is_capital_or_greek(name) or times_seen > 1:
                found.add(name)
    return frozenset(found - set(one.alone) - set(other.alone))


def is_capital_or_greek(name: str) -> bool:
    """Whether a name begins with a capital, or is a Greek letter with or without an index."""
    return name[0].isupper() or name.partition("_")[0].rstrip("'") in GREEK


def index_of(parts: list[str]) -> str:
    """An index as a part of a name: a comma between letters says nothing, i,j is ij."""
    if all(part == "," or (part.isalpha() and len(part) == 1) for part in parts):
        return "".join(parts).replace(",", "")
    return "".join(parts)


def groups_of(parts: list, signs: list[str], strong: tuple) -> list[list]:
    """The parts of a list in groups, with one of the `strong` signs between two groups."""
    groups = [[parts[0]]]
    for sign, part in zip(signs, parts[1:]):
        if sign in strong:
            groups.append([])
        groups[-1].append(part)
    return groups


def names_several(parts: list) -> bool:
    """Whether parts of a list say what two names or more are: x = 1, y = 2."""
    names = set()
    for part in parts:
        if part[0] != "rel" or part[2] != ["="]:
            return False
        names.add(str(part[1][0]))
    return 1 < len(names) == len(parts)


def is_whole(tree) -> bool:
    """Whether a tree is a whole number as such."""
    return tree[0] == "num" and tree[1].denominator == 1


def joined_by(sign: str, left, right):
    """The tree of two terms with +, -, pm or mp between them, their unit taken out."""
    if left[0] == right[0] == "unit" and left[2] == right[2]:
        return ("unit", joined_by(sign, left[1], right[1]), left[2])
    if sign == "+":
        return ("add", [left, right])
    if sign == "-":
        return ("add", [left, ("neg", right)])
    if sign == "pm":
        return ("pm", left, right)
    return ("pm", left, ("neg", right))


def times(tree, factor: int):
    """A tree times a whole number, which goes before the unit if the tree has one."""
    number = ("num", Fraction(factor))
    if tree[0] == "unit":
        return ("unit", ("mul", [tree[1], number]), tree[2])
    return ("mul", [tree, number])


class Parser:
    """Recursive descent over the tokens.

    Each `read_` method reads one thing from the token `at` on, leaves `at` behind it, and returns
    its tree; Unfit where it cannot. A method for each level of precedence calls the next level.
    """

    def __init__(self, tokens: list[tuple[str, str]], applied: frozenset = frozenset()):
        self.tokens = tokens
        self.applied = applied  # names that are functions where a bracket follows
        self.names = Names()
        self.at = 0  # the token that comes next
        self.depth = 0  # sums that are open
        self.bars = 0  # absolute values that are open
        self.colons = True  # whether a colon makes a ratio

    # ------------------------------------------------------------ tokens

    def peek(self, ahead: int = 0) -> tuple:
        """The (kind, value) of the token `ahead` behind the next one, ENDS behind the last."""
        if self.at + ahead < len(self.tokens):
            return self.tokens[self.at + ahead]
        return ENDS

    def take(self, value: str | None = None) -> str:
        """Go behind the next token and return its value; Unfit if it is not `value`."""
        kind, found = self.peek()
        if kind is None or (value is not None and found != value):
            raise Unfit(f"expected {value or 'more'}, found {found or 'the end'}")
        self.at += 1
        return found

    def next_is(self, *values: str) -> bool:
        """Whether the next token is one of these signs or commands."""
        kind, value = self.peek()
        return kind in ("sym", "cmd") and value in values

    def accept(self, *values: str) -> str | None:
        """Take the next token if it is one of these signs or commands; None if it is not."""
        if self.next_is(*values):
            return self.take()
        return None

    def read_raw(self) -> list[str]:
        """Read an index or exponent as text: one token, or a balanced group without its braces."""
        if not self.next_is("{"):
            return [self.take().strip()]
        self.take()
        found = []
        depth = 1
        while True:
            value = self.take()
            if value == "{":
                depth += 1
            elif value == "}":
                depth -= 1
            if depth == 0:
                return found
            found.append(value.strip())

    # ------------------------------------------------------------ levels of precedence

    def read_items(self):
        """Read relation {("," | ";" | or | and) (relation | dots)}."""
        found = [self.read_relation()]
        joiner = ","
        signs = []  # before each but the first
        while self.next_is(",", ";", "or", "and"):
            sign = self.take()
            if sign in ("or", "and"):
                joiner = sign
            if self.next_is("or", "and"):
                sign = joiner = self.take()
            if self.peek() == ENDS or self.cell_ends():  # a comma at the end
                break
            signs.append(sign)
            if self.accept("ldots"):
                found.append(DOTS)
            else:
                found.append(self.read_relation())
        if len(found) == 1:
            return found[0]
        for strong in ((";", "or"), ("and",)):
            groups = groups_of(found, signs, strong)
            if len(groups) > 1 and all(map(names_several, groups)):  # x = 1, y = 2; x = 3, y = 4
                return ("list", [("list", group, ",") for group in groups], joiner)
        return ("list", found, joiner)

    def read_relation(self):
        """Read ratio {relation sign ratio}."""
        sides = [self.read_ratio()]
        signs = []
        while self.next_is(*OPERATORS):
            sign = OPERATORS[self.take()]
            if sign is None:
                raise Unfit("an arrow")
            signs.append(sign)
            sides.append(self.read_ratio())
        if not signs:
            return sides[0]
        return ("rel", sides, signs)

    def read_ratio(self):
        """Read union {: union}, where a colon makes a ratio."""
        parts = [self.read_union()]
        while self.colons and self.accept(":"):
            parts.append(self.read_union())
        if len(parts) == 1:
            return parts[0]
        return ("ratio", parts)

    def read_union(self):
        """Read sum {(cup | cap | setminus) sum}."""
        tree = self.read_sum()
        while self.next_is(*SET_SIGNS):
            kind = SET_SIGNS[self.take()]
            tree = (kind, tree, self.read_sum())
        return tree

    def read_sum(self):
        """Read [sign] term {sign term} [unit]."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unfit("too deep")
        if self.next_is("+", "-", "pm", "mp"):
            tree = self.read_signed()
        else:
            tree = self.read_term()
        terms = 1
        while self.next_is("+", "-", "pm", "mp"):
            sign = self.take()
            terms += 1
            if terms > MOST_TERMS:
                raise Unfit("too many terms")
            if sign == "+" and self.next_is("+", "-"):  # x + -1
                tree = joined_by(sign, tree, self.read_signed())
            else:
                tree = joined_by(sign, tree, self.read_term())
        self.depth -= 1
        return self.read_unit(tree)

    def read_signed(self):
        """Read sign {sign} term."""
        sign = self.take()
        if self.next_is("+", "-"):
            right = self.read_signed()
        else:
            right = self.read_term()
        if sign == "-" and right[0] == "unit":  # -\$5
            return ("unit", ("neg", right[1]), right[2])
        if sign == "-" and right[0] == "based":
            return ("based", "-" + right[1], right[2])
        if sign == "+":
            return right
        if sign == "-":
            return ("neg", right)
        return joined_by(sign, ZERO, right)

    def read_unit(self, tree):
        """Read the words behind a value, such as \\text{ cm}^2 or `apples`, and return both.

        A million is a factor, not a unit.
        """
        words = []
        while self.peek()[0] == "text" or (words and self.unit_goes_on()):
            word = self.take()
            if word == "^":
                word = "^" + "".join(self.read_raw())
            words.append(word)
        said = " ".join(words).strip(" .,")
        if not said:
            return tree
        factor, name = unit_name(said)
        if name is None:
            raise Unfit(" ".join(words))
        if factor != 1:
            tree = times(tree, factor)
        if name:
            return ("unit", tree, name)
        return tree

    def unit_goes_on(self) -> bool:
        """Whether a sign between the words of a unit comes next: m/s, N \\cdot m."""
        if self.next_is("^", "/", "per"):
            return True
        return self.next_is("cdot") and self.peek(1)[0] == "text"

    def read_term(self):
        """Read factor {(* | / | nothing) factor}, from left to right."""
        tree = self.read_factor()
        factors = 0
        while tree[0] != "words":
            factors += 1
            if factors > MOST_TERMS:
                raise Unfit("too many factors")
            if self.accept("*", "cdot", "times"):
                if self.next_is("-", "+"):
                    right = self.read_signed()
                else:
                    right = self.read_factor()
                tree = ("mul", [tree, right])
            elif self.next_is("/"):
                if self.peek(1)[0] == "text":  # 5 m/s
                    return tree
                self.take()
                if self.next_is("-"):
                    right = self.read_signed()
                else:
                    right = self.read_factor()
                tree = ("div", tree, right)
            elif self.factor_begins() and not self.between_numbers():
                tree = ("mul", [tree, self.read_factor()])
            else:
                break
        return tree

    def factor_begins(self) -> bool:
        """Whether a factor begins here, so that standing side by side means a product."""
        kind, value = self.peek()
        if kind == "cmd":
            return value not in OPERATORS and value not in BETWEEN
        if kind == "sym":
            return value in ("(", "[", "{") or (value == "|" and not self.bars)
        return kind in ("num", "id", "begin")

    def between_numbers(self) -> bool:
        """Whether the tokens before and behind this place are numbers, which is no product."""
        return self.peek()[0] == "num" and self.peek(-1)[0] == "num"

    def read_factor(self):
        """Read an atom with its postfix signs and power; 3 1/2 is a mixed number."""
        start = self.at
        tree = self.read_atom()
        one_token = self.at == start + 1 and self.tokens[start][0] == "num"
        if one_token and is_whole(tree):
            fraction = self.read_mixed_part()
            if fraction is not None:
                tree = ("add", [tree, fraction])
        return self.read_postfix(tree)

    def read_mixed_part(self):
        """Read the fraction of a mixed number: whole / whole and below 1.

        None where another thing follows; then nothing is read.
        """
        slash_follows = self.peek()[0] == "num" and self.peek(1) == ("sym", "/")
        if not slash_follows and not self.next_is("frac"):
            return None
        start = self.at
        kept = list(self.tokens)  # \frac12 takes its token apart
        fraction = self.read_atom()
        if fraction[0] == "num":
            self.take("/")
            fraction = ("div", fraction, self.read_atom())
        _, top, bottom = fraction
        both_numbers = top[0] == "num" and bottom[0] == "num"
        if both_numbers and is_whole(top) and 0 <= top[1] < bottom[1] and not self.next_is("^"):
            return fraction
        self.at = start
        self.tokens = kept
        return None

    def read_postfix(self, tree):
        """Read the signs behind a value: ! % degree _base ^power."""
        while True:
            if self.accept("!"):
                tree = ("fn", self.read_rest_of_factorial(), [tree])
            elif self.accept("%"):
                tree = ("pct", tree)
            elif self.accept("degree"):
                tree = ("deg", tree)
            elif is_whole(tree) and self.accept("_"):  # (40)_9
                tree = self.read_based(str(tree[1]))
            elif tree[0] == "num" and self.marks_of_minutes_end():
                mark = "'" * (len(self.tokens) - self.at)
                self.at = len(self.tokens)
                return ("unit", tree, mark)
            elif self.accept("^"):
                tree = ("pow", tree, self.read_argument())
            else:
                return tree

    def marks_of_minutes_end(self) -> bool:
        """Whether nothing but the primes of minutes or seconds of arc follows, if any."""
        rest = self.tokens[self.at : self.at + 3]
        return bool(rest) and len(rest) < 3 and set(rest) == {("sym", "'")}

    def read_rest_of_factorial(self) -> str:
        """Read what follows the first mark: n!! is the double factorial, not (n!)!."""
        if not self.accept("!"):
            return "factorial"
        if self.next_is("!"):
            raise Unfit("three factorial marks")
        return "double factorial"

    def read_argument(self, digits: bool = False):
        """Read what \\frac, ^ and \\sqrt take: a group, or one token.

        digits: of a number only one digit, as \\frac12 has it.
        """
        if self.next_is("{"):
            return self.read_group()
        kind, value = self.peek()
        if kind == "num" and digits and len(value) > 1:
            self.tokens[self.at] = ("num", value[1:])
            if value[0].isdigit():
                return ("num", Fraction(value[0]))
            return self.read_atom()
        if self.next_is("-", "+"):
            sign = self.take()
            argument = self.read_argument()
            if sign == "-":
                return ("neg", argument)
            return argument
        return self.read_atom()

    def read_until(self, *closings: str):
        """Read what a bracket holds; the closing one, one of `closings`, comes next then.

        A bar inside opens a new absolute value.
        """
        bars = self.bars
        self.bars = 0
        tree = self.read_items()
        if self.accept("over"):
            tree = ("div", tree, self.read_items())
        elif self.accept("choose"):
            tree = ("fn", "binom", [tree, self.read_items()])
        self.bars = bars
        if not self.next_is(*closings):
            raise Unfit("a bracket is not closed")
        return tree

    def read_inside(self, closing: str):
        """Read what a bracket holds, and the closing one."""
        tree = self.read_until(closing)
        self.take(closing)
        return tree

    # ------------------------------------------------------------ atoms

    def read_atom(self):
        """Read a smallest part of an answer: a number, a name, a function, a bracket, a matrix."""
        kind, value = self.peek()
        if kind == "num":
            return self.read_number()
        if kind == "id":
            return self.read_variable(self.take())
        if kind == "cmd":
            return self.read_command(self.take())
        if kind == "text":
            return self.read_words()
        if kind == "begin":
            return self.read_matrix()
        if kind == "sym" and value in ("(", "["):
            return self.read_bracket()
        if kind == "sym" and value == "{":
            return self.read_group()
        if kind == "sym" and value == "|":
            return self.read_absolute_value()
        raise Unfit(f"found {value or 'the end'}")

    def read_number(self):
        """Read a decimal number, 4e33, a repeating decimal, or digits in a base."""
        text = self.take()
        mantissa, _, exponent = text.lower().partition("e")
        if len(mantissa) > LONGEST_NUMBER or len(exponent) > LONGEST_EXPONENT:
            raise Unfit("a number is too long")
        power = int(exponent or 0)
        if abs(power) > LARGEST_EXPONENT:
            raise Unfit("a number is too long")
        if self.accept("_"):
            return self.read_based(text)
        value = Fraction(mantissa.rstrip(".") or "0") * Fraction(10) ** power
        if "." in mantissa and self.peek() in PERIOD_MARKS:
            self.take()
            places = len(mantissa.partition(".")[2])
            value += self.read_period(places)
        return ("num", value)

    def read_period(self, places: int) -> Fraction:
        """Read the digits that repeat behind `places` decimals, and return their value."""
        period = "".join(self.read_raw())
        if not period.isdecimal() or len(period) > LONGEST_NUMBER:
            raise Unfit("a period of no digits")
        return Fraction(int(period), (10 ** len(period) - 1) * 10**places)

    def read_based(self, digits: str):
        """Read the base of these digits, which may be written out: 40_{nine}."""
        base = "".join(self.read_raw())
        return ("based", digits, CARDINALS.get(base.lower(), base))

    def read_words(self):
        """Read words and the letters among them; \\text{A5}_{11} is a number in a base."""
        found = []
        while self.peek()[0] in ("text", "id"):
            found.append(self.take().strip())
        if len(found) == 1 and self.accept("_"):
            return self.read_based(found[0])
        return ("words", " ".join(found))

    def read_variable(self, name: str):
        """Read the index and primes of a letter or a named symbol; e, i and pi are numbers.

        f(x + 1) and I(0) are calls of a function, not products.
        """
        while True:
            if self.accept("_"):
                name += "_" + index_of(self.read_raw())
            elif self.accept("'"):
                name += "'"
            elif self.next_is("^") and self.power_is_a_prime():
                self.take()
                primes = [part for part in self.read_raw() if part in ("prime", "'")]
                name += "'" * len(primes)
            elif self.inverse_is_applied(name):
                self.take()
                self.read_raw()
                name += "^-1"
            else:
                break
        if name in ("e", "i", "pi"):
            return ("const", name)
        if not self.bracket_follows(name):
            self.names.alone[name] += 1
            return ("var", name)
        if not self.is_applied(name):
            self.names.before_bracket[name] += 1
            return ("var", name)
        inner = self.read_bracket()
        if inner[0] == "seq":
            return ("call", name, inner[3])
        return ("call", name, [inner])

    def power_is_a_prime(self) -> bool:
        """Whether the power that begins here is one of ^\\prime, ^{\\prime} and ^'."""
        if self.peek(1) in (("cmd", "prime"), ("sym", "'")):
            return True
        return self.peek(2) == ("cmd", "prime")

    def inverse_is_applied(self, name: str) -> bool:
        """Whether ^{-1} and a bracket with an argument come next: f^{-1}(x) is no quotient."""
        if [value for _, value in self.tokens[self.at : self.at + 5]] != INVERSE:
            return False
        start = self.at
        self.at += len(INVERSE)
        applied = self.bracket_follows(name) and self.is_applied(name)
        self.at = start
        return applied

    def bracket_follows(self, name: str) -> bool:
        """Whether a name stands before a bracket; E[X] has one as well, x[y + 1] is a product."""
        return self.next_is("(") or (self.next_is("[") and is_capital_or_greek(name))

    def is_applied(self, name: str) -> bool:
        """Whether the bracket behind a name holds a function's arguments: f, g and h, or I(0).

        No product is written P(A) or \\zeta(3): its bracket would be of no use.
        """
        if name.startswith("\\"):
            return False
        if name[0] in "fgh" or name in self.applied or name.partition("_")[0] in ALWAYS_APPLIED:
            return True
        if is_capital_or_greek(name):
            return self.bracket_is_of_no_use()
        one_number = self.peek(1)[0] == "num" and self.peek(2) == ("sym", ")")
        return one_number and len(name) == 1

    def bracket_is_of_no_use(self) -> bool:
        """Whether the bracket that comes next holds one name, or one number, its sign aside."""
        at = 1
        if self.peek(at) == ("sym", "-"):
            at = 2
        kind, value = self.peek(at)
        is_one = kind in ("num", "id") or value in GREEK
        return is_one and self.peek(at + 1) in (("sym", ")"), ("sym", "]"))

    def read_bracket(self):
        """Read ( ) or [ ]: around one value a group, around several a tuple or an interval.

        The brackets of an interval may differ.
        """
        opening = self.take()
        tree = self.read_until(")", "]")
        closing = self.take()
        if tree[0] == "list":
            return ("seq", opening, closing, tree[1])
        if opening + closing not in ("()", "[]"):
            raise Unfit("brackets do not match")
        return tree

    def read_group(self):
        """Read { }: around one value it is only a group, around a list it was meant as a set."""
        self.take("{")
        tree = self.read_inside("}")
        if tree[0] == "list":
            return ("set", tree[1])
        return tree

    def read_absolute_value(self):
        """Read | sum |."""
        self.take("|")
        self.bars += 1
        tree = self.read_sum()
        self.bars -= 1
        self.take("|")
        return ("fn", "abs", [tree])

    def read_matrix(self):
        """Read a matrix; one whose cells are all relations is a system: x = 1, y = 2."""
        name = self.take()
        if name.rstrip("*") not in MATRICES:
            raise Unfit(name)
        if name == "array":
            self.read_raw()  # the alignment of its columns
        rows = [[]]
        while self.peek()[0] != "end":
            if name == "cases" and rows[-1]:
                rows[-1].append(self.read_condition())
            else:
                rows[-1].append(self.read_relation())
            if name == "cases":
                self.accept(",", ";")
            if self.accept("newrow"):
                rows.append([])
            elif not self.accept("&") and self.peek()[0] != "end":
                raise Unfit("a matrix row")
        self.take()
        cells = []
        for row in rows:
            cells += row
        if cells and all(cell[0] == "rel" for cell in cells):
            if len(cells) == 1:
                return cells[0]
            return ("list", cells, "and")
        if name == "cases":
            return ("cases", [row for row in rows if row])
        return ("matrix", [row for row in rows if row])  # a last row may end with a row's mark

    def cell_ends(self) -> bool:
        """Whether a cell of a matrix ends here."""
        return self.next_is("&", "newrow") or self.peek()[0] == "end"

    def read_condition(self):
        """Read the condition of a case, an `if` before it aside: a relation, or words."""
        kind, value = self.peek()
        if kind == "text" and value.strip() in IF:
            self.take()
        start = self.at
        in_words = False
        while not self.cell_ends():
            in_words = in_words or self.peek()[0] == "text"
            self.take()
        said = " ".join(value for _, value in self.tokens[start : self.at])
        if in_words:
            return ("words", " ".join(said.split()))
        self.at = start
        return self.read_items()

    def read_command(self, name: str):
        """Read what the command `name`, a backslash or a known word, begins."""
        if name == "frac":
            top = self.read_argument(digits=True)
            return ("div", top, self.read_argument(digits=True))
        if name == "binom":
            top = self.read_argument(digits=True)
            return ("fn", "binom", [top, self.read_argument(digits=True)])
        if name == "sqrt":
            return self.read_root()
        if name in FUNCTIONS:
            return self.read_function(name)
        if name == "infty":
            return ("const", "inf")
        if name == "emptyset":
            return ("set", [])
        if name in DOLLARS:
            return self.read_money(DOLLARS[name])
        if name == "{set":
            return self.read_set()
        if name == "lfloor":
            return ("fn", "floor", [self.read_inside("rfloor")])
        if name == "lceil":
            return ("fn", "ceil", [self.read_inside("rceil")])
        if name == "langle":
            return self.read_angles()
        if name in DECORATION:
            return self.read_decorated(name)
        if name in ("boxed", "fbox"):
            return self.read_argument()
        if name in NO_BEGINNING:
            raise Unfit(name)
        return self.read_variable(name)

    def read_root(self):
        """Read what a root is taken of, its index in [ ] before it."""
        if not self.next_is("["):
            return ("pow", self.read_argument(), HALF)
        self.take("[")
        index = self.read_inside("]")
        return ("pow", self.read_argument(), ("div", ONE, index))

    def read_money(self, currency: str):
        """Read the amount behind the sign of a currency."""
        if self.next_is("-"):
            return ("unit", self.read_signed(), currency)
        return ("unit", self.read_factor(), currency)

    def read_angles(self):
        """Read the rest of \\langle 1, 2 \\rangle, a vector: a tuple."""
        tree = self.read_inside("rangle")
        if tree[0] == "list":
            return ("seq", "(", ")", tree[1])
        return ("seq", "(", ")", [tree])

    def read_set(self):
        """Read the rest of \\{ a, b \\}; \\{ x | condition \\} is its condition."""
        if self.accept("}set"):
            return ("set", [])
        # Here a bar or a colon divides.
        self.bars += 1
        self.colons = False
        tree = self.read_items()
        self.bars -= 1
        self.colons = True
        if self.accept("|", ":"):
            tree = self.read_items()
            self.take("}set")
            return tree
        self.take("}set")
        if tree[0] == "list":
            return ("set", tree[1])
        return ("set", [tree])

    def read_decorated(self, name: str):
        """Read what stands under a decoration, often a part of the name.

        Bold is only looks, and so is the arrow of a vector's name; any other mark makes another
        name, and over digits none.
        """
        bold_word = self.peek(1)[0] == "id" and self.peek(2)[1] == "}"
        if name in BOLD and not bold_word:
            return self.read_argument()
        if self.peek(1)[0] == "num":
            raise Unfit(name)
        inside = "".join(self.read_raw())
        name = SAME_DECORATION.get(name, name)
        if name == "mathbb" and inside == "R":
            return self.read_real_numbers()
        if name in SAME_NAME and len(inside) == 1 and inside not in "ei":
            return self.read_variable(inside)
        return self.read_variable(f"{name}({inside})")

    def read_real_numbers(self):
        """Read the sign behind \\mathbb{R}, as in \\mathbb{R}^+ and \\mathbb{R}_{\\le 0}."""
        start = self.at
        if self.accept("^", "_"):
            sign = "".join(self.read_raw())
            if sign == "*":
                return ("minus", ALL_REALS, ("set", [ZERO]))
            if sign in SIGNED_REALS:
                return SIGNED_REALS[sign]
        self.at = start
        return ALL_REALS

    def read_function(self, name: str):
        """Read the power, the base and the arguments of a named function."""
        power = None
        base = None
        while self.next_is("^", "_"):
            if self.take() == "^":
                power = self.read_argument()
            else:
                base = self.read_argument()
        arguments = self.read_function_arguments()
        if name in ("sin", "cos", "tan") and power == MINUS_ONE:
            name = "arc" + name
            power = None
        if name == "log" and base is not None:
            arguments = [*arguments, base]
        tree = ("fn", name, arguments)
        if power is None:
            return tree
        return ("pow", tree, power)

    def read_function_arguments(self) -> list:
        """Read what a function is taken of: without brackets it takes the product that follows."""
        if self.next_is("("):
            inner = self.read_bracket()
        elif self.next_is("{"):
            inner = self.read_group()
        else:
            inner = self.read_factor()
            while self.factor_begins() and not self.function_begins():
                inner = ("mul", [inner, self.read_factor()])
        if inner[0] == "seq":
            return inner[3]
        if inner[0] == "set":
            return inner[1]
        return [inner]

    def function_begins(self) -> bool:
        """Whether a named function comes next."""
        kind, value = self.peek()
        return kind == "cmd" and value in FUNCTIONS
