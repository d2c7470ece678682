r"""Whether two mathematical answers say the same: `grade_answer(prediction, gold)`.

What counts is the value: exact rational arithmetic first, else both expressions at random points with 60 digits (mpmath,
which sympy and so torch bring). A prediction may be a whole response; what stands inside the thinking does not count.

    percent, degrees, currency, units   dropped where one side lacks them; two different units are different
    x=, f(x)=, x \in                    ignored; in 3/6 = 1/2 all sides must agree, so 6=5 is neither
    1, 2                                in any order, as is a set; (1, 2) and matrices in theirs
    intervals                           also as inequalities and unions: x>2 is (2, \infty)
    40_9                                the base may be left out, the digits not
    words and choices                   as text: \text{(A)} is A
    1 or 2                              two answers: not 1

Exact needs exact: 0.333 is not 1/3, unless the gold states an error. Model text is never evaluated: latex.py makes a tree
of it, and length, depth, digits and powers are bounded, so is the time. No signals, no processes: it works in threads.

Left out on purpose: proofs, sums and integrals as answers, equal sets that need reasoning.
"""
import itertools
import re

from extract import last_boxed
from latex import LONGEST, parse
from lexer import TEXT, Unfit, clean, unpunctuated
from regions import same_region
from values import NOT_A_NUMBER, close, context, elements, exact, is_name, names, number, points, same_value

MOST_ELEMENTS = 40  # of a list: matching takes their square


# ---------------------------------------------------------------- forms of answers

def unnamed(tree):
    """(name or None, value) of x = value, value = x, x = formula = value, x \\in set; None where no name stands before it."""
    if tree[0] != "rel" or set(tree[2]) - {"=", "~", "in"}:
        return None, tree
    sides, signs = list(tree[1]), list(tree[2])
    if "~" in signs:  # what is only about equal says nothing beyond the exact part
        sides, signs = sides[:signs.index("~") + 1], signs[:signs.index("~")]
    name = None
    while len(sides) > 1 and is_name(sides[0]):
        name, sides, signs = name or sides[0], sides[1:], signs[1:]
    if len(sides) == 2 and name is None and is_name(sides[1]) and "in" not in signs:
        name, sides = sides[1], sides[:1]
    if len(sides) > 1:
        constant = [side for side in sides if not names(side)]
        if sides[-1] not in constant or (len(constant) < len(sides) and name is None) or "in" in signs \
                or not all(same(side, constant[-1], 0.0) for side in constant):
            return None, tree
    return name, sides[-1]


def matched(left: list, right: list, tolerance: float) -> bool:
    """Whether two lists hold the same, in any order."""
    if len(left) != len(right) or len(left) > MOST_ELEMENTS:
        return False
    rest = list(right)
    for part in left:
        found = next((i for i, other in enumerate(rest) if same(part, other, tolerance)), None)
        if found is None:
            return False
        rest.pop(found)
    return True


def same_relation(a, b) -> bool:
    """Equations and inequalities that differ by moved terms and a factor: 2x = y + 1 and y - 2x + 1 = 0."""
    if a[1] == b[1][::-1] and a[2] == b[2] == ["="]:
        return True
    (left, right), (sign,) = a[1], a[2]
    (other_left, other_right), (other_sign,) = b[1], b[2]
    turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
    f, g = (("add", [x, ("neg", y)]) for x, y in ((left, right), (other_left, other_right)))
    variables, m = names(f) | names(g), context()
    if not names(f) or not names(g):
        return False
    ratios = [number(f, m, at) / number(g, m, at) for at in points(variables, m)[:3]]
    if any(m.im(r) for r in ratios) or not all(close(r, ratios[0], 1e-40) for r in ratios) or ratios[0] == 0:
        return False
    return other_sign == (sign if ratios[0] > 0 else turned.get(sign, sign))


def rows_of(tree) -> list | None:
    """A matrix, a number times one, a tuple of tuples, or a column for a tuple, as rows; None for anything else."""
    if tree[0] == "matrix":
        return tree[1]
    parts = [part for part in ([tree[1]] if tree[0] == "neg" else tree[1] if tree[0] == "mul" else tree[1:] if tree[0] == "div" else [])]
    rows = [rows_of(part) if part[0] != "seq" else None for part in parts]
    if sum(row is not None for row in rows) == 1:  # the number goes into the cells
        at = next(i for i, row in enumerate(rows) if row is not None)
        def cell(value):
            inside = [value if i == at else part for i, part in enumerate(parts)]
            return ("neg", value) if tree[0] == "neg" else ("mul", inside) if tree[0] == "mul" else ("div", *inside)
        return [[cell(value) for value in row] for row in rows[at]]
    if tree[0] == "seq" and all(part[0] == "seq" for part in tree[3]):
        return [part[3] for part in tree[3]]
    return [[part] for part in tree[3]] if tree[0] == "seq" else None


# ---------------------------------------------------------------- equality

def same(a, b, tolerance: float) -> bool:
    """Whether two trees say the same; `b` is the gold."""
    if a[0] == b[0] == "rel" and len(a[2]) == len(b[2]) == 1 and a[2] != ["in"] and same_relation_or_not(a, b):
        return True
    if "rel" in (a[0], b[0]):
        (called, a), (asked, b) = unnamed(a), unnamed(b)
        if called and asked and called != asked:
            if called[0] == asked[0] == "call":  # f(n) = n and f(x) = x
                return called[1] == asked[1] and same(renamed(a, called[2][0], asked[2][0]), b, tolerance)
            return {called[0], asked[0]} == {"call", "var"} and ("var", "y") in (called, asked) and same(a, b, tolerance)
    kinds = {a[0], b[0]}
    if kinds & {"union", "cap", "minus"} or "rel" in kinds or kinds == {"words", "seq"} or ("list" in kinds and any(
            p[0] == "rel" and set(p[2]) - {"=", "~"} for t in (a, b) if t[0] == "list" for p in t[1])):
        return same_region(a, b)
    left, right = elements(a), elements(b)
    if left is not None or right is not None:
        return same_elements(a, b, left, right, tolerance)
    if kinds & {"seq", "matrix"} or kinds & {"mul", "neg", "div"} and "'matrix'" in str((a, b)):
        return same_rows(a, b, tolerance)
    if kinds & {"unit", "pct", "deg"}:
        return same_measure(a, b, tolerance)
    if "based" in kinds:
        return same_based(a, b)
    if "ratio" in kinds and len(kinds) == 2 and all(len(t[1]) == 2 for t in (a, b) if t[0] == "ratio"):
        return same_value(*(("div", *t[1]) if t[0] == "ratio" else t for t in (a, b)), 0.0)
    if "ratio" in kinds:
        return a[0] == b[0] and len(a[1]) == len(b[1]) and all(
            same_value(("mul", [x, b[1][0]]), ("mul", [y, a[1][0]]), 0.0) for x, y in zip(a[1][1:], b[1][1:]))
    if "words" in kinds:
        return kinds <= {"words", "var"} and literal(a[1]).strip("()") == literal(b[1]).strip("()")
    return same_value(a, b, tolerance)


def same_relation_or_not(a, b) -> bool:
    try:
        return same_relation(a, b)
    except NOT_A_NUMBER:
        return False


def renamed(tree, old, new):
    if tree == old:
        return new
    if isinstance(tree, (list, tuple)):
        return type(tree)(renamed(part, old, new) for part in tree)
    return tree


def same_elements(a, b, left: list | None, right: list | None, tolerance: float) -> bool:
    """Lists and sets in any order; values with different names, x = 1, y = 2, each under its name."""
    if left is None or right is None:
        one = left or right or []
        if len(one) != 1:
            called = [unnamed(part)[0] for part in one]
            other = b if right is None else a
            if other[0] == "seq" and None not in called and len({str(name) for name in called}) == len(called) > 1:
                return len(other[3]) == len(one) and all(same(unnamed(x)[1], y, tolerance) for x, y in zip(one, other[3]))
            return False
        return same(left[0] if left else a, right[0] if right else b, tolerance)
    if "set" in (a[0], b[0]):
        left, right = distinct(left), distinct(right)
    called, asked = ([str(unnamed(part)[0]).partition("_")[0] for part in side] for side in (left, right))  # x_1, x_2: any order
    for own, other in ((called, asked), (asked, called)):
        if len(set(own)) == len(own) > 1 and set(other) == {"None"}:  # named, so their order says which is which
            return len(left) == len(right) and all(same(x, y, tolerance) for x, y in zip(left, right))
    return matched(left, right, tolerance)


def distinct(parts: list) -> list:
    found = []
    if len(parts) > MOST_ELEMENTS:
        raise Unfit("too many elements")
    for part in parts:
        if not any(same(part, other, 0.0) for other in found):
            found.append(part)
    return found


def same_rows(a, b, tolerance: float) -> bool:
    """Tuples and intervals in their order and with their brackets, matrices by cells; a column may be written as a tuple."""
    if a[0] == b[0] == "seq":
        if len(a[3]) == 2 and (a[1], a[2]) != (b[1], b[2]):  # two in brackets may be an interval
            return False
        return len(a[3]) == len(b[3]) and all(same(x, y, tolerance) for x, y in zip(a[3], b[3]))
    left, right = rows_of(a), rows_of(b)
    return left is not None and right is not None and [len(row) for row in left] == [len(row) for row in right] and all(
        same(x, y, tolerance) for x, y in zip(itertools.chain(*left), itertools.chain(*right)))


def same_measure(a, b, tolerance: float) -> bool:
    """Units, percent, degrees: one side may leave them out, two different ones are different."""
    marks = [tree[2] if tree[0] == "unit" else tree[0] if tree[0] in ("pct", "deg") else "" for tree in (a, b)]
    if all(marks):
        return marks[0] == marks[1] and same(a[1], b[1], tolerance)
    bare = [tree[1] if mark else tree for tree, mark in zip((a, b), marks)]
    return same(*bare, tolerance) or "pct" in marks and exact(a) is not None and exact(a) == exact(b)


def same_based(a, b) -> bool:
    def value(tree):
        if not (tree[2].isdecimal() and 2 <= int(tree[2]) <= 36 and tree[1].lstrip("-").isalnum()):
            raise Unfit("not a base")
        return int(tree[1], int(tree[2]))
    if a[0] == b[0]:
        return value(a) == value(b)
    based, other = (a, b) if a[0] == "based" else (b, a)
    return based[1].lstrip("-").isdecimal() and exact(other) == int(based[1]) and value(based) is not None


# ---------------------------------------------------------------- texts

BARE_BOX = re.compile(r"\\boxed\s+([^\s{}$]{1,50})\$?\.?\s*\Z")  # \boxed 5, as LaTeX allows
LEAD = re.compile(r"\A(?:\\(?:%s)\s*\{[^{}]*(?:\bis|\bare|[Aa]nswer|:|=)\s*:?\s*\}|\\approx|\\simeq|≈|~)\s*" % TEXT)
BOLD = re.compile(r"(?<![\w)*])\*\*(?=[^\s*])([^*\n]{1,300})\*\*(?![\w(*])")
CONDITION = re.compile(r"[,;]?\s*(?:\\(?:text|mbox)\{\s*(?:where|for|with)?\s*\}|where|for|with)?\s*\(?\s*[kmn]\s*\\in\s*\\mathbb\s*\{?[ZN]\}?"
                       r"(?:\^[+*]|_\+)?\s*\)?\s*\Z")
UNIT = r"(?:[mshgLNJWVAKC]|[kcm]m|min|sec|kg|kWh?|kJ|Pa|kPa|mol|eV)(?:\s*\^?\s*\{?-?[1-4]\}?)?"
UNIT_TAIL = re.compile(r"(?<=[\d)}])\s+(%s(?:\s*(?:/|\\cdot|\*|·)\s*%s){0,3})\.?\Z" % (UNIT, UNIT))
LABEL = re.compile(r"\s*(?:\\(?:%s|mathbf)\s*\{\s*)?\(?\s*([A-J])\s*[).:]+\s*\}?\s*[.:)]?\s*(?:\\\s|\\quad)*(?![,;})]|or\b|and\b|\\text)(?=\S)"
                   % TEXT)
OTHER_LABEL = re.compile(r"\(\s*[A-J]\s*\)|\b[A-J]\s*[).:]")
CHOICE = re.compile(r"(?:(?:option|choice|answer)\s+)?[(\[]?([A-Za-z])[)\].]?", re.I)
STATED = re.compile(r"\b(?:final\s+)?answers?\s*(?:(?:is|are|=|:|will be|must be)(?:\s+(?:therefore|thus|hence|then|simply|just))?|(?=\n))\s*:?", re.I)
HEDGES = re.compile(r"\b(?:or|either|maybe|perhaps|possibly|probably|might|could|not|cannot|can't|isn't|doesn't|never|unless|wrong|approximately|about|between)\b", re.I)
SPAN = re.compile(r"\$\$?([^$]+)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.S)
TAIL = re.compile(r"(?:\bis|\bare|\bequals|=|\bbe|\bwas|\bgives?|\bget|\bobtain)\s*:?\s+([^=]{1,200})$", re.S)


def literal(text: str) -> str:
    """What two spellings of one text have in common: no styling, no white space but between letters and digits."""
    text = re.sub(r"\\(?:%s)\s*\{([^{}]*)\}" % TEXT, r" \1 ", clean(text))
    text = re.sub(r"\s+", " ", re.sub(r"\s*([^\w\s])\s*", r"\1", text))
    text = unpunctuated(text)
    words = re.fullmatch(r"[A-Za-z0-9', ]*[A-Za-z]{3}[A-Za-z0-9', -]*", text)
    return " ".join(text.lower().replace("-", " ").split()) if words else text


def readable(text: str) -> bool:
    """Whether all of a text is mathematics: no sentence, no single word."""
    try:
        return "'words'" not in str(parse(text))
    except (Unfit, RecursionError):
        return False


def final_answer(text: str) -> str:
    """The answer in a prediction: after the thinking, in the tags, in the last box, behind `answer is`, or all of it."""
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        return ""
    if "<answer>" in text:
        text = text.rpartition("<answer>")[2].partition("</answer>")[0]
    if "\\boxed" in text or "\\fbox" in text:
        bare = BARE_BOX.search(text, text.rfind("\\boxed"))
        return bare[1] if bare else (last_boxed(text) or "").strip()
    if "####" in text:
        text = text.rpartition("####")[2]
    text = LEAD.sub("", BOLD.sub(r"\1", text.strip()))
    if len(text) <= LONGEST and readable(text):
        return text
    text = text[-LONGEST:]
    stated = None
    for stated in STATED.finditer(text):
        pass
    if stated:
        text = text[stated.end():].strip().partition("\n\n")[0]
        text = re.split(r"\.\s", text + " ")[0].strip()
        return text if len(text) <= LONGEST else ""
    last = re.split(r"(?<=[.!?])\s+|\n", text.strip())[-1]
    if len(re.findall(r"[A-Za-z]{3,}", SPAN.sub(" ", last))) < 1 or HEDGES.search(SPAN.sub(" ", last)):
        return text if len(text) <= LONGEST else ""
    if spans := list(SPAN.finditer(last)):
        if not re.search(r"[A-Za-z]{2}", last[spans[-1].end():].partition(",")[0]) or not readable(last):
            return next(g for g in spans[-1].groups() if g)
    tail = TAIL.search(last.rstrip(". "))
    return tail[1].strip() if tail else text if len(text) <= LONGEST else ""


def grade_answer(prediction: str, gold: str, tolerance: float = 0.0) -> bool:
    """Whether `prediction`, an answer or a whole response, says the same as `gold`; never raises.

    tolerance: the absolute error that the gold states, in its own units. Rules: top of the file.
    """
    try:
        given, wanted = (LEAD.sub("", final_answer(text)) for text in (prediction, gold))
        return bool(given and wanted) and (literal(given) == literal(gold) or equal_texts(given, wanted, tolerance))
    except (*NOT_A_NUMBER, RecursionError):
        return False


def equal_texts(given: str, wanted: str, tolerance: float) -> bool:
    if len(given) > LONGEST or len(wanted) > LONGEST:
        return False
    said, asked = literal(given), literal(wanted)
    if not re.search(r"\w", said) and not re.search(r"\\|\w", asked):
        return False
    if said == asked:
        return True
    label, letter = LABEL.match(given), CHOICE.fullmatch(asked)
    if label and OTHER_LABEL.search(given, label.end()):
        label = None  # two choices are none
    if letter and letter[1].isupper():
        choice = CHOICE.fullmatch(said)
        return bool(choice and (choice[1] if asked == letter[1] else choice[1].upper()) == letter[1]) or bool(label and label[1] == letter[1]) or trees(
            given, wanted, tolerance)
    if trees(given, wanted, tolerance):
        return True
    return bool(label) and trees(given[label.end():], wanted, tolerance)  # (B) 12 is 12


def trees(given: str, wanted: str, tolerance: float) -> bool:
    """Whether the trees are the same; a list of three-digit numbers looks like one number with commas, so both are tried."""
    given, wanted = (CONDITION.sub("", text) for text in (given, wanted))  # k in Z says nothing new
    if UNIT_TAIL.search(given) or "/" in wanted:  # letters behind a space: units, where the gold has no letters of its own
        plain = [UNIT_TAIL.sub(r"\\text{ \1}", text) for text in (given, wanted)]
        gold = parse(plain[1]) if "/" in wanted else parse(wanted)
        if not names(gold) and gold[0] in ("num", "unit", "div", "add", "mul", "neg", "pow"):
            given, wanted = plain if "/" in wanted else (plain[0], wanted)
    gold = parse(wanted)
    for thousands in (True, False)[:1 + (gold[0] == "list" and "," in given)]:
        try:
            if same(parse(given, thousands), gold, tolerance):
                return True
        except Unfit:
            pass
    return False
