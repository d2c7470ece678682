"""Rule rewards: what the text of a response earns, and why.

Accuracy asks for the same under every reward: the answer that extract.py reads, whatever the format around it.

Rewards and the sources of their numbers: `r1` (R1-Zero, arXiv 2501.12948, section 2.2.2), `r1_language` (R1, the same
paper, 2.3.2), `dr_grpo` (2503.20783; on boxes also SimpleRL-Zoo's 1 or 0, 2503.18892), `tinyzero`
(Jiayi-Pan/TinyZero), `simplerl` (hkust-nlp/simpleRL-reason, v0), `logic_rl` (2502.14768).

Nothing here evaluates text, and the cost is linear in its length: tags are counted, answers have a longest length.
Maths is compared by value in grader/. Left out on purpose: partial credit, anything a model has to judge.
"""
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from config import Refusal
from extract import Reading, read_response
from grader import grade_answer
from tasks import Problem

LONGEST = {"countdown": 200, "kk": 1000, "arithmetic": 50, "data": 1000, "math": 2000}  # characters of an answer
LONGEST_NUMBER = 9  # digits of a number in a Countdown expression
DEEPEST = 20  # brackets within brackets in a Countdown expression
TOKENS = re.compile(r"[0-9]+|\S")  # [0-9], not \d or str.isdigit: those accept Arabic-Indic digits and superscripts
SIGNS = str.maketrans("×÷−", "*/-")
CLAIM = re.compile(r"(?:\([0-9]{1,2}\) ?)?([a-z]+) is a (knight|knave)\b[.,;]? ?(?:and )?", re.ASCII | re.IGNORECASE)
NUMBER = re.compile(r"[-+]?(?=[.0-9])(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*)(?:\.[0-9]+)?")  # 12  -3  .5  1,250.75
LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
IDEOGRAPHS = r"\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # kana, too
NOT_OTHER = rf"\W\d_{LATIN}{IDEOGRAPHS}\u2100-\u214f\U0001d400-\U0001d7ff"  # the last two: letters of mathematics
WORD = re.compile(rf"\\[A-Za-z]+|(?P<latin>[{LATIN}]{{2,}})|(?P<other>[{IDEOGRAPHS}]|"  # a LaTeX command has no group
                  rf"(?![\u0370-\u03ff]{{2}}\b)[^{NOT_OTHER}]{{2,}})")
FRACTION = re.compile(r"[-+]?[0-9]+/0*[1-9][0-9]*")  # a denominator of zero is no number


@dataclass(frozen=True)
class Reward:
    total: float  # what the update sees
    accuracy: float  # 1.0 if the answer is right, else 0.0: the same under every reward
    format: float  # the format's part of the total, as the system counts it
    why: str  # one short phrase for people


# ---------------------------------------------------------------- checking an answer
# A checker takes the answer with single spaces and returns (right, parsed, why). Parsed: it has the form of an answer.

def apply(operator: str, left: Fraction | None, right: Fraction | None) -> Fraction | None:
    """One exact step of arithmetic; None (not a number) stays None, and a division by zero makes one."""
    if left is None or right is None or (operator == "/" and right == 0):
        return None
    return {"+": left.__add__, "-": left.__sub__, "*": left.__mul__, "/": left.__truediv__}[operator](right)


def evaluate(text: str) -> tuple[Fraction | None, list[int]]:
    """The exact value of a Countdown expression (None: it divides by zero) and the numbers in it, by recursive descent.

    sum = product {(+|-) product}; product = operand {(*|/) operand}; operand = number | "(" sum ")". So there is no
    sign before a number, no decimal point, no `**`, no `//`, no `= 24` at the end: ValueError says what is in the way.
    """
    tokens, numbers = TOKENS.findall(text.translate(SIGNS))[::-1], []  # reversed: the next token is the last

    def operand(depth: int) -> Fraction | None:
        token = tokens.pop() if tokens else "the end"
        if token[0] in "0123456789":
            if len(token) > LONGEST_NUMBER:
                raise ValueError("a number is too long")
            numbers.append(int(token))
            return Fraction(numbers[-1])
        if token != "(":
            raise ValueError(f"expected a number, found {token}")
        if depth == DEEPEST:
            raise ValueError("too many brackets within brackets")
        value = chain("+-", depth + 1)
        if not tokens or tokens.pop() != ")":
            raise ValueError("a bracket is not closed")
        return value

    def chain(operators: str, depth: int) -> Fraction | None:
        below = operand if operators == "*/" else lambda depth: chain("*/", depth)
        value = below(depth)
        while tokens and tokens[-1] in operators:
            value = apply(tokens.pop(), value, below(depth))
        return value

    value = chain("+-", 0)
    if tokens:
        raise ValueError(f"cannot read {tokens[-1]}")
    return value, numbers


def check_countdown(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: an expression over exactly the given numbers, each as often as it was given, whose value is the target."""
    try:
        value, numbers = evaluate(answer)
    except ValueError as error:
        return False, False, str(error)
    used, given, target = Counter(numbers), Counter(problem.facts["numbers"]), problem.facts["target"]
    for number in [*used, *given]:
        if number not in given:
            return False, True, f"uses {number}, which is not given"
        if number not in used:
            return False, True, f"does not use {number}"
        if used[number] != given[number]:
            return False, True, f"uses {number} {({1: 'once', 2: 'twice'}).get(used[number], f'{used[number]} times')}"
    if value is None:
        return False, True, "divides by zero"
    return (True, True, "right") if value == target else (False, True, f"value is {value}, not {target}")


def check_kk(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: `Name is a knight` or `Name is a knave` once for each person, in any order, all of them true."""
    names = {name.lower(): i for i, name in enumerate(problem.facts["names"])}
    said, position = {}, 0
    while position < len(answer):
        claim = CLAIM.match(answer, position)
        if not claim:
            return False, False, f"cannot read {answer[position:position + 20]!r}"
        position, name, kind = claim.end(), claim[1], claim[2].lower()
        if name.lower() not in names:
            return False, False, f"there is no {name}"
        if names[name.lower()] in said:
            return False, False, f"names {name} twice"
        said[names[name.lower()]] = kind
    for i, name in enumerate(problem.facts["names"]):
        if i not in said:
            return False, False, f"does not say what {name} is"
    for i, knight in enumerate(problem.facts["knights"]):
        if said[i] != ("knight" if knight else "knave"):
            return False, True, f"{problem.facts['names'][i]} is not a {said[i]}"
    return True, True, "right"


def number_of(text: str) -> Fraction | None:
    """The exact value of a plain integer, decimal (with thousands commas or not) or a/b in ASCII, else None."""
    if len(text) > LONGEST["arithmetic"] or not (NUMBER.fullmatch(text) or FRACTION.fullmatch(text)):
        return None  # Fraction() itself would take 1e999999999, 1_000 and digits of any script
    return Fraction(text.replace(",", ""))


def check_arithmetic(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: the value as an integer or decimal. Not as a/b: for `What is 12/4?` that would be the question itself."""
    value = None if "/" in answer else number_of(answer)
    if value is None:
        return False, False, "not a number"
    right = value == Fraction(problem.answer)
    return right, True, "right" if right else f"value is {answer}, not {problem.answer}"


def check_data(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: the same exact number as the file's answer, or the same text up to white space. Other text is not parsed.

    A `$` around a number and a `%` or full stop after it are dropped (`\\$` and `\\%` too): `$1,250.00` is `1250`.
    """
    def plain(text: str) -> Fraction | None:
        return number_of(re.sub(r"^\\?\$ ?| ?(?:\\?%)?\$?\.?$", "", text))

    wanted = " ".join(problem.answer.split())
    value = plain(answer)
    if answer == wanted or (value is not None and value == plain(wanted)):
        return True, True, "right"
    return False, value is not None, "not equal" if value is not None else "neither a number nor the same text"


def check_math(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """Right: the file's answer in value, however it is written (grader/), within its tolerance if it states one."""
    right = grade_answer(answer, problem.answer, problem.facts.get("tolerance", 0.0))
    return right, bool(answer), "right" if right else "not equal"


CHECKS = {"countdown": check_countdown, "kk": check_kk, "arithmetic": check_arithmetic, "data": check_data,
          "math": check_math}


def check(answer: str, problem: Problem) -> tuple[bool, bool, str]:
    """(right, parsed, why) of an answer's text, by `problem.task`; never raises because of the answer."""
    if problem.task not in CHECKS:
        raise Refusal(f"no checker for task {problem.task!r} (have: {', '.join(CHECKS)})")
    answer = " ".join(answer.split())
    if len(answer) > LONGEST[problem.task]:
        return False, False, "the answer is too long"
    return CHECKS[problem.task](answer, problem)


# ---------------------------------------------------------------- the rewards of the published systems
# A reward takes (right, parsed, reading) and returns (total, the format's part of it).

def r1(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """Accuracy + format, 1 or 0 each: the paper names both and gives no weights, so they weigh the same here."""
    format = float(not reading.fault)
    return right + format, format


def language_share(text: str) -> float:
    """Share of the words of a text that are in Latin letters; 0 without words, so that silence earns nothing.

    A word is two letters of one script or more (three in Greek, where two are a product), or one ideograph or kana, for
    these are written without spaces. Single letters, digits, signs, mathematical letters and LaTeX commands are none.
    """
    latin = other = 0
    for word in WORD.finditer(text):
        if word.lastgroup == "latin":
            latin += 1
        elif word.lastgroup == "other":
            other += 1
    return latin / (latin + other) if latin + other else 0.0


def r1_language(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """Accuracy + the share of the thinking's words that are in the target language, here English by its letters."""
    share = language_share(reading.thinking)
    return right + share, share


def dr_grpo(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """1 or 0: an answer in tags must be in full format, a box may stand alone, as the paper's two graders have it.

    Theirs asks for the literal `</think> <answer>` and never looks at the thinking; an empty one earns 0 here.
    """
    return float(right and not (reading.tagged and reading.fault)), 0.0


def tinyzero(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """1 if right, 0.1 for a wrong answer in the form of an answer.

    The published rule pays 0.1 for any `<answer>`, so `<answer>hello</answer>` is the first thing that it teaches.
    """
    format = 0.1 if parsed and not right else 0.0
    return (1.0 if right else format), format


def simplerl(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """+1 if right, -0.5 for a wrong answer, -1 for none; theirs takes the bare word `boxed` for an answer."""
    return (1.0 if right else -0.5 if reading.answer is not None else -1.0), 0.0


def logic_rl(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """Format +1 / -1; answer +2 right, -1.5 wrong, -2 unreadable or format broken. Totals: 3, -0.5, -1, -3.

    The published code pays 3 for an empty think part and lets text stand between and after the tags: broken here.
    """
    if reading.fault:
        return -3.0, -1.0
    return 1.0 + (2.0 if right else -1.5 if parsed else -2.0), 1.0


REWARDS: dict[str, Callable] = {"r1": r1, "r1_language": r1_language, "dr_grpo": dr_grpo, "tinyzero": tinyzero,
                                "simplerl": simplerl, "logic_rl": logic_rl}


def score(name: str, response: str, problem: Problem, finished: bool = True, style: str = "auto") -> Reward:
    """What `response` earns under the reward `name`, its answer read in `style` (extract.py); Refusal if unknown.

    A response that hit the length limit (`finished` False) is not accurate, and no part of its reward is above 0.
    """
    if name not in REWARDS:
        raise Refusal(f"unknown reward {name!r}: choose {', '.join(REWARDS)}")
    reading = read_response(response, style)
    if reading.answer is None:
        right, parsed, why = False, False, reading.fault
    else:
        right, parsed, why = check(reading.answer, problem)
    total, format = REWARDS[name](right, parsed, reading)
    if not finished:
        return Reward(min(total, 0.0), 0.0, min(format, 0.0), "hit the length limit")
    if reading.answer is not None and (total, format) != REWARDS[name](right, parsed, replace(reading, fault="")):
        why += f"; {reading.fault}"  # the format cost something
    return Reward(total, float(right), format, why)
