r"""The part of a text that is the answer, of a sentence or a whole response.

After the thinking it is what the answer tags hold, else the last box, else what follows `####` or
`the answer is`, else all of the text if all of it is mathematics, else the one value at the end of
the last sentence. A sentence that hedges has no answer.
"""

import functools
import re
from typing import NamedTuple

from grader.lexer import CHANGES, TEXT, Unfit, clean, unpunctuated
from grader.parser import LONGEST, parse
from grader.values import contains
from grader.wording import qualified, same_saying

# ---------------------------------------------------------------- boxes

BOXES = ("\\boxed{", "\\fbox{")
SPACED_BOX = re.compile(r"(\\(?:boxed|fbox))\s+(?=\{)")
BARE_BOX = re.compile(r"\\boxed ([^ {}$]{1,50})\$?\.?\Z")  # \boxed 5, as LaTeX allows
LONGEST_BARE_BOX = 100  # characters
LONGEST_BOX = 2000  # characters inside \boxed{}: what is longer counts as not closed
MOST_WRAPPINGS = 3  # boxes that hold nothing but a box
MOST_BOXES = 100  # boxes that are tried, from the last: a bound on what unclosed ones can cost
# \{ and \} are text to LaTeX: matched first, so that they are not counted.
BRACES = re.compile(r"\\[{}]|[{}]")
# Between two boxes of one answer: a comma or a connective, signs of formulas, the next one's name.
BETWEEN_BOXES = re.compile(
    r"(?:[$ \n.&]|\\[()\[\],;:! ]|\\q?quad ?|\\\\)*"
    r"(?:[,;]|\\text ?\{[ ,]*(?:and|or|nor)? ?\}|\b(?:and|or|nor)\b)"
    r"(?:[$ \n,&]|\\[()\[\],;:! ]|\\q?quad ?|\\\\|\\text ?\{[ ,]*(?:and|or)? ?\}|\b(?:and|or)\b)*"
    r"(?:[A-Za-z](?:_\{?\w\}?)? ?= ?)?"
)
EITHER = re.compile(r"\bn?or\b")
LONGEST_BETWEEN = 60  # characters


class Box(NamedTuple):
    """A box in a text: it goes from `start` on, what it holds from `inside` to `closing`."""

    start: int
    inside: int
    closing: int


def last_boxed(text: str) -> str | None:
    r"""What the last `\boxed{...}` or `\fbox{...}` of a text says, None where there is none.

    Of boxes in each other the outer one counts. Boxes with nothing but a comma, `and` or `or`
    between them are one answer of several parts. `\boxed 5` is a box. What one box holds has at
    most LONGEST_BOX characters.
    """
    text = SPACED_BOX.sub(r"\1", text)
    bare = bare_box(text)
    if bare is not None:
        return bare
    box = last_box(text, len(text))
    if box is None:
        return None
    said = content(text, box)
    parts = {said: ""}  # each said once, in their order: what stands behind it
    for _ in range(MOST_BOXES):
        previous = last_box(text, box.start)
        if previous is None:
            break
        between = text[previous.closing + 1 : box.start]
        if len(between) > LONGEST_BETWEEN:
            break
        if BETWEEN_BOXES.fullmatch(between) is None:
            break
        box = previous
        said = content(text, box)
        if said not in parts:
            parts[said] = " or " if EITHER.search(between) else ", "
    found = ""
    for said, joiner in reversed(parts.items()):
        found += said + joiner
    return found


def bare_box(text: str) -> str | None:
    r"""The 5 of `\boxed 5` at the end of a text, None of any other."""
    end = " ".join(text[-LONGEST_BARE_BOX:].split())
    place = end.rfind("\\boxed")
    if place < 0:
        return None
    bare = BARE_BOX.match(end, place)
    if bare is None:
        return None
    return bare[1]


def content(text: str, box: Box) -> str:
    """What a box holds, without the boxes that hold all of it."""
    inside = text[box.inside : box.closing]
    for _ in range(MOST_WRAPPINGS):
        bare = inside.strip()
        mark = next(filter(bare.startswith, BOXES), None)
        if mark is None or closing_brace(bare, len(mark), len(bare)) != len(bare) - 1:
            break
        inside = bare[len(mark) : -1]
    return inside


def last_box(text: str, end: int) -> Box | None:
    """The last balanced box that closes before `end`, of boxes in each other the outer one.

    The search goes from the last box to the first. No scan passes the start of a box that was not
    closed, because whatever contains an open box is open itself; so a box that can close has a `}`
    before that start.
    """
    last = dict.fromkeys(BOXES, end)  # where each kind of box begins for the last time
    for _ in range(MOST_BOXES):
        end = text.rfind("}", 0, end) + 1
        for box, start in last.items():
            if start + len(box) > end:  # else it is still the last one: nothing is searched twice
                last[box] = text.rfind(box, 0, end)
        box = max(last, key=last.get)
        if last[box] < 0:
            return None
        inside = last[box] + len(box)
        closing = closing_brace(text, inside, min(end, inside + LONGEST_BOX + 1))
        if closing is not None:
            return outermost(text, Box(last[box], inside, closing), end)
        end = last[box]
    return None


def outermost(text: str, box: Box, end: int) -> Box:
    """The outermost box around this one that closes before `end`; itself if there is none."""
    found = box
    closed = 0  # braces that close between here and the box
    opened = 0  # braces of no box that are open there
    before = BRACES.finditer(text, max(0, box.start - LONGEST_BOX), box.start)
    for brace in reversed(list(before)):
        if brace[0] == "}":
            closed += 1
        elif brace[0] == "{" and closed:
            closed -= 1
        elif brace[0] == "{" and text.endswith(BOXES, 0, brace.end()):
            inside = brace.end()
            longest = min(end, inside + LONGEST_BOX + 1)
            closing = closing_brace(text, found.closing + 1, longest, 1 + opened)
            if closing is None:
                break
            found = Box(text.rindex("\\", 0, inside), inside, closing)
            opened = 0
        elif brace[0] == "{":
            opened += 1
    return found


def closing_brace(text: str, start: int, end: int, depth: int = 1) -> int | None:
    """Where the last of `depth` braces open at `start` closes; None if not before `end`."""
    for brace in BRACES.finditer(text, start, end):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
        if depth == 0:
            return brace.start()
    return None


# ---------------------------------------------------------------- texts

SYNONYMS = {
    "dne": "does not exist",
    "no solutions": "no solution",
    "no real solutions": "no real solution",
    "divergent": "diverges",
    "diverge": "diverges",
    "does not converge": "diverges",
    "convergent": "converges",
    "converge": "converges",
}
# Texts that are words, so that capitals and hyphens say nothing
IN_WORDS = re.compile(r"[A-Za-z0-9', ]*[A-Za-z]{3}[A-Za-z0-9', -]*|[Nn][Oo]")
# "so \\text{ the answer is }", "\\approx": what leads to an answer
LEAD = re.compile(
    r"\A(?:\\(?:" + TEXT + r") ?\{(?: |[.,:=]|so|thus|hence|therefore|the|final|answer|value|result"
    r"|is|are|of|we|get|have|it|that)+\}|\\approx|\\simeq|≈|~) ?",
    re.I,
)
ITALIC = re.compile(r"(?<![\w}_$\\])_(?=[^ _{])([^_\n]{1,100})_(?![\w{])")
# Signs of dollars in running text would else be taken for those of formulas: $5 - $3 = $2
AMOUNT = re.compile(r"(?<![\\\w$])\$(?=\d)")
NO_FORMULA = re.compile(r"(?<![\\$])\$(?!\$)[^$\n]{0,80}(?:[-+*/=×]|\band|\bor|\bto|\bof) ?\$\d")
# A clause behind a value says what it is: ", which is the total"
CLAUSE = re.compile(
    r"\s?, (?:which|who|where|so|in|as|since|because|making|giving|leaving|that|meaning|thus|hence"
    r"|therefore|altogether|overall|total|respectively)\b[^\d]*\Z",
    re.I,
)
BOLD = re.compile(r"(?<![\w)*])(\*\*?)(?=[^ *])([^*\n]{1,300})\1(?![\w(*])")
MARKUP = re.compile(r"</?(?:b|i|strong|em|br|p|div|span|center) ?/?>|^#+ ", re.M)
STATED = re.compile(
    r"\banswers? ?(?:(?:is|are|=|:|will be|must be)|(?=\n)) ?:? ?"
    r"(?:(?:therefore|thus|hence|then|simply|just|clearly|equal to) )*",
    re.I,
)
DENIED = re.compile(
    r"\b(?:wrong|incorrect|no|not an?|not the|another|other|possible)(?: final)? \Z", re.I
)
HEDGES = re.compile(
    r"\b(?:or|either|neither|nor|maybe|perhaps|possibly|probably|might|could|not|no|cannot|can't"
    r"|isn't|aren't|doesn't|never|unless|wrong|wait|but|actually|instead|approximately|about|around"
    r"|between|least|most|less|more|longer|fewer|than|except|options|forall|exists)\b",
    re.I,
)
INNER = r"([^\\]{0,300}(?:\\[^)\]][^\\]{0,300}){0,40})"  # of \( \) and \[ \], bounded
SPAN = re.compile(r"(?<!\\)\$((?:[^$\\]|\\.)+)\$|\\\(" + INNER + r"\\\)|\\\[" + INNER + r"\\\]")
TAIL = re.compile(
    r"(?:\b(?:is|are|equals|be|was|gives?|get|obtain)\b|\b(?:it|that)['’]s\b|=) ?:? ?"
    r"((?:exactly|clearly) )?([^=]{1,200})\Z"
)


@functools.lru_cache(maxsize=1024)  # one answer is spelled for several readings
def plain(text: str) -> str:
    """The text without styling, white space only between letters and digits."""
    text = re.sub(r"\\(?:" + TEXT + r") ?\{([^{}]*)\}", r" \1 ", clean(text))
    text = " ".join(text.split())
    return unpunctuated(re.sub(r" ?([^\w\s]) ?", r"\1", text))


def literal(text: str) -> str:
    """What two spellings of one text have in common: as `plain`, and words in small letters."""
    text = plain(text)
    if not IN_WORDS.fullmatch(text):
        return text
    text = " ".join(text.lower().replace("-", " ").split())
    text = re.sub(r"^(?:an?|the|there (?:is|are|exists?)) ", "", text)
    text = re.sub(r"^(?:it|series|integral|limit) (?:is )?(?=[a-z ]+ver|does|ver)", "", text)
    if text in SYNONYMS:
        return SYNONYMS[text]
    return re.sub(r"(?<= )([a-z]{3,})s$", r"\1", text)


def same_words(said: str, gold: str) -> bool:
    """Whether all that was said is the gold, letter by letter, styling aside."""
    if len(said) > LONGEST:
        return False
    try:
        told = literal(said)
        asked = literal(gold)
        if told == asked:
            return bool(re.search(r"[\w\\]", gold))
        return same_saying(told, asked)
    except Unfit:
        return False


def joined_lines(text: str) -> str:
    """The text with single spaces and without blank lines.

    Patterns then meet one white space at a time.
    """
    lines = []
    for line in text.splitlines():
        line = " ".join(line.split())
        if line:
            lines.append(line)
    return "\n".join(lines)


def without_lead(text: str) -> str:
    """The text behind the words that lead to an answer."""
    return LEAD.sub("", text)


def is_mathematics(text: str) -> bool:
    """Whether all of a text is mathematics: no sentence, no single word, qualifiers aside."""
    try:
        tree = parse(qualified(text).text)
        return contains(tree, "cases") or not contains(tree, "words")
    except (Unfit, RecursionError):
        return False


# ---------------------------------------------------------------- where the answer stands


def answer_part(text: str) -> str:
    """What is not thinking, of that the last answer block if there is one."""
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        return ""
    if "<answer>" in text:
        inside, closed, _ = text.rpartition("<answer>")[2].partition("</answer>")
        if not closed:
            return ""
        return inside
    return text


def final_answer(text: str) -> str:
    """The answer in a prediction, "" where there is none (rules: top of the file)."""
    text = answer_part(text)
    if "\\boxed" in text or "\\fbox" in text:
        return without_lead(joined_lines(last_boxed(text) or ""))
    if "####" in text:
        text = text.rpartition("####")[2].strip().partition("\n")[0]
    was_cut = len(text) > 4 * LONGEST
    text = joined_lines(text[-4 * LONGEST :])
    was_cut = was_cut or len(text) > LONGEST
    text = with_amounts(BOLD.sub(r"\2", text[-LONGEST:]))
    text = ITALIC.sub(r"\1", text)
    text = without_lead(MARKUP.sub("", text).strip())
    if not was_cut and is_mathematics(text):
        return text
    stated = statement(text)
    if stated is not None:
        return first_sentence(stated)
    return last_value(text, was_cut)


def with_amounts(text: str) -> str:
    """The text with the signs of dollars as such, if they cannot be those of formulas."""
    if NO_FORMULA.search(text):
        return AMOUNT.sub(lambda _: r"\$", text)
    return text


def without_clause(text: str) -> str:
    """The value before a clause that only says what it is; a clause that hedges stays."""
    clause = CLAUSE.search(text)
    if clause is None or not re.search(r"\d", text):
        return text
    if HEDGES.search(clause[0]) or CHANGES & set(re.findall("[a-z]+", clause[0].lower())):
        return text
    return text[: clause.start()]


def gold_answer(gold: str) -> str:
    """The answer in a gold: behind its mark, or its only formula; else all of it.

    No sentence of a gold is taken apart.
    """
    if "\\boxed" in gold or "####" in gold or "<answer>" in gold:
        return final_answer(gold)
    text = joined_lines(gold)
    if len(gold) <= LONGEST and not is_mathematics(text):
        spans = list(SPAN.finditer(gold))
        if len(spans) == 1:
            return spans[0][0]
    return without_lead(text)


def statement(text: str) -> str | None:
    """The text behind the last `the answer is` that is not denied before it; None without one."""
    stated = None
    for found in STATED.finditer(text):
        if not DENIED.search(text[: found.start()]):
            stated = text[found.end() :]
    return stated


def first_sentence(text: str) -> str:
    """What is stated: up to a full stop or the end of a line.

    A number after it takes the statement back.
    """
    sentences = re.split(r"\. |\n", text.strip() + " ", maxsplit=1)
    if len(sentences) == 2 and re.search(r"\d", sentences[1]):
        return ""
    return without_lead(without_clause(sentences[0].strip()))


def last_value(text: str, was_cut: bool) -> str:
    """The value that the last sentence ends in; "" where the sentence hedges.

    All of the text where there are no words, or where no value is found; but of a text that was cut
    nobody knows all, so "".
    """
    whole = text
    if was_cut:
        whole = ""
    last = without_clause(re.split(r"(?<=[.!?]) |\n", text)[-1])
    words = SPAN.sub(" ", last)
    if not re.search(r"[A-Za-z]{2}", words) or len(last.split()) < 3:
        return whole
    if HEDGES.search(words):
        if last == text:
            return whole
        return ""
    formulas = [inside_signs(found) for found in SPAN.finditer(last)]
    if formulas:
        if any(re.search(r"\d", formula) for formula in formulas[:-1]):
            return whole  # another number is as good an answer
        return formulas[-1]
    tail = TAIL.search(last.rstrip(". "))
    if tail:
        return tail[2].strip()
    return whole


def inside_signs(found: re.Match) -> str:
    """What stands between the signs of a formula: $ $, \\( \\) or \\[ \\]."""
    for formula in found.groups():
        if formula:
            return formula
    return ""
