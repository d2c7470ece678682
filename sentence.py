r"""The answer in running text: what a grader takes for the answer when it is given a sentence or a whole response.

After the thinking: the answer tags, else the last box, else what follows `####` or `the answer is`, else all of the text if
all of it is mathematics, else the one value at the end of the last sentence. A sentence that hedges has no answer.
"""
import re

from extract import last_boxed
from latex import LONGEST, parse
from lexer import TEXT, Unfit, clean, unpunctuated
from values import contains

SYNONYMS = {"dne": "does not exist", "no solutions": "no solution", "no real solutions": "no real solution"}
BARE_BOX = re.compile(r"\\boxed ([^ {}$]{1,50})\$?\.?\Z")  # \boxed 5, as LaTeX allows
TWO_BOXES = re.compile(r"\}[$ ]*(?:or|nor)[$ ]*\\boxed\{")
LEAD = re.compile(r"\A(?:\\(?:%s) ?\{(?: |[.,:=]|so|thus|hence|therefore|the|final|answer|value|result|is|are|of|we|get|have|it"
                  r"|that)+\}|\\approx|\\simeq|≈|~) ?" % TEXT, re.I)
BOLD = re.compile(r"(?<![\w)*])(\*\*?)(?=[^ *])([^*\n]{1,300})\1(?![\w(*])")
MARKUP = re.compile(r"</?(?:b|i|strong|em|br|p|div|span|center) ?/?>|^#+ ", re.M)
STATED = re.compile(r"\banswers? ?(?:(?:is|are|=|:|will be|must be)|(?=\n)) ?:? ?"
                    r"(?:(?:therefore|thus|hence|then|simply|just|clearly|equal to) )*", re.I)
DENIED = re.compile(r"\b(?:wrong|incorrect|no|not an?|not the|another|other|possible)(?: final)? \Z", re.I)
HEDGES = re.compile(r"\b(?:or|either|neither|nor|maybe|perhaps|possibly|probably|might|could|not|no|cannot|can't|isn't|aren't"
                    r"|doesn't|never|unless|wrong|wait|but|actually|instead|approximately|about|around|between|least|most"
                    r"|less|more|longer|fewer|than|except|options)\b", re.I)
INNER = r"([^\\]{0,300}(?:\\[^)\]][^\\]{0,300}){0,40})"  # of \( \) and \[ \], bounded
SPAN = re.compile(r"\$([^$]+)\$|\\\(%s\\\)|\\\[%s\\\]" % (INNER, INNER))
TAIL = re.compile(r"(?:\b(?:is|are|equals|be|was|gives?|get|obtain)\b|=) ?:? ?((?:exactly|clearly) )?([^=]{1,200})\Z")


def plain(text: str) -> str:
    """The text without styling, white space only between letters and digits."""
    text = re.sub(r"\\(?:%s) ?\{([^{}]*)\}" % TEXT, r" \1 ", clean(text))
    return unpunctuated(re.sub(r" ?([^\w\s]) ?", r"\1", " ".join(text.split())))


def literal(text: str) -> str:
    """What two spellings of one text have in common: as `plain`, and words in small letters."""
    text = plain(text)
    if not re.fullmatch(r"[A-Za-z0-9', ]*[A-Za-z]{3}[A-Za-z0-9', -]*|[Nn][Oo]", text):
        return text
    text = re.sub(r"^(?:an?|the) ", "", " ".join(text.lower().replace("-", " ").split()))
    return SYNONYMS.get(text, re.sub(r"(?<= )([a-z]{3,})s$", r"\1", text))


def same_words(said: str, gold: str) -> bool:
    """Whether all that was said is the gold, letter by letter, styling aside."""
    try:
        return len(said) <= LONGEST and literal(said) == literal(gold) and bool(re.search(r"[\w\\]", gold))
    except Unfit:
        return False


def joined(text: str) -> str:
    """Each line with single spaces, blank lines left out: patterns then meet one white space at a time."""
    return "\n".join(line for line in (" ".join(line.split()) for line in text.splitlines()) if line)


def readable(text: str) -> bool:
    """Whether all of a text is mathematics: no sentence, no single word."""
    try:
        return not contains(parse(text), "words")
    except (Unfit, RecursionError):
        return False


def answer_part(text: str) -> str:
    """What is not thinking, of that the last answer block if there is one."""
    text = text.rpartition("</think>")[2]
    if "<think>" in text:
        return ""
    return text.rpartition("<answer>")[2].partition("</answer>")[0] if "<answer>" in text else text


def final_answer(text: str) -> str:
    """The answer in a prediction, "" where there is none (rules: top of the file)."""
    text = answer_part(text)
    if "\\boxed" in text or "\\fbox" in text:
        return boxed(text)
    if "####" in text:
        text = text.rpartition("####")[2].strip().partition("\n")[0]
    cut = len(text) > 4 * LONGEST
    text = joined(text[-4 * LONGEST:])
    cut, text = cut or len(text) > LONGEST, text[-LONGEST:]
    text = LEAD.sub("", MARKUP.sub("", BOLD.sub(r"\2", text)).strip())
    if not cut and readable(text):
        return text
    if stated := [found for found in STATED.finditer(text) if not DENIED.search(text[:found.start()])]:
        return first_sentence(text[stated[-1].end():])
    return last_value(text, cut)


def gold_answer(gold: str) -> str:
    """The answer in a gold: behind its mark, or its only formula; else all of it, because no sentence is taken apart."""
    if any(mark in gold for mark in ("\\boxed", "####", "<answer>")):
        return final_answer(gold)
    spans = list(SPAN.finditer(gold)) if len(gold) <= LONGEST and not readable(joined(gold)) else []
    return spans[0][0] if len(spans) == 1 else LEAD.sub("", joined(gold))


def boxed(text: str) -> str:
    """The last box, of boxes in each other the outer one; two boxes with `or` between them are no answer."""
    text = text.replace("\\boxed{\\boxed{", "\\boxed{{")
    end = joined(text[-LONGEST:])
    if "\\boxed" in end:
        bare = BARE_BOX.search(end, end.rfind("\\boxed"))
        if bare or TWO_BOXES.search(end):
            return bare[1] if bare else ""
    return LEAD.sub("", joined(last_boxed(text) or ""))


def first_sentence(text: str) -> str:
    """What is stated: up to a full stop or an empty end. A number after it takes the statement back."""
    stated, *rest = re.split(r"\. |\n", text.strip() + " ", maxsplit=1)
    return "" if rest and re.search(r"\d", rest[0]) else LEAD.sub("", stated.strip())


def last_value(text: str, cut: bool) -> str:
    """The value that the last sentence ends in; all of the text where it has no words, "" where the sentence hedges."""
    last = re.split(r"(?<=[.!?]) |\n", text)[-1]
    words = SPAN.sub(" ", last)
    if not re.search(r"[A-Za-z]{2}", words) or len(last.split()) < 3:
        return "" if cut else text
    if HEDGES.search(words):
        return "" if cut or not last == text else text
    spans = [next(filter(None, found.groups()), "") for found in SPAN.finditer(last)]
    if spans:
        return spans[-1] if not any(re.search(r"\d", span) for span in spans[:-1]) else "" if cut else text
    tail = TAIL.search(last.rstrip(". "))
    return tail[2].strip() if tail else "" if cut else text
