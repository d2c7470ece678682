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

from extract import extract_answer  # noqa: F401  the other half: where the answer of a response stands
from latex import LONGEST, parse
from lexer import TEXT, Unfit
from regions import TURNED, same_region
from sentence import HEDGES, answer_part, final_answer, gold_answer, literal, plain, same_words
from values import NOT_A_NUMBER, close, contains, context, count, elements, exact, is_name, names, number, points, same_value

MOST_ELEMENTS = 40  # of a list: matching takes their square


# ---------------------------------------------------------------- forms of answers

def unnamed(tree):
    """(name, value) of x = value, value = x, x = formula = value, x \\in set; (None, tree) of anything else."""
    if tree[0] != "rel" or set(tree[2]) - {"=", "~", "in"}:
        return None, tree
    sides, signs = list(tree[1]), list(tree[2])
    if "~" in signs:  # what is only about equal says nothing beyond the exact part, and must be about equal
        at = signs.index("~")
        if len(sides) != at + 2 or names(sides[at]) or names(sides[at + 1]) or not about(sides[at], sides[at + 1]):
            return None, tree
        sides, signs = sides[:at + 1], signs[:at]
    name = None
    while len(sides) > 1 and is_name(sides[0]):
        name, sides, signs = name or sides[0], sides[1:], signs[1:]
    if name and name[0] == "fn" and names(sides[-1]):  # tan x = 2x is to be solved
        return None, tree
    tuple_of_as_many = sides[-1][0] == "seq" and name and len(sides[-1][3]) == len(name[-1])
    if name and name[0] == "seq" and "in" not in tree[2] and not tuple_of_as_many:  # (x, y) = 5
        return None, tree
    if len(sides) == 2 and name is None and is_name(sides[1]) and "in" not in signs:
        name, sides = sides[1], sides[:1]
    if len(sides) > 1:
        constant = [side for side in sides if not names(side)]
        if sides[-1] not in constant or (len(constant) < len(sides) and name is None) or "in" in signs \
                or not all(same(side, constant[-1], 0.0) for side in constant):
            return None, tree
    return name, sides[-1]


def about(a, b) -> bool:
    """Whether two constants are equal to 1 %."""
    a, b = (tree[1] if tree[0] in ("unit", "pct", "deg") else tree for tree in (a, b))
    return close(number(a, context(), {}), number(b, context(), {}), 0.01)


def matched(left: list, right: list, tolerance: float) -> bool:
    """Whether two lists hold the same, in any order."""
    if len(left) != len(right) or len(left) > MOST_ELEMENTS:
        return False
    rest = list(right)
    for part in left:  # within a set, {1} is not 1
        found = next((i for i, other in enumerate(rest) if (part[0] == "set") == (other[0] == "set")
                      and same(part, other, tolerance)), None)
        if found is None:
            return False
        rest.pop(found)
    return True


def proportional(a, b) -> bool:
    """Equations and inequalities that differ by moved terms and a factor: 2x = y + 1 and y - 2x + 1 = 0."""
    if a[1] == b[1][::-1] and a[2] == b[2] == ["="]:
        return True
    (left, right), (sign,) = a[1], a[2]
    (other_left, other_right), (other_sign,) = b[1], b[2]
    f, g = (("add", [x, ("neg", y)]) for x, y in ((left, right), (other_left, other_right)))
    variables, m = names(f) | names(g), context()
    solved = is_name(other_left) and not names(other_right) or is_name(other_right) and not names(other_left)
    if not names(f) or not names(g) or solved:  # 2x + 3 = 13 is not x = 5: that was to be done
        return False
    count()
    ratios = [number(f, m, at) / number(g, m, at) for at in points(variables, m)]
    ratios = [r for r in ratios if not m.im(r)]
    if len(ratios) < 3 or not all(close(r, ratios[0], 1e-40) for r in ratios) or ratios[0] == 0:
        return False
    return other_sign == (sign if ratios[0] > 0 else TURNED.get(sign, sign))


def rows_of(tree) -> list | None:
    """A matrix, a number times one, a tuple of tuples, or a column for a tuple, as rows; None for anything else."""
    if tree[0] == "matrix":
        return tree[1]
    if tree[0] == "seq":
        nested = all(part[0] == "seq" for part in tree[3])
        return [part[3] for part in tree[3]] if nested else [[part] for part in tree[3]]
    if tree[0] not in ("neg", "mul", "div"):
        return None
    parts = list(tree[1]) if tree[0] == "mul" else list(tree[1:])
    at = [i for i, part in enumerate(parts) if part[0] != "seq" and rows_of(part) is not None]
    if len(at) != 1:
        return None

    def cell(value):  # the number goes into the cells
        inside = parts[:at[0]] + [value] + parts[at[0] + 1:]
        return ("mul", inside) if tree[0] == "mul" else (tree[0], *inside)
    return [[cell(value) for value in row] for row in rows_of(parts[at[0]])]


# ---------------------------------------------------------------- equality

def same(a, b, tolerance: float) -> bool:
    """Whether two trees say the same; `b` is the gold."""
    a, b = (tree[1][1] if tree[0] == "mul" and tree[1][0][0] == "var" and tree[1][0][1].isupper() and tree[1][1][0] == "seq"
            else tree for tree in (a, b))  # the point A(3, 4)
    if a[0] == b[0] == "rel" and len(a[2]) == len(b[2]) > 1 and same_chain(upwards(a), upwards(b)):
        return True
    if a[0] == b[0] == "rel" and len(a[2]) == len(b[2]) == 1 and a[2] != ["in"] and same_relation(a, b):
        return True
    if "rel" in (a[0], b[0]):
        (called, a), (asked, b) = unnamed(a), unnamed(b)
        if called and asked and called != asked:
            if called[0] == asked[0] == "call":  # f(n) = n and f(x) = x
                return called[1] == asked[1] and not names(asked[2]) & names(a) and same(
                    renamed(a, called[2][0], asked[2][0]), b, tolerance)
            return {called[0], asked[0]} == {"call", "var"} and ("var", "y") in (called, asked) and same(a, b, tolerance)
    kinds = {a[0], b[0]}
    if kinds & {"union", "cap", "minus"} or "rel" in kinds or kinds == {"words", "seq"} or ("list" in kinds and any(
            p[0] == "rel" and set(p[2]) - {"=", "~"} for t in (a, b) if t[0] == "list" for p in t[1])):
        return same_region(a, b)
    left, right = elements(a), elements(b)
    if left is not None or right is not None:
        return same_elements(a, b, left, right, tolerance)
    if kinds & {"seq", "matrix"} or kinds & {"mul", "neg", "div"} and contains((a, b), "matrix"):
        return same_rows(a, b, tolerance)
    if kinds & {"unit", "pct", "deg"}:
        return same_measure(a, b, tolerance)
    if "based" in kinds:
        return same_based(a, b)
    if "ratio" in kinds:
        return same_ratio(a, b)
    if "words" in kinds:
        return kinds <= {"words", "var"} and literal(a[1]).strip("()") == literal(b[1]).strip("()")
    return same_value(a, b, tolerance)


def same_relation(a, b) -> bool:
    try:
        return proportional(a, b)
    except NOT_A_NUMBER:
        return False


def upwards(tree):
    """A chain of relations read from its small end."""
    return ("rel", tree[1][::-1], [TURNED[sign] for sign in tree[2][::-1]]) if set(tree[2]) <= {">", ">="} else tree


def same_chain(a, b) -> bool:
    return a[2] == b[2] and set(a[2]) <= {"<", "<="} and all(same(x, y, 0.0) for x, y in zip(a[1], b[1]))


def renamed(tree, old, new):
    if tree == old:
        return new
    if isinstance(tree, (list, tuple)):
        return type(tree)(renamed(part, old, new) for part in tree)
    return tree


def same_elements(a, b, left: list | None, right: list | None, tolerance: float) -> bool:
    """Lists and sets in any order; of values with names, x = 1, y = 2, the names say which is which."""
    if left is None or right is None:
        one, other = (left, b) if right is None else (right, a)
        if len(one) == 1:
            return same(left[0] if left else a, right[0] if right else b, tolerance)
        return other[0] == "seq" and (ordered := in_order(one)) is not None and len(ordered) == len(other[3]) and all(
            same(x, y, tolerance) for x, y in zip(ordered, other[3]))
    if "set" in (a[0], b[0]):
        left, right = distinct(left), distinct(right)
    if len(left) == len(right) > 1 and (in_order(left) is None) != (in_order(right) is None) and not any(
            unnamed(part)[0] for part in (right if in_order(left) else left)):  # names on one side: they say which is which
        return all(same(x, y, tolerance) for x, y in zip(in_order(left) or left, in_order(right) or right))
    return matched(left, right, tolerance)


def in_order(parts: list) -> list | None:
    """The values of x = 1, y = 2 in the order of their names; None if not all are named, or x_1 and x_2 are two x."""
    named = sorted((str(name), i) for i, name in enumerate(unnamed(part)[0] for part in parts) if name)
    different = len({name.partition("_")[0] for name, _ in named}) == len(named)
    return [unnamed(parts[i])[1] for _, i in named] if different and len(named) == len(parts) else None


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


def same_ratio(a, b) -> bool:
    """a : b : c up to a factor; of two parts also as a fraction. No part is 0 or infinite: 0 : 0 would be every ratio."""
    sides = [tree[1] if tree[0] == "ratio" else None for tree in (a, b)]
    for part in itertools.chain(*filter(None, sides)):
        value = number(part, context(), points(names(part), context())[0])
        if not 0 < abs(value) < float("inf"):
            return False
    if None in sides:
        a, b = (("div", *tree[1]) if tree[0] == "ratio" else tree for tree in (a, b))
        return len(sides[0] or sides[1]) == 2 and same_value(a, b, 0.0)
    return len(sides[0]) == len(sides[1]) and all(
        same_value(("mul", [x, sides[1][0]]), ("mul", [y, sides[0][0]]), 0.0) for x, y in zip(sides[0][1:], sides[1][1:]))


def same_based(a, b) -> bool:
    """Digits in one base, which one side may leave out."""
    def value(tree):
        if not (tree[2].isdecimal() and 2 <= int(tree[2]) <= 36 and tree[1].lstrip("-").isalnum()):
            raise Unfit("not a base")
        return int(tree[1], int(tree[2]))
    if a[0] == b[0]:  # in another base the question itself would be an answer
        return value(a) == value(b) and a[2] == b[2]
    based, other = (a, b) if a[0] == "based" else (b, a)
    return based[1].lstrip("-").isdecimal() and exact(other) == int(based[1]) and value(based) is not None


# ---------------------------------------------------------------- texts

# "..., k \\in \\mathbb{Z}", "where k is an integer", "for any constant C" at the end
CONDITION = re.compile(r"[,;]? ?(?:\\ )?(?:\\(?:text|mbox)\{,? ?(?:where|with|for(?: any| all)?)? ?\}"
                       r"|where|with|for(?: any| all)?)? ?"
                       r"\(?[kmn] ?(?:\\in ?\\(?:math(?:bb|bf)|Bbb|bf) ?\{?[ZN]\}?(?:\^[+*]|_\+)?"
                       r"|(?:\\text\{)? ?(?:is )?an(?:y)? (?:positive )?integer\}?)\)?\Z"
                       r"|,? ?\\text\{ ?for (?:any|all|some) (?:real )?constants? ?\} ?[a-zA-Z]\Z")
# "9.8 m/s^2": units as letters behind a number and a space, which the grammar would read as a product
UNIT = r"(?:[mshgLNJWVAKC]|[kcm]m|min|sec|kg|kWh?|kJ|Pa|kPa|mol|eV)(?: ?\^? ?\{?-?[1-4]\}?)?"
UNIT_TAIL = re.compile(r"(?<=[\d)}]) (%s(?: ?(?:/|\\cdot|\*|·| ) ?%s){0,3})\.?\Z" % (UNIT, UNIT))
# "(B) 12", "\\textbf{(B)} 12", "B. 12": a choice before its content
LABEL = re.compile(r"(?:\\(?:%s|mathbf) ?\{ ?)?\(? ?([A-J]) ?[).:]+ ?\}? ?[.:)]? ?(?:\\ |\\quad ?)?" % TEXT +
                   r"(?![,;})]|or\b|and\b|\\text)(?=\S)")
LETTER = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])")
CHOICE = re.compile(r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer) ?)?[(\[]?([A-Za-z])[)\].]?")
TIME = re.compile(r"(\d{1,2}:[0-5]\d(?::[0-5]\d)?)(?: ?([ap])\.?m)?", re.I)


def grade_answer(prediction: str, gold: str, tolerance: float = 0.0) -> bool:
    """Whether `prediction`, an answer or a whole response, says the same as `gold`; never raises.

    tolerance: the absolute error that the gold states, in its own units. Rules: top of the file.
    """
    try:
        return equal_or_raise(prediction, gold, tolerance)
    except Exception:  # the text of a model: whatever it does to the code below, it earns nothing and ends nothing
        return False


def equal_or_raise(prediction: str, gold: str, tolerance: float) -> bool:
    """What grade_answer says; for a text that is no answer it may raise one of NOT_A_NUMBER or RecursionError."""
    count(anew=True)
    if same_words(answer_part(prediction), gold):  # before it is taken apart
        return True
    given, wanted = final_answer(prediction), gold_answer(gold)
    return max(len(given), len(wanted)) <= LONGEST and same_texts(given, wanted, tolerance)


def same_texts(given: str, wanted: str, tolerance: float) -> bool:
    """As texts, as choices, as times of day, as mathematics."""
    said, asked = literal(given), literal(wanted)
    if not re.search(r"\w", said) and not ("\\" in asked or said == asked != ""):
        return False  # nothing is said
    if said == asked:
        return bool(re.search(r"[\w\\]", asked))
    if (time := TIME.fullmatch(asked)) and (other := TIME.fullmatch(said)):
        return time[1] == other[1] and (None in (time[2], other[2]) or time[2].lower() == other[2].lower())
    label, letter = LABEL.match(given), CHOICE.fullmatch(plain(wanted))
    if label and (LETTER.search(given, label.end()) or HEDGES.search(given, label.end())):
        label = None  # two choices are none
    if letter and letter[1].isupper():
        choice, bare = CHOICE.fullmatch(plain(given)), plain(wanted) == letter[1]
        if choice and (choice[1] if bare else choice[1].upper()) == letter[1] or label and label[1] == letter[1]:
            return True
    return same_mathematics(given, wanted, tolerance) or bool(label) and same_mathematics(
        given[label.end():], wanted, tolerance)  # (B) 12 is 12


def same_mathematics(given: str, wanted: str, tolerance: float) -> bool:
    """Whether the trees say the same; 100,200 is one number or two, so beside a gold of several both are tried."""
    given, wanted = (CONDITION.sub("", text) for text in (given, wanted))  # k in Z says nothing new
    spelt = [UNIT_TAIL.sub(r"\\text{ \1}", text) for text in (given, wanted)]  # letters behind a space: units,
    if not names(parse(wanted)):  # where the gold has no letters of its own
        given = spelt[0]
    elif "/" in spelt[1] and not names(parse(spelt[1])):
        given, wanted = spelt
    gold = parse(wanted)
    for thousands in (True, False)[:1 + (gold[0] in ("list", "set") and "," in given)]:
        try:
            if same(parse(given, thousands), gold, tolerance):
                return True
        except NOT_A_NUMBER:  # Unfit is one
            pass
    return False
