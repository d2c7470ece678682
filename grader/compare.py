r"""Whether two mathematical answers say the same: `grade_answer(prediction, gold)`.

What counts is the value: exact rational arithmetic first, else both expressions at random points
with 60 digits. A prediction may be a whole response; what stands inside the thinking does not
count.

    percent, degrees, currency, units   dropped where one side lacks them; two different ones differ
    x=, f(x)=, x \in                    ignored; all sides of 3/6 = 1/2 must agree: 6=5 is neither
    1, 2                                in any order, as is a set; (1, 2) and matrices in theirs
    intervals                           also as inequalities and unions: x>2 is (2, \infty)
    40_9                                the base may be left out, the digits not
    words and choices                   as text: \text{(A)} is A
    1 or 2                              two answers: not 1
    for all x, k in Z, mod 7, t > 0     kept beside the answer (wording.py)

Exact needs exact: 0.333 is not 1/3, unless the gold states an error. Model text is never evaluated:
parser.py makes a tree of it, whose kinds it lists; length, depth, digits and powers are bounded, so
the time is bounded too. There are no signals and no processes: it works in threads.

Left out on purpose: proofs, sums and integrals as answers, equal sets that need reasoning.
"""

import itertools
import re

from grader.answer import (
    HEDGES,
    answer_part,
    final_answer,
    gold_answer,
    literal,
    plain,
    same_words,
)
from grader.forms import (
    beside,
    has_dots,
    interval_with_letters,
    renamed,
    same_progression,
    vector,
    with_constants_of,
    with_otherwise,
    without_degrees,
)
from grader.lexer import TEXT, Unfit
from grader.parser import LONGEST, parse, parse_names, possible_functions
from grader.regions import TURNED, same_region
from grader.values import (
    NOT_A_NUMBER,
    contains,
    count_anew,
    count_comparison,
    elements,
    exact_value,
    is_close,
    is_name,
    mp_context,
    numeric_value,
    points_for,
    same_value,
    sample_points,
    settled_value,
    variables_of,
)
from grader.wording import (
    limits_only_argument,
    qualified,
    same_choices,
    same_phrase,
    same_saying,
    same_sets,
    with_letters_of,
)

NUMBERS_THAT_NAME = (("const", "e"), ("const", "i"))  # in e = 5
MOST_ELEMENTS = 40  # of a list: matching takes their square


# ---------------------------------------------------------------- texts

# "9.8 m/s^2": units as letters behind a number and a space, which the grammar would read as a
# product
UNIT = r"(?:Nm|[mshgLNJWVAKC]|[kcm]m|min|sec|kg|kWh?|kJ|Pa|kPa|mol|eV)(?: ?\^? ?\{?-?[1-4]\}?)?"
UNIT_TAIL = re.compile(
    r"(?<=[\d)}]) (" + UNIT + r"(?: ?(?:/|\\cdot|\*|·| |(?<=[NVW])-) ?" + UNIT + r"){0,3})\.?\Z"
)
# "(B) 12", "\textbf{(B)} 12", "B. 12": a choice before its content
LABEL = re.compile(
    r"(?:\\(?:" + TEXT + r"|mathbf) ?\{ ?)?\(? ?([A-J]) ?[).:]+ ?\}? ?[.:)]? ?(?:\\ |\\quad ?)?"
    r"(?![,;})]|or\b|and\b|\\text)(?=\S)"
)
LETTER = re.compile(r"(?<![A-Za-z\\])[A-J](?![A-Za-z])")
CHOICE = re.compile(r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer) ?)?[(\[]?([A-Za-z])[)\].]?")
TIME = re.compile(r"(\d{1,2}:[0-5]\d(?::[0-5]\d)?)(?: ?([ap])\.?m)?", re.I)


def grade_answer(prediction: str, gold: str, tolerance: float = 0.0) -> bool:
    """Whether `prediction`, an answer or a whole response, says the same as `gold`; never raises.

    tolerance: the absolute error that the gold states, in its own units. Rules: top of the file.
    """
    try:
        return equal_or_raise(prediction, gold, tolerance)
    except Exception:
        # The text of a model: whatever it does to the code below, it earns and ends nothing.
        return False


def equal_or_raise(prediction: str, gold: str, tolerance: float) -> bool:
    """What grade_answer says, but a text that is no answer may raise.

    It raises one of NOT_A_NUMBER or RecursionError then.
    """
    count_anew()
    if same_words(answer_part(prediction), gold):  # before it is taken apart
        return True
    given = final_answer(prediction)
    wanted = gold_answer(gold)
    if max(len(given), len(wanted)) > LONGEST:
        return False
    return same_texts(given, wanted, tolerance)


def same_texts(given: str, wanted: str, tolerance: float) -> bool:
    """Whether two answers are the same as texts, as times of day, as choices, or as mathematics."""
    said = literal(given)
    asked = literal(wanted)
    if said == asked:
        return bool(re.search(r"[\w\\]", asked))
    if not re.search(r"\w", said) and "\\" not in asked:
        return False  # nothing is said
    said_time = TIME.fullmatch(said)
    asked_time = TIME.fullmatch(asked)
    if said_time and asked_time:
        return same_time(said_time, asked_time)
    label = choice_label(given)
    if same_choice(given, wanted, label) or same_saying(said, asked):
        return True
    if same_choices(plain(given), plain(wanted)):
        return True
    if same_qualified(given, wanted, tolerance):
        return True
    if label is None:
        return False
    return same_qualified(given[label.end() :], wanted, tolerance)  # (B) 12 is 12


def same_time(said: re.Match, asked: re.Match) -> bool:
    """Whether two times of day are one; a.m. and p.m. may be left out on one side."""
    if said[1] != asked[1]:
        return False
    if said[2] is None or asked[2] is None:
        return True
    return said[2].lower() == asked[2].lower()


def choice_label(given: str) -> re.Match | None:
    """The choice that stands before its content; two choices are none."""
    label = LABEL.match(given)
    if label is None:
        return None
    if LETTER.search(given, label.end()) or HEDGES.search(given, label.end()):
        return None
    return label


def same_choice(given: str, wanted: str, label: re.Match | None) -> bool:
    """Whether the gold is a choice in capitals, and the answer the same one or labelled with it.

    Beside a bare letter a small one may be a variable, beside `(A)` it is a choice as well.
    """
    asked = plain(wanted)
    letter = CHOICE.fullmatch(asked)
    if letter is None or not letter[1].isupper():
        return False
    if label is not None and label[1] == letter[1]:
        return True
    choice = CHOICE.fullmatch(plain(given))
    if choice is None:
        return False
    if asked == letter[1]:
        return choice[1] == letter[1]
    return choice[1].upper() == letter[1]


def same_qualified(given: str, wanted: str, tolerance: float) -> bool:
    """Whether two answers are the same, and what their qualifiers say.

    That k is whole may be left out, and the domain of a function that the gold defines.
    """
    asked = qualified(gold_said_once(wanted))
    said = with_letters_of(qualified(given), asked)
    if not same_sets(said, asked):
        return False
    if said.modulus is not None or asked.modulus is not None:
        if said.modulus is None or asked.modulus is None:
            return False
        if not same_mathematics(said.modulus, asked.modulus, 0.0):
            return False
        if same_residue(said.text, asked.text, asked.modulus):
            return True
    if said.domains or not limits_only_argument(asked):
        if not same_domains(said.domains, asked.domains):
            return False
    return same_mathematics(said.text, asked.text, tolerance)


def same_residue(given: str, wanted: str, modulus: str) -> bool:
    """Whether two whole numbers, with the same name if they have any, leave the same rest."""
    name, number = name_and_value(parse(given))
    asked, rest = name_and_value(parse(wanted))
    if name and asked and name != asked:
        return False
    values = list(map(exact_value, (number, rest, parse(modulus))))
    if None in values or any(value.denominator != 1 for value in values):
        return False
    return (values[0] - values[1]) % values[2] == 0


def same_domains(said: list[str], asked: list[str]) -> bool:
    """Whether two lists of conditions are the same side by side."""
    if len(said) != len(asked):
        return False
    return all(same_mathematics(one, other, 0.0) for one, other in zip(said, asked))


def gold_said_once(wanted: str) -> str:
    """The last part of a gold that says one thing twice: -1 < x \\le 1: (-1, 1]."""
    first, colon, last = wanted.rpartition(":")
    if not colon or not re.search(r"[<>≤≥]|\\[lg](?:e|t)", first):
        return wanted
    try:
        if same_mathematics(first, last, 0.0):
            return last
    except NOT_A_NUMBER:  # Unfit is one
        pass
    return wanted


def same_mathematics(given: str, wanted: str, tolerance: float) -> bool:
    """Whether the trees of two texts say the same.

    100,200 is one number or two, so beside a gold of several both are tried.
    """
    # Letters behind a space are units where the gold has no letters of its own.
    wanted_with_unit = with_unit(wanted)
    if not variables_of(parse(wanted)):
        given = with_unit(given)
    elif re.search("/|[NVW]-", wanted_with_unit) and not variables_of(parse(wanted_with_unit)):
        given = with_unit(given)
        wanted = wanted_with_unit
    gold = parse(wanted)
    if same_as_gold(given, gold, tolerance, thousands=True):
        return same_with_functions(given, wanted, tolerance, thousands=True)
    if gold[0] in ("list", "set") and "," in given:
        same = same_as_gold(given, gold, tolerance, thousands=False)
        return same and same_with_functions(given, wanted, tolerance, thousands=False)
    return False


def same_with_functions(given: str, wanted: str, tolerance: float, thousands: bool) -> bool:
    """Whether two texts say the same also where P(A + B) is a function's value and no product."""
    _, names = parse_names(given, thousands, frozenset())
    _, gold_names = parse_names(wanted, True, frozenset())
    applied = possible_functions(names, gold_names)
    if not applied:
        return True
    answer = parse(given, thousands, applied)
    return same_tree(answer, parse(wanted, True, applied), tolerance)


def with_unit(text: str) -> str:
    """The text with unit letters at its end marked as text."""
    return UNIT_TAIL.sub(r"\\text{ \1}", text)


def same_as_gold(given: str, gold, tolerance: float, thousands: bool) -> bool:
    """Whether a text says the same as the tree `gold`; False for a text without a value."""
    try:
        return same_tree(parse(given, thousands), gold, tolerance)
    except NOT_A_NUMBER:  # Unfit is one
        return False


# ---------------------------------------------------------------- equality of trees


def same_tree(answer, gold, tolerance: float) -> bool:
    """Whether two trees say the same."""
    answer = without_point_name(answer)
    gold = without_point_name(gold)
    if has_dots(answer) or has_dots(gold):
        return same_progression(answer, gold)
    if answer[0] == "rel" and gold[0] == "rel" and same_relation(answer, gold):
        return True
    if answer[0] == "rel" or gold[0] == "rel":
        called, answer = name_and_value(answer)
        asked, gold = name_and_value(gold)
        if called and asked and called != asked:
            return same_under_names(called, answer, asked, gold, tolerance)
    return same_unnamed(answer, gold, tolerance)


def same_unnamed(answer, gold, tolerance: float) -> bool:
    """Whether two trees say the same, names before them aside."""
    if "cases" in (answer[0], gold[0]):
        return same_cases(answer, gold)
    if {answer[0], gold[0]} == {"rel", "seq"} and same_letter_interval(answer, gold):
        return True
    if is_about_regions(answer, gold):
        return same_unions(answer, gold) or same_region(answer, gold)
    left = elements(answer)
    right = elements(gold)
    if left is not None or right is not None:
        return same_elements(answer, gold, left, right, tolerance)
    kinds = {answer[0], gold[0]}
    if kinds & {"seq", "matrix"}:
        return same_rows(beside(answer, gold), beside(gold, answer), tolerance)
    if kinds & {"mul", "neg", "div"} and (contains(answer, "matrix") or contains(gold, "matrix")):
        return same_rows(answer, gold, tolerance)
    if kinds & {"unit", "pct", "deg"}:
        return same_measure(answer, gold, tolerance)
    if "based" in kinds:
        return same_based(answer, gold)
    if "ratio" in kinds:
        return same_ratio(answer, gold)
    if "words" in kinds:
        if not kinds <= {"words", "var"}:
            return False
        return same_phrase(literal(answer[1]).strip("()"), literal(gold[1]).strip("()"))
    return same_formula(answer, gold, tolerance)


def same_formula(answer, gold, tolerance: float) -> bool:
    """Whether two expressions have one value, or are one vector.

    One side may leave out the degree signs of a sum, or have other names for c_1 and c_2.
    """
    one = vector(answer, 3)
    other = vector(gold, 3)
    if one and other and same_rows(one, other, tolerance):
        return True
    if same_value(answer, gold, tolerance):
        return True
    if contains(answer, "deg") != contains(gold, "deg"):
        return same_value(without_degrees(answer), without_degrees(gold), tolerance)
    renamings = with_constants_of(answer, gold)
    return any(same_value(renaming, gold, tolerance) for renaming in renamings)


def same_letter_interval(answer, gold) -> bool:
    """Whether h - r <= x <= h + r and [h - r, h + r] are the same."""
    one = interval_with_letters(answer) or answer
    other = interval_with_letters(gold) or gold
    return one[0] == other[0] == "seq" and same_rows(one, other, 0.0)


def same_unions(answer, gold) -> bool:
    """Whether two unions are the same side by side, with letters in them."""
    return answer[0] == gold[0] == "union" and all_same(answer[1:], gold[1:], 0.0)


def same_cases(answer, gold) -> bool:
    """Whether two piecewise functions have the same values under the same conditions."""
    if answer[0] != gold[0] or len(answer[1]) != len(gold[1]):
        return False
    rest = with_otherwise(gold[1])
    for row in with_otherwise(answer[1]):
        same = [other for other in rest if len(row) == len(other) and all_same(row, other, 0.0)]
        if not same:
            return False
        rest.remove(same[0])
    return True


def without_point_name(tree):
    """The coordinates of the point A(3, 4), a product or a call; any other tree as it is."""
    if tree[0] == "call" and tree[1].isupper() and len(tree[2]) > 1:
        return ("seq", "(", ")", tree[2])
    if tree[0] != "mul":
        return tree
    name, place = tree[1]
    if name[0] == "var" and name[1].isupper() and place[0] == "seq":
        return place
    return tree


def is_about_regions(answer, gold) -> bool:
    """Whether only as sets of real numbers two trees can be the same."""
    kinds = {answer[0], gold[0]}
    if kinds & {"union", "cap", "minus", "rel"} or kinds == {"words", "seq"}:
        return True
    return lists_inequalities(answer) or lists_inequalities(gold)


def lists_inequalities(tree) -> bool:
    """Whether a tree is a bare list with a relation in it that is more than an equation."""
    if tree[0] != "list":
        return False
    return any(part[0] == "rel" and set(part[2]) - {"=", "~"} for part in tree[1])


# ---------------------------------------------------------------- relations


def same_relation(answer, gold) -> bool:
    """Whether two relations are the same as they stand, before their names are taken away."""
    if len(answer[2]) != len(gold[2]):
        return False
    if len(answer[2]) > 1:
        return same_chain(upwards(answer), upwards(gold))
    if answer[2] == ["in"]:
        return False
    try:
        return proportional(answer, gold)
    except NOT_A_NUMBER:
        return False


def upwards(tree):
    """A chain of relations read from its small end."""
    if set(tree[2]) <= {">", ">="}:
        return ("rel", tree[1][::-1], [TURNED[sign] for sign in tree[2][::-1]])
    return tree


def same_chain(answer, gold) -> bool:
    """Whether two chains of < and <= are the same side by side."""
    if answer[2] != gold[2] or not set(answer[2]) <= {"<", "<="}:
        return False
    return all_same(answer[1], gold[1], 0.0)


def proportional(answer, gold) -> bool:
    """Whether two relations differ by moved terms and a factor: 2x = y + 1 and y - 2x + 1 = 0."""
    if answer[2] == gold[2] == ["="] and answer[1] == gold[1][::-1]:
        return True
    difference = moved_to_the_left(answer)
    gold_difference = moved_to_the_left(gold)
    variables = variables_of(difference)
    gold_variables = variables_of(gold_difference)
    mp = mp_context()
    if not variables or not gold_variables:
        return False
    if is_solved(gold):  # 2x + 3 = 13 is not x = 5: that was to be done
        return False
    count_comparison()
    ratios = []
    for at in points_for(difference, gold_difference, variables | gold_variables, mp):
        try:
            ratio = numeric_value(difference, mp, at) / numeric_value(gold_difference, mp, at)
        except NOT_A_NUMBER:
            continue  # a pole
        if not mp.im(ratio):
            ratios.append(ratio)
    if len(ratios) < 3 or ratios[0] == 0:
        return False
    if not all(is_close(ratio, ratios[0], 1e-40) for ratio in ratios):
        return False
    sign = answer[2][0]
    if ratios[0] < 0:
        sign = TURNED.get(sign, sign)
    return gold[2][0] == sign


def moved_to_the_left(relation):
    """The left side less the right one."""
    left, right = relation[1]
    return ("add", [left, ("neg", right)])


def is_solved(relation) -> bool:
    """Whether a relation says what one name is."""
    left, right = relation[1]
    if is_name(left) and not variables_of(right):
        return True
    return is_name(right) and not variables_of(left)


def same_under_names(called, answer, asked, gold, tolerance: float) -> bool:
    """Whether two values with different names are the same.

    f(n) = n is f(x) = x, and f(x) = x is y = x.
    """
    if called[0] == "call" and asked[0] == "call":
        if called[1] != asked[1] or variables_of(asked[2]) & variables_of(answer):
            return False
        if not (is_argument(called[2][0]) and is_argument(asked[2][0])):
            return False
        return same_tree(renamed(answer, called[2][0], asked[2][0]), gold, tolerance)
    if {called[0], asked[0]} == {"call", "var"} and ("var", "y") in (called, asked):
        return same_tree(answer, gold, tolerance)
    return False


def is_argument(tree) -> bool:
    """Whether a tree is the x of f(x), which may have any name; f(3) and P(A) are values."""
    return tree[0] == "var" and tree[1][0].islower()


# ---------------------------------------------------------------- values with names


def name_and_value(tree) -> tuple:
    """The (name, value) of x = value, value = x, x = formula = value, x \\in set.

    (None, tree) of anything else.
    """
    if tree[0] != "rel" or set(tree[2]) - {"=", "~", "in"}:
        return None, tree
    sides = tree[1]
    signs = tree[2]
    if signs == ["~"] and is_name(sides[0]):  # x is about 11
        signs = ["="]
    if "~" in signs:
        at = signs.index("~")
        if not only_rounds(sides, at):
            return None, tree
        sides = sides[: at + 1]
        signs = signs[:at]
    name = None
    while len(sides) > 1 and (is_name(sides[0]) or sides[0] in NUMBERS_THAT_NAME):
        if name is None:
            name = sides[0]
        sides = sides[1:]
        signs = signs[1:]
    if name and not can_be_called(sides[-1], name, "in" in tree[2]):
        return None, tree
    if len(sides) == 2 and name is None and is_name(sides[1]) and "in" not in signs:
        return sides[1], sides[0]
    if len(sides) > 1 and not sides_agree(sides, signs, name):
        return None, tree
    return name, sides[-1]


def name_of(tree):
    """The name of x = value as in `name_and_value`, None of anything else."""
    return name_and_value(tree)[0]


def only_rounds(sides: list, at: int) -> bool:
    """Whether the last side, behind the sign number `at`, is about the constant before it.

    It says nothing beyond the exact part then: 6\\pi \\approx 18.85.
    """
    if len(sides) != at + 2:
        return False
    if variables_of(sides[at]) or variables_of(sides[at + 1]):
        return False
    return about_equal(sides[at], sides[at + 1])


def about_equal(one, other) -> bool:
    """Whether two constants are equal to 1 %, units aside."""
    left = settled_value(without_mark(one))
    right = settled_value(without_mark(other))
    return is_close(left, right, 0.01)


def can_be_called(value, name, is_member: bool) -> bool:
    """Whether name = value only names the value.

    tan x = 2x is to be solved, and (x, y) = 5 is nothing.
    """
    if name[0] == "fn" and variables_of(value):
        return False
    if name[0] == "seq" and not is_member:
        return value[0] == "seq" and len(value[3]) == len(name[3])
    return True


def sides_agree(sides: list, signs: list, name) -> bool:
    """Whether the constants among several sides are equal, and the last side is one of them.

    Formulas may stand among them only behind a name: x = a + b = 5.
    """
    constants = [side for side in sides if not variables_of(side)]
    if variables_of(sides[-1]) or "in" in signs:
        return False
    if name is None and len(constants) < len(sides):
        return False
    return all(same_tree(side, constants[-1], 0.0) for side in constants)


# ---------------------------------------------------------------- lists, sets, tuples, matrices


def same_elements(answer, gold, left: list | None, right: list | None, tolerance: float) -> bool:
    """Whether two lists or sets hold the same, in any order; `left` and `right` are their members.

    Where one side is none, a list of one is its member, and x = 1, y = 2 is the tuple (1, 2).
    """
    if right is None:
        left = forms_of_values(answer, left)
        if len(left) == 1:
            return same_tree(left[0], gold, tolerance)
        return is_named_tuple(left, gold, tolerance)
    if left is None:
        right = forms_of_values(gold, right)
        if len(right) == 1:
            return same_tree(answer, right[0], tolerance)
        return is_named_tuple(right, answer, tolerance)
    if "set" in (answer[0], gold[0]):
        left = distinct(left)
        right = distinct(right)
    if len(left) == len(right) > 1:
        left_values = in_order_of_names(left)
        right_values = in_order_of_names(right)
        # Names on one side: they say which is which.
        if left_values is not None and right_values is None and not any(map(name_of, right)):
            return all_same(left_values, right, tolerance)
        if left_values is None and right_values is not None and not any(map(name_of, left)):
            return all_same(left, right_values, tolerance)
    return matched(left, right, tolerance)


def forms_of_values(tree, parts: list) -> list:
    """The members of a list, with `or` each value once: 1 1/2 or 3/2 is one."""
    if tree[0] == "list" and tree[2] == "or":
        return distinct(parts)
    return parts


def is_named_tuple(parts: list, tree, tolerance: float) -> bool:
    """Whether a list of values with names is a tuple, in the order of the names."""
    if tree[0] != "seq":
        return False
    values = in_order_of_names(parts)
    if values is None or len(values) != len(tree[3]):
        return False
    return all_same(values, tree[3], tolerance)


def in_order_of_names(parts: list) -> list | None:
    """The values of x = 1, y = 2 in the order of their names.

    None if not all have a name, or if two have the same: x_1 and x_2 are two x.
    """
    values = {}
    letters = set()
    for name, value in list(map(name_and_value, parts)):
        if name is None:
            return None
        values[str(name)] = value
        letters.add(str(name).partition("_")[0])
    if len(letters) < len(parts):
        return None
    return [values[name] for name in sorted(values)]


def all_same(left, right, tolerance: float) -> bool:
    """Whether two sequences of one length are the same side by side."""
    return all(same_tree(one, other, tolerance) for one, other in zip(left, right))


def matched(left: list, right: list, tolerance: float) -> bool:
    """Whether two lists hold the same, in any order."""
    if len(left) != len(right) or len(left) > MOST_ELEMENTS:
        return False
    rest = list(right)
    for part in left:
        at = place_of(part, rest, tolerance)
        if at is None:
            return False
        rest.pop(at)
    return True


def place_of(part, others: list, tolerance: float) -> int | None:
    """Where `part` stands among others, None if nowhere; within a set, {1} is not 1."""
    for i, other in enumerate(others):
        both_sets = (part[0] == "set") == (other[0] == "set")
        if both_sets and same_tree(part, other, tolerance):
            return i
    return None


def distinct(parts: list) -> list:
    """The list without what it holds before; Unfit beyond MOST_ELEMENTS."""
    if len(parts) > MOST_ELEMENTS:
        raise Unfit("too many elements")
    found = []
    for part in parts:
        if not any(same_tree(part, other, 0.0) for other in found):
            found.append(part)
    return found


def same_rows(answer, gold, tolerance: float) -> bool:
    """Whether two tuples, intervals or matrices are the same.

    Tuples and intervals have an order and brackets, matrices cells; a column may be written as a
    tuple.
    """
    if answer[0] == "seq" and gold[0] == "seq":
        # Two in brackets may be an interval.
        if len(answer[3]) == 2 and (answer[1], answer[2]) != (gold[1], gold[2]):
            return False
        return len(answer[3]) == len(gold[3]) and all_same(answer[3], gold[3], tolerance)
    left = rows_of(answer)
    right = rows_of(gold)
    if left is None or right is None:
        return False
    if list(map(len, left)) != list(map(len, right)):
        return False
    return all_same(itertools.chain(*left), itertools.chain(*right), tolerance)


def rows_of(tree) -> list | None:
    """The rows of a matrix, a number times one, a tuple of tuples, or a tuple as a column.

    None of anything else.
    """
    kind = tree[0]
    if kind == "matrix":
        return tree[1]
    if kind == "seq":
        if all(part[0] == "seq" for part in tree[3]):
            return [part[3] for part in tree[3]]
        return [[part] for part in tree[3]]
    if kind in ("neg", "mul", "div"):
        return rows_of_multiple(tree)
    return None


def rows_of_multiple(tree) -> list | None:
    """The rows of a matrix in a product, a quotient or behind a minus.

    The number goes into the cells.
    """
    places = [i for i, part in enumerate(parts_of(tree)) if is_like_matrix(part)]
    if len(places) != 1:
        return None
    place = places[0]
    rows = []
    for row in rows_of(parts_of(tree)[place]):
        rows.append([with_part(tree, place, cell) for cell in row])
    return rows


def is_like_matrix(tree) -> bool:
    """Whether a tree is a matrix or a number times one."""
    return tree[0] != "seq" and rows_of(tree) is not None


def parts_of(tree) -> list:
    """What a product, a quotient or a minus is made of."""
    if tree[0] == "mul":
        return list(tree[1])
    return list(tree[1:])


def with_part(tree, place: int, part):
    """The product, quotient or minus with another part in one place."""
    parts = parts_of(tree)
    parts[place] = part
    if tree[0] == "mul":
        return ("mul", parts)
    return (tree[0], *parts)


# ---------------------------------------------------------------- units, bases, ratios


def mark_of(tree) -> str:
    """The unit of a tree, pct or deg, "" without one."""
    if tree[0] == "unit":
        return tree[2]
    if tree[0] in ("pct", "deg"):
        return tree[0]
    return ""


def without_mark(tree):
    """The tree without its unit, percent sign or degrees."""
    if tree[0] in ("unit", "pct", "deg"):
        return tree[1]
    return tree


def same_measure(answer, gold, tolerance: float) -> bool:
    """Whether two values with units, percent or degrees are the same.

    One side may leave the unit out, and two different ones are different. 50% is 50 as well as 0.5.
    """
    marks = [mark_of(answer), mark_of(gold)]
    if all(marks):
        return marks[0] == marks[1] and same_tree(answer[1], gold[1], tolerance)
    if same_tree(without_mark(answer), without_mark(gold), tolerance):
        return True
    if "pct" not in marks:
        return False
    value = exact_value(answer)
    return value is not None and value == exact_value(gold)


def same_based(answer, gold) -> bool:
    """Whether the digits are the same in one base, which the answer may leave out.

    In another base the question itself would be an answer. A base that the gold lacks, other than
    ten, makes another number of the digits.
    """
    if answer[0] == gold[0]:
        return based_value(answer) == based_value(gold) and answer[2] == gold[2]
    if gold[0] != "based":
        return answer[2] == "10" and exact_value(gold) == based_value(answer)
    if not gold[1].lstrip("-").isdecimal() or exact_value(answer) != int(gold[1]):
        return False
    based_value(gold)  # raises if they are no digits of the base
    return True


def based_value(tree) -> int:
    """The value of digits in a base; a ValueError if they are none."""
    _, digits, base = tree
    if not base.isdecimal() or not 2 <= int(base) <= 36 or not digits.lstrip("-").isalnum():
        raise Unfit("not a base")
    return int(digits, int(base))


def same_ratio(answer, gold) -> bool:
    """Whether a : b : c are the same up to a factor; of two parts also as a fraction."""
    for tree in (answer, gold):
        if tree[0] == "ratio" and not all(map(is_ordinary, tree[1])):
            return False
    if answer[0] == gold[0]:
        return same_proportion(answer[1], gold[1])
    ratio = answer
    if gold[0] == "ratio":
        ratio = gold
    if len(ratio[1]) != 2:
        return False
    return same_value(as_fraction(answer), as_fraction(gold), 0.0)


def is_ordinary(part) -> bool:
    """Whether a part of a ratio is neither 0 nor infinite: 0 : 0 would be every ratio."""
    mp = mp_context()
    at = sample_points(variables_of(part), mp)[0]
    return bool(0 < abs(numeric_value(part, mp, at)) < float("inf"))


def as_fraction(tree):
    """A ratio of two parts as their quotient; any other tree as it is."""
    if tree[0] == "ratio":
        return ("div", *tree[1])
    return tree


def same_proportion(left: list, right: list) -> bool:
    """Whether the parts of two ratios are proportional."""
    if len(left) != len(right):
        return False
    for one, other in zip(left[1:], right[1:]):
        if not same_value(("mul", [one, right[0]]), ("mul", [other, left[0]]), 0.0):
            return False
    return True
