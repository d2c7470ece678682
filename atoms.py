r"""The smallest parts of an answer: numbers, names, functions, brackets, matrices. Called by latex.py's parser `p`.

Each function reads one thing from the tokens and returns its tree (the kinds stand in latex.py); Unfit where it cannot.
"""
from fractions import Fraction

from lexer import DECORATION, DOLLARS, FUNCTIONS, Unfit
from units import CARDINALS

BOLD = ("mathbf", "boldsymbol", "bm", "pmb")
LONGEST_NUMBER = 400  # digits
LARGEST_EXPONENT = 400  # of ten, in 4e33


def atom(p):
    kind, value = p.peek()
    readers = {"num": number, "id": variable, "begin": matrix, "text": words, "(": bracket, "[": bracket, "{": group}
    if reader := readers.get(value if kind == "sym" else kind):
        return reader(p)
    if kind == "sym" and value == "|":
        p.take()
        p.bars += 1
        tree = p.sum()
        p.bars -= 1
        p.take("|")
        return ("fn", "abs", [tree])
    if kind == "cmd":
        return command(p, p.take())
    raise Unfit(f"found {value or 'the end'}")


def words(p):
    found = []
    while p.peek()[0] in ("text", "id"):
        found.append(p.take().strip())
    if len(found) == 1 and p.accept("_"):  # \\text{A5}_{11}
        return based(p, found[0])
    return ("words", " ".join(found))


def number(p):
    text = p.take()
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > LONGEST_NUMBER or len(exponent) > 5 or abs(int(exponent or 0)) > LARGEST_EXPONENT:
        raise Unfit("a number is too long")
    if p.accept("_"):
        return based(p, text)
    value = Fraction(mantissa.rstrip(".") or "0") * Fraction(10) ** int(exponent or 0)
    if "." in mantissa and p.peek() in (("cmd", "overline"), ("cmd", "dot"), ("cmd", "bar")):
        p.take()
        period, places = "".join(raw(p)), len(mantissa.partition(".")[2])
        if not period.isdecimal() or len(period) > LONGEST_NUMBER:
            raise Unfit("a period of no digits")
        value += Fraction(int(period), (10 ** len(period) - 1) * 10 ** places)
    return ("num", value)


def based(p, digits: str):
    """Digits in a base, which may be written out: 40_{nine}."""
    base = "".join(raw(p))
    return ("based", digits, CARDINALS.get(base.lower(), base))


def raw(p) -> list[str]:
    """The tokens of an index or exponent as text: one token, or a balanced group without its braces."""
    if not p.next_is("{"):
        return [p.take().strip()]
    p.take()
    found, depth = [], 1
    while True:
        value = p.take()
        depth += {"{": 1, "}": -1}.get(value, 0)
        if not depth:
            return found
        found.append(value.strip())


def variable(p, name: str | None = None):
    """A letter or a named symbol with its index and primes; e and i are numbers; I(0) is a name of its own."""
    name = name or p.take()
    while True:
        if p.accept("_"):
            name += "_" + "".join(raw(p))
        elif p.accept("'"):
            name += "'"
        elif p.next_is("^") and (("cmd", "prime") in (p.peek(1), p.peek(2)) or p.peek(1) == ("sym", "'")):
            p.take()
            name += "'" * len([part for part in raw(p) if part in ("prime", "'")])
        else:
            break
    if name in ("e", "i", "pi"):
        return ("const", name)
    applied = name[0] in "fgh" or p.peek(1)[0] == "num" and p.peek(2) == ("sym", ")") and len(name) == 1
    if applied and p.peek() == ("sym", "(") and not name.startswith("\\"):  # f(x + 1) and I(0) are no products
        inner = bracket(p)
        return ("call", name, inner[3] if inner[0] == "seq" else [inner])
    return ("var", name)


def bracket(p):
    """( ) or [ ] around one value is a group; around several a tuple or an interval, half-open ones too."""
    opening = p.take()
    tree, closing = p.inside(None, ")", "]")
    if tree[0] == "list":
        return ("seq", opening, closing, tree[1])
    if opening + closing not in ("()", "[]"):
        raise Unfit("brackets do not match")
    return tree


def matrix(p):
    name = p.take()
    if name.rstrip("*") not in ("matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array", "cases"):
        raise Unfit(name)
    if name == "array":
        raw(p)
    rows = [[]]
    while p.peek()[0] != "end":
        rows[-1].append(p.relation())
        if p.accept("newrow"):
            rows.append([])
        elif not p.accept("&") and p.peek()[0] != "end":
            raise Unfit("a matrix row")
    p.take()
    cells = [cell for row in rows for cell in row]
    if cells and all(cell[0] == "rel" for cell in cells):  # a system: x = 1, y = 2
        return ("list", cells, "and") if len(cells) > 1 else cells[0]
    if name == "cases":
        raise Unfit(name)
    return ("matrix", [row for row in rows if row])  # a last row may end with a row's mark


def command(p, name: str):
    """What a backslash or a known word begins."""
    if name == "frac":
        top = p.argument(digits=True)
        return ("div", top, p.argument(digits=True))
    if name == "binom":
        return ("fn", "binom", [p.argument(digits=True), p.argument(digits=True)])
    if name == "sqrt":
        if not p.next_is("["):
            return ("pow", p.argument(), ("num", Fraction(1, 2)))
        index = p.inside("[", "]")[0]
        return ("pow", p.argument(), ("div", ("num", Fraction(1)), index))
    if name in FUNCTIONS:
        return function(p, name)
    if name in ("infty", "emptyset"):
        return ("const", "inf") if name == "infty" else ("set", [])
    if name in DOLLARS:
        return ("unit", p.signed() if p.next_is("-") else p.factor(), DOLLARS[name])
    if name == "{set":
        return braces(p)
    pairs = {"lfloor": "rfloor", "lceil": "rceil", "langle": "rangle"}
    if name in pairs:
        tree = p.inside(None, pairs[name])[0]
        if name == "langle":
            return ("seq", "(", ")", tree[1] if tree[0] == "list" else [tree])
        return ("fn", "floor" if name == "lfloor" else "ceil", [tree])
    if name in DECORATION:
        return decorated(p, name)
    if name in ("boxed", "fbox"):
        return p.argument()
    if name in ("rfloor", "rceil", "rangle", "}set", "newrow", "right", "left", "end", "choose", "per"):
        raise Unfit(name)
    return variable(p, name)


def decorated(p, name: str):
    """Bold is only looks, and so is the arrow of a vector's name; any other mark makes another name, over digits none."""
    if name in BOLD and not (p.peek(1)[0] == "id" and p.peek(2)[1] == "}"):
        return p.argument()
    if p.peek(1)[0] == "num":
        raise Unfit(name)
    inside = "".join(raw(p))
    if name == "mathbb" and inside == "R":
        return ("seq", "(", ")", [("neg", ("const", "inf")), ("const", "inf")])
    same_name = len(inside) == 1 and inside not in "ei" and name in (*BOLD, "vec", "mathcal", "mathfrak", "mathscr")
    return variable(p, inside if same_name else f"{name}({inside})")


def braces(p):
    """A set \\{ a, b \\}, or \\{ x | condition \\}, which is its condition."""
    if p.accept("}set"):
        return ("set", [])
    p.bars, p.colons = p.bars + 1, False  # a bar or a colon here divides
    tree = p.items()
    p.bars, p.colons = p.bars - 1, True
    if p.accept("|", ":"):
        tree = p.items()
        p.take("}set")
        return tree
    p.take("}set")
    return ("set", tree[1] if tree[0] == "list" else [tree])


def function(p, name: str):
    """A named function with an optional power and base; without brackets it takes the product that follows."""
    power = base = None
    while p.next_is("^", "_"):
        if p.take() == "^":
            power = p.argument()
        else:
            base = p.argument()
    if p.next_is("(", "{"):
        inner = bracket(p) if p.next_is("(") else group(p)
    else:
        inner = p.factor()
        while p.starts() and not (p.peek()[0] == "cmd" and p.peek()[1] in FUNCTIONS):
            inner = ("mul", [inner, p.factor()])
    args = inner[3] if inner[0] == "seq" else inner[1] if inner[0] == "set" else [inner]
    if name in ("sin", "cos", "tan") and power == ("neg", ("num", Fraction(1))):
        name, power = "arc" + name, None
    if name == "log" and base is not None:
        args = [*args, base]
    tree = ("fn", name, args)
    return tree if power is None else ("pow", tree, power)


def group(p):
    """{ } around one value is only a group; around a list it was meant as a set."""
    tree = p.inside("{", "}")[0]
    return ("set", tree[1]) if tree[0] == "list" else tree
