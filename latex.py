r"""Reads a mathematical answer, in LaTeX or as typed, into a tree. Nothing is evaluated, and the text is never executed.

A tree is a tuple whose first item names it:

    num Fraction | const pi,e,i,inf | var name | call name [trees] (f(x), an unknown function)
    add [trees] | mul [trees] | div a b | neg a | pow a b | fn name [trees] | pm a b (a plus or minus b)
    list [trees] joiner (bare commas, "or", "and") | seq open close [trees] (in brackets) | set [trees] | matrix [rows]
    union, cap, minus a b | rel [trees] [signs] | ratio [trees] | based digits base | pct a | deg a | unit a name
    words text

One pass of regular expressions makes tokens, a recursive descent makes the tree; what the grammar does not know is `Unfit`.
Length, depth, digits and powers of ten are bounded, so the time is.

Left out on purpose: sums, integrals, limits, congruences and ellipses: such answers are compared as text.
"""
import functools
from fractions import Fraction

from atoms import atom, based, group, raw
from lexer import OPERATORS, Unfit, clean, tokens
from units import unit_name

LONGEST = 2000  # characters of an answer
MOST_TERMS = 100  # of a sum or product: a tree of them is as deep
DEEPEST = 40  # brackets within brackets: each costs some ten Python frames
ENDS = (None, None)
BETWEEN = {"or", "and", "cup", "cap", "setminus", "pm", "mp", "times", "cdot", "choose", "over", "newrow", "{set", "}set",
           "rfloor", "rceil", "rangle"}  # commands that no factor begins with


class Parser:
    """Recursive descent; each method reads one level of precedence and leaves `at` behind it."""

    def __init__(self, found: list[tuple[str, str]]):
        self.tokens, self.at, self.depth = found, 0, 0
        self.bars, self.colons = 0, True  # absolute values that are open; whether a colon makes a ratio

    def peek(self, ahead: int = 0) -> tuple:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ENDS

    def take(self, value: str | None = None) -> str:
        """The next token's value; Unfit if it is not `value`."""
        kind, found = self.peek()
        if kind is None or (value is not None and found != value):
            raise Unfit(f"expected {value or 'more'}, found {found or 'the end'}")
        self.at += 1
        return found

    def next_is(self, *values: str) -> bool:
        kind, value = self.peek()
        return kind in ("sym", "cmd") and value in values

    def accept(self, *values: str) -> str | None:
        """The next token's value if it is one of these signs or commands, which is then behind us."""
        return self.take() if self.next_is(*values) else None

    def items(self):
        """relation {("," | ";" | or | and) relation}"""
        found, joiner = [self.relation()], ","
        while self.next_is(",", ";", "or", "and"):
            joiner = "and" if self.take() == "and" else joiner
            if self.next_is("or", "and"):
                joiner = self.take()
            if self.peek() == ENDS:  # a comma at the end
                break
            found.append(self.relation())
        return found[0] if len(found) == 1 else ("list", found, joiner)

    def relation(self):
        """union {relation sign union}, or a ratio a : b"""
        sides, signs = [self.union()], []
        while self.peek()[0] in ("sym", "cmd") and self.peek()[1] in (*OPERATORS, ":" if self.colons else None):
            sign = self.take()
            if sign != ":" and OPERATORS[sign] is None:
                raise Unfit(sign)
            signs.append(OPERATORS.get(sign, sign))
            sides.append(self.union())
        if not signs:
            return sides[0]
        if set(signs) == {":"}:
            return ("ratio", sides)
        return ("rel", sides, signs)

    def union(self):
        tree = self.sum()
        while self.next_is("cup", "cap", "setminus"):
            tree = ({"cup": "union", "cap": "cap", "setminus": "minus"}[self.take()], tree, self.sum())
        return tree

    def sum(self):
        """[sign] term {sign term} [unit]"""
        self.depth += 1
        if self.depth > DEEPEST:
            raise Unfit("too deep")
        tree, terms = self.signed() if self.next_is("+", "-", "pm", "mp") else self.term(), 1
        while self.next_is("+", "-", "pm", "mp"):
            sign, terms = self.take(), terms + 1
            if terms > MOST_TERMS:
                raise Unfit("too many terms")
            right = self.term()
            tree = {"+": ("add", [tree, right]), "-": ("add", [tree, ("neg", right)]), "pm": ("pm", tree, right),
                    "mp": ("pm", tree, ("neg", right))}[sign]
        self.depth -= 1
        return self.unit(tree)

    def signed(self):
        sign = self.take()
        right = self.signed() if self.next_is("+", "-") else self.term()
        if right[0] == "unit" and sign == "-":  # -\\$5
            return ("unit", ("neg", right[1]), right[2])
        zero = ("num", Fraction(0))
        if right[0] == "based" and sign == "-":
            return ("based", "-" + right[1], right[2])
        return {"+": right, "-": ("neg", right), "pm": ("pm", zero, right), "mp": ("pm", zero, ("neg", right))}[sign]

    def unit(self, tree):
        """Words behind a value, such as \\text{ cm}^2 or `apples`; a million is a factor, not a unit."""
        words = []
        while self.peek()[0] == "text" or words and self.next_is("^", "/", "per"):
            word = self.take()
            if word == "^":
                word = "^" + "".join(raw(self))
            words.append(word)
        name = " ".join(words).strip(" .,")
        factor, name = unit_name(name) if name else (1, "")
        if name is None:
            raise Unfit(" ".join(words))
        if factor != 1:
            grown = ("mul", [tree[1] if tree[0] == "unit" else tree, ("num", Fraction(factor))])
            tree = ("unit", grown, tree[2]) if tree[0] == "unit" else grown
        return ("unit", tree, name) if name else tree

    def term(self):
        """factor {(* | / | nothing) factor}, from left to right"""
        tree, factors = self.factor(), 0
        while tree[0] != "words":
            factors += 1
            if factors > MOST_TERMS:
                raise Unfit("too many factors")
            if self.accept("*", "cdot", "times"):
                tree = ("mul", [tree, self.signed() if self.next_is("-", "+") else self.factor()])
            elif self.next_is("/"):
                if self.peek(1)[0] == "text":
                    return tree
                self.take()
                tree = ("div", tree, self.signed() if self.next_is("-") else self.factor())
            elif self.starts() and not (self.peek()[0] == "num" and self.peek(-1)[0] == "num"):
                tree = ("mul", [tree, self.factor()])
            else:
                break
        return tree

    def starts(self) -> bool:
        """Whether a factor begins here, so that standing side by side means a product."""
        kind, value = self.peek()
        if kind == "cmd":
            return value not in OPERATORS and value not in BETWEEN
        return kind in ("num", "id", "begin") or kind == "sym" and (value in "([{" or value == "|" and not self.bars)

    def factor(self):
        """primary with its postfix signs and power; an integer before a plain fraction is a mixed number"""
        start = self.at
        tree = atom(self)
        if self.tokens[start][0] == "num" and self.at == start + 1 and tree[0] == "num" and tree[1].denominator == 1:
            rest = self.at
            if self.next_is("frac") or self.peek()[0] == "num" and self.peek(1) == ("sym", "/"):
                kept = list(self.tokens)  # \\frac12 takes its token apart
                part = atom(self)
                if part[0] == "num":
                    self.take("/")
                    part = ("div", part, atom(self))
                if part[1][0] == part[2][0] == "num" and 0 <= part[1][1] < part[2][1] and part[1][1].denominator == 1 \
                        and not self.next_is("^"):
                    return self.postfix(("add", [tree, part]))
                self.at, self.tokens = rest, kept
        return self.postfix(tree)

    def postfix(self, tree):
        while True:
            if self.accept("!"):
                tree = ("fn", "factorial", [tree])
            elif self.accept("%"):
                tree = ("pct", tree)
            elif self.accept("degree"):
                tree = ("deg", tree)
            elif tree[0] == "num" and tree[1].denominator == 1 and self.accept("_"):  # (40)_9
                tree = based(self, str(tree[1]))
            elif self.accept("^"):
                tree = ("pow", tree, self.argument())
            else:
                return tree

    def argument(self, digits: bool = False):
        """What \\frac, ^ and \\sqrt take: a group, or one token; of a number one digit if `digits`, as \\frac12 has it."""
        if self.next_is("{"):
            return group(self)
        kind, value = self.peek()
        if kind == "num" and digits and len(value) > 1:
            self.tokens[self.at] = ("num", value[1:])
            return ("num", Fraction(value[0])) if value[0].isdigit() else atom(self)
        if self.next_is("-", "+"):
            sign = self.take()
            return ("neg", self.argument()) if sign == "-" else self.argument()
        return atom(self)

    def inside(self, opening: str | None, *closings: str):
        """(items between two brackets, the closing one); a bar in them opens a new absolute value."""
        if opening:
            self.take(opening)
        bars, self.bars = self.bars, 0
        tree = self.items()
        if self.next_is("over", "choose"):
            tree = ("div", tree, self.items()) if self.take() == "over" else ("fn", "binom", [tree, self.items()])
        self.bars = bars
        if not self.next_is(*closings):
            raise Unfit("a bracket is not closed")
        return tree, self.take()


@functools.lru_cache(maxsize=8192)
def parse(text: str, thousands: bool = True):
    """The tree of an answer; Unfit if it is blank, too long, too deep, or not in the grammar."""
    if len(text) > LONGEST:
        raise Unfit("too long")
    parser = Parser(tokens(clean(text, thousands)))
    tree = parser.items()
    if parser.peek() != ENDS:
        raise Unfit(f"found {parser.peek()[1]}")
    return tree
