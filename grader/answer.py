r"""The part of a text that is the answer, of a sentence or a whole response.

After the thinking it is what the answer tags hold, else the last box, else what follows `####` or
`the answer is`, else all of the text if all of it is mathematics, else the one value at the end of
the last sentence. A sentence that hedges has no answer.
"""

import re

from grader.lexer import TEXT, Unfit, clean, unpunctuated
from grader.parser import LONGEST, parse
from grader.values import contains

# ---------------------------------------------------------------- boxes

BOXES = ("\\boxed{", "\\boxed {", "\\fbox{")
LONGEST_BOX = 2000  # characters inside \boxed{}: what is longer counts as not closed
MOST_BOXES = 100  # boxes that are tried, from the last: a bound on what unclosed ones can cost
# \{ and \} are text to LaTeX: matched first, so that they are not counted.
BRACES = re.compile(r"\\[{}]|[{}]")


def last_boxed(text: str) -> str | None:
    """The content of the last balanced `\\boxed{...}` or `\\fbox{...}`, None where there is none.

    It has at most LONGEST_BOX characters. The search goes from the last box to the first. No scan
    passes the start of a box that was not closed, because whatever contains an open box is open
    itself; so a box that can close has a `}` before that start.
    """
    end = len(text)  # what stands from here on is done with
    last = dict.fromkeys(BOXES, len(text))  # where each kind of box begins for the last time
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
            return text[inside:closing]
        end = last[box]
    return None


def closing_brace(text: str, start: int, end: int) -> int | None:
    """Where the brace closes that was opened just before `start`; None if not before `end`."""
    depth = 1
    for brace in BRACES.finditer(text, start, end):
        if brace[0] == "{":
            depth += 1
        elif brace[0] == "}":
            depth -= 1
        if depth == 0:
            return brace.start()
    return None


BARE_BOX = re.compile(r"\\boxed ([^ {}$]{1,50})\$?\.?\Z")  # \boxed 5, as LaTeX allows
TWO_BOXES = re.compile(r"\}[$ ]*(?:or|nor)[$ ]*\\boxed\{")


def answer_in_box(text: str) -> str:
    """The content of the last box, of boxes in each other the outer one.

    Two boxes with `or` between them are no answer, "".
    """
    text = text.replace("\\boxed{\\boxed{", "\\boxed{{")
    end = joined_lines(text[-LONGEST:])
    if "\\boxed" in end:
        bare = BARE_BOX.search(end, end.rfind("\\boxed"))
        if bare:
            return bare[1]
        if TWO_BOXES.search(end):
            return ""
    return without_lead(joined_lines(last_boxed(text) or ""))


# ---------------------------------------------------------------- texts

SYNONYMS = {
    "dne": "does not exist",
    "no solutions": "no solution",
    "no real solutions": "no real solution",
}
# Texts that are words, so that capitals and hyphens say nothing
IN_WORDS = re.compile(r"[A-Za-z0-9', ]*[A-Za-z]{3}[A-Za-z0-9', -]*|[Nn][Oo]")
# "so \\text{ the answer is }", "\\approx": what leads to an answer
LEAD = re.compile(
    r"\A(?:\\(?:" + TEXT + r") ?\{(?: |[.,:=]|so|thus|hence|therefore|the|final|answer|value|result"
    r"|is|are|of|we|get|have|it|that)+\}|\\approx|\\simeq|≈|~) ?",
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
    r"|between|least|most|less|more|longer|fewer|than|except|options)\b",
    re.I,
)
INNER = r"([^\\]{0,300}(?:\\[^)\]][^\\]{0,300}){0,40})"  # of \( \) and \[ \], bounded
SPAN = re.compile(r"\$([^$]+)\$|\\\(" + INNER + r"\\\)|\\\[" + INNER + r"\\\]")
TAIL = re.compile(
    r"(?:\b(?:is|are|equals|be|was|gives?|get|obtain)\b|=) ?:? ?"
    r"((?:exactly|clearly) )?([^=]{1,200})\Z"
)


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
    text = re.sub(r"^(?:an?|the) ", "", text)
    if text in SYNONYMS:
        return SYNONYMS[text]
    return re.sub(r"(?<= )([a-z]{3,})s$", r"\1", text)


def same_words(said: str, gold: str) -> bool:
    """Whether all that was said is the gold, letter by letter, styling aside."""
    if len(said) > LONGEST:
        return False
    try:
        return literal(said) == literal(gold) and bool(re.search(r"[\w\\]", gold))
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
    """Whether all of a text is mathematics: no sentence, no single word."""
    try:
        return not contains(parse(text), "words")
    except (Unfit, RecursionError):
        return False


# ---------------------------------------------------------------- where the answer stands


def answer_part(text: str) -> str:
    """What is not thinking, of that the last answer block if there is one."""
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        return ""
    if "<answer>" in text:
        return text.rpartition("<answer>")[2].partition("</answer>")[0]
    return text


def final_answer(text: str) -> str:
    """The answer in a prediction, "" where there is none (rules: top of the file)."""
    text = answer_part(text)
    if "\\boxed" in text or "\\fbox" in text:
        return answer_in_box(text)
    if "####" in text:
        text = text.rpartition("####")[2].strip().partition("\n")[0]
    was_cut = len(text) > 4 * LONGEST
    text = joined_lines(text[-4 * LONGEST :])
    was_cut = was_cut or len(text) > LONGEST
    text = BOLD.sub(r"\2", text[-LONGEST:])
    text = without_lead(MARKUP.sub("", text).strip())
    if not was_cut and is_mathematics(text):
        return text
    stated = statement(text)
    if stated is not None:
        return first_sentence(stated)
    return last_value(text, was_cut)


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
    return without_lead(sentences[0].strip())


def last_value(text: str, was_cut: bool) -> str:
    """The value that the last sentence ends in; "" where the sentence hedges.

    All of the text where there are no words, or where no value is found; but of a text that was cut
    nobody knows all, so "".
    """
    whole = text
    if was_cut:
        whole = ""
    last = re.split(r"(?<=[.!?]) |\n", text)[-1]
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
