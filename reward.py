r"""Rule rewards: how an answer is read from a response, what the response earns, and why.

Accuracy asks for the same under every reward: that the answer which is read here is right by its
task's checker (tasks/), whatever the format around it.

Rewards and the sources of their numbers: `r1` (R1-Zero, arXiv 2501.12948, section 2.2.2),
`r1_language` and `r1_scenarios` (R1, the same paper, 2.3.2 and 2.3.4), `dr_grpo` (2503.20783; on
boxes also SimpleRL-Zoo's 1 or 0, 2503.18892), `tinyzero` (Jiayi-Pan/TinyZero), `simplerl`
(hkust-nlp/simpleRL-reason, v0), `logic_rl` (2502.14768), `terse` (ours). `tinyzero-original` and
`logic_rl-original` pay as those two systems' own code does, holes included. A reward of your own is
one function and one line in REWARDS.

A response is what follows the prompt, without special tokens. Most templates end in `<think>`, so
it may or may not begin with one of its own. The format: optional `<think>`, thinking that is not
blank, the only `</think>`, white space, the only `<answer>...</answer>` with something in it, white
space, the end; none of the four tags anywhere else.

An answer asks for less: the only `</think>`, and after it exactly one answer block, whatever stands
around the block. An answer inside the thinking is no answer (a `<think>` that nothing closes makes
all that follows it thinking); two blocks are hedging and no answer either. Where no answer tag
follows the thinking, the last balanced `\boxed{...}` is the answer, and also where the one block
holds boxes: of several boxes the last counts. That is the style `auto`. It does not see the
template, so a box counts after a template that asked for tags, too. The other styles read one place
alone.

Text is untrusted and may be a megabyte: nothing here evaluates it, and the cost is linear in its
length. Tags are counted, no scan goes twice over the same part, answers and numbers have a longest
length. Left out on purpose: answers in words ("the answer is five"), partial credit, anything a
model has to judge.
"""

import re
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass, replace

from config import UserError
from grader import last_boxed
from tasks import Problem, check
from tasks.countdown import check_as_tinyzero
from tasks.knights import roles_as_logic_rl, roles_of


@dataclass(frozen=True)
class Reward:
    total: float  # what the update sees
    accuracy: float  # 1.0 if the answer is right, else 0.0: the same under every reward
    format: float  # the format's part of the total, as the system counts it
    why: str  # one short phrase for people
    words: int = 0  # of the thinking, in any script (`count_words`)
    latin_words: int = 0  # of these, the ones in Latin letters


# ---------------------------------------------------------------- reading a response

STYLES = ("auto", "boxed", "answer-tag", "last-number")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class Reading:
    # What stands before </think>, without a leading <think>; everything if there is no </think>.
    thinking: str
    answer: str | None  # the one answer as written, never blank; None if there is none
    tagged: bool  # whether the answer stood in tags (else in a box)
    # "" if the format holds, else what breaks it; without an answer, why there is none.
    fault: str
    response: str = ""  # all of it, as it was given


def read_response(response: str, style: str = "auto") -> Reading:
    """Split a response into thinking and answer and say what breaks the format.

    `auto` reads tags or a box, `answer-tag` the one answer block alone (rules: top of the file).
    `boxed` reads the last box and `last-number` what GSM8K counts; these two know no format. In
    every style marked thinking holds no answer. UserError for an unknown style.
    """
    if style not in STYLES:
        raise UserError(f"unknown answer style {style!r}: choose {', '.join(STYLES)}")
    if style in ("auto", "answer-tag"):
        reading = read_tags_or_box(response)
    else:
        reading = read_box_or_number(response, style)
    if style == "answer-tag" and not reading.tagged:
        reading = replace(reading, answer=None)
    return replace(reading, response=response)


def extract_answer(response: str, style: str = "auto") -> str | None:
    """The one answer of a response with runs of white space made single spaces, or None.

    It is what majority votes count.
    """
    answer = read_response(response, style).answer
    if answer is None:
        return None
    return " ".join(answer.split())


def read_tags_or_box(response: str) -> Reading:
    """The style `auto`: an answer block, else a box."""
    before, closed, after = response.partition("</think>")
    thinking = without_opening(before)
    if "</think>" in after:
        return Reading(thinking, answer=None, tagged=False, fault="two </think>")
    if closed:
        shown = before_more_thinking(after)
    else:
        shown = before_more_thinking(response)
    if "<answer>" not in shown and "</answer>" not in shown:
        return read_box(thinking, shown)
    if closed:
        fault = block_fault(shown)
    else:
        fault = "no </think> before the answer"
    if fault:
        return Reading(thinking, answer=None, tagged=True, fault=fault)
    gap, _, block = shown.partition("<answer>")
    inside, _, _ = block.partition("</answer>")
    boxed = last_boxed(inside)
    if boxed is not None:
        inside = boxed
    answer = inside.strip()
    if not answer:
        return Reading(thinking, answer=None, tagged=True, fault="the answer is empty")
    _, _, rest = after.partition("</answer>")
    return Reading(thinking, answer, tagged=True, fault=format_fault(thinking, gap, rest))


def read_box(thinking: str, shown: str) -> Reading:
    """The reading of a response that shows no answer tag: its last box, never in full format."""
    boxed = last_boxed(shown)
    if boxed is None:
        return Reading(thinking, answer=None, tagged=False, fault="no answer")
    answer = boxed.strip()
    if not answer:
        return Reading(thinking, answer=None, tagged=False, fault="the answer is empty")
    return Reading(thinking, answer, tagged=False, fault="no answer tags")


def read_box_or_number(response: str, style: str) -> Reading:
    """The styles `boxed` and `last-number`, which know no format."""
    thinking = without_opening(response.partition("</think>")[0])
    shown = before_more_thinking(response.rpartition("</think>")[2])
    if style == "boxed":
        answer = last_boxed(shown) or ""
    else:
        answer = last_number(shown) or ""
    answer = answer.strip()
    if not answer:
        return Reading(thinking, answer=None, tagged=False, fault="no answer")
    return Reading(thinking, answer, tagged=False, fault="")


def without_opening(thinking: str) -> str:
    """Thinking without the `<think>` that it may begin with."""
    return thinking.strip().removeprefix("<think>")


def before_more_thinking(text: str) -> str:
    """What a text shows: thinking that starts again is not shown."""
    return text.partition("<think>")[0]


def block_fault(shown: str) -> str:
    """Why the answer tags of a text are not one block, "" if they are."""
    _, _, block = shown.partition("<answer>")
    if "<answer>" in block:
        return "two answers"
    if "</answer>" not in block or shown.count("</answer>") > 1:
        return "the answer tags do not match"
    return ""


def format_fault(thinking: str, gap: str, rest: str) -> str:
    """What is wrong around an answer block.

    `gap` stands before it, after `</think>`; `rest` after it.
    """
    if not thinking.strip():
        return "no thinking"
    if any(tag in thinking for tag in TAGS):
        return "a tag inside the thinking"
    if gap.strip():
        return "text before the answer"
    if rest.strip():
        return "text after the answer"
    return ""


LONGEST_NUMBER = 100  # characters of the last number: what is longer is no answer
NUMBER = re.compile(
    r"(?:(?<![\w)\]}])[-+−])?"  # after a digit, a letter or a bracket it is an operator, not a sign
    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![.0-9])\.[0-9]+)"
)


def last_number(text: str) -> str | None:
    """GSM8K's answer: the line after the last `####`, else the last number, as written.

    A number may have a sign, thousands commas and decimals; a full stop after it is not part of it.
    """
    _, marked, after = text.rpartition("####")
    if marked:
        line = after.strip().partition("\n")[0]
        return line.strip().removesuffix(".")
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    # Within the last characters only: a response may be all numbers.
    start = max(0, end - LONGEST_NUMBER)
    found = list(NUMBER.finditer(text, start, end))
    if not found:
        return None
    last = found[-1]
    if last.start() == start and start > 0:  # it may begin before what was searched
        return None
    return last[0].replace("−", "-")


# ---------------------------------------------------------------- the published rewards

# A reward takes (right, parsed, reading) and returns (total, the format's part of it). Parsed: the
# answer has the form of an answer.


def r1(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """Accuracy + format, 1 or 0 each.

    The paper names both and gives no weights, so they weigh the same here.
    """
    format_part = float(not reading.fault)
    return right + format_part, format_part


def r1_language(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """Accuracy + the share of the thinking's words that are in the target language.

    Here that is English, by its letters. Thinking without words has no share and earns none; one
    English word earns all of it. So the rule pays for words as well as for their language: the
    logs have `words`, the mean number a response, and show whether a model learns to say little.
    """
    share = language_share(reading.thinking) or 0.0
    return right + share, share


def r1_scenarios(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """`r1_language`, and 1 more for a short summary; nothing if a forbidden word stands anywhere.

    R1's last stage (2.3.4) has reward models that judge how helpful the final summary is and how
    harmful the whole response. These are rules in their place: they look at the same parts of a
    response and judge neither.
    """
    if is_forbidden(reading.response):
        return 0.0, 0.0
    share = language_share(reading.thinking) or 0.0
    summary = summary_of(reading.response)
    format_part = share + float(0 < len(summary) <= LONGEST_SUMMARY)
    return right + format_part, format_part


def dr_grpo(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """1 or 0: an answer in tags must be in full format, a box may stand alone.

    So the paper's two graders have it. Theirs asks for the literal `</think> <answer>` and never
    looks at the thinking; an empty one earns 0 here.
    """
    if not right:
        return 0.0, 0.0
    if reading.tagged and reading.fault:
        return 0.0, 0.0
    return 1.0, 0.0


def tinyzero(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """1 if right, 0.1 for a wrong answer in the form of an answer.

    The published rule pays 0.1 for any `<answer>`, so `<answer>hello</answer>` is the first thing
    that it teaches.
    """
    if right:
        return 1.0, 0.0
    if parsed:
        return 0.1, 0.1
    return 0.0, 0.0


def simplerl(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """+1 if right, -0.5 for a wrong answer, -1 for none.

    Theirs takes the bare word `boxed` for an answer.
    """
    if right:
        return 1.0, 0.0
    if reading.answer is not None:
        return -0.5, 0.0
    return -1.0, 0.0


def logic_rl(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """Format +1 / -1; answer +2 right, -1.5 wrong, -2 unreadable or format broken.

    Totals: 3, -0.5, -1, -3. The published code pays 3 for an empty think part and lets text stand
    between and after the tags: broken here.
    """
    if reading.fault:
        return -3.0, -1.0
    if right:
        return 3.0, 1.0
    if parsed:
        return -0.5, 1.0
    return -1.0, 1.0


def terse(right: bool, parsed: bool, reading: Reading) -> tuple[float, float]:
    """1 if right, and 0.2 more for a response that is nothing but its answer, right or wrong.

    Ours, for a model that is asked for "the number only" and talks (docs/smollm2.md).
    """
    alone = reading.answer is not None and reading.thinking.strip(" .\n") == reading.answer
    format_part = 0.2 if alone else 0.0
    return float(right) + format_part, format_part


REWARDS: dict[str, Callable] = {
    "r1": r1,
    "r1_language": r1_language,
    "r1_scenarios": r1_scenarios,
    "dr_grpo": dr_grpo,
    "tinyzero": tinyzero,
    "simplerl": simplerl,
    "logic_rl": logic_rl,
    "terse": terse,
}

# ---------------------------------------------------------------- with the published holes
#
# What two systems' own code pays, for runs that are to be repeated as they were. These rules look
# for the answer by themselves, ask nothing of the thinking, and pay a response that hit the length
# limit like any other. Accuracy is what it is under every reward. docs/rewards.md: string by
# string, what the original functions pay and what the rules above do.


def tinyzero_original(response: str, problem: Problem) -> tuple[float, float]:
    """TinyZero's rule: 1 for a right answer, 0.1 for any other `<answer>`, on the last line alone.

    Of several the last counts. Signs, decimals, `**` and `//` are arithmetic there.
    """
    _, _, line = response.rpartition("\n")
    answer = last_block(line)
    if answer is None:
        return 0.0, 0.0
    if check_as_tinyzero(answer, problem):
        return 1.0, 0.0
    return 0.1, 0.1


def logic_rl_original(response: str, problem: Problem) -> tuple[float, float]:
    """Logic-RL's rule: 3, -0.5, -1 or -3, whatever else stands around the tags and in them.

    The format is each of the four tags once, in order, the prompt's `<think>` being the first.
    """
    text = "<think>" + response
    places = [text.find(tag) for tag in TAGS]
    once = all(text.count(tag) == 1 for tag in TAGS)
    if not once or places != sorted(places):
        return -3.0, -1.0
    roles = roles_as_logic_rl(last_block(text), problem.facts["names"])
    if roles is None:
        return -1.0, 1.0
    if roles == roles_of(problem):
        return 3.0, 1.0
    return -0.5, 1.0


def last_block(text: str) -> str | None:
    """What the last `<answer>...</answer>` holds, found from the left; None if there is none."""
    found = None
    start = text.find("<answer>")
    while start >= 0:
        first = start + len("<answer>")
        end = text.find("</answer>", first)
        if end < 0:
            break
        found = text[first:end].strip()
        start = text.find("<answer>", end)
    return found


ORIGINALS: dict[str, Callable] = {
    "tinyzero-original": tinyzero_original,
    "logic_rl-original": logic_rl_original,
}
# The one task that each of them reads.
TASK_OF_ORIGINAL = {"tinyzero-original": "countdown", "logic_rl-original": "kk"}
NAMES = ChainMap(REWARDS, ORIGINALS)  # what can be chosen; a name that is added above is in it


def check_task(name: str, task: str) -> None:
    """A UserError if a reward does not read the answers of a task (countdown:4, kk, ...)."""
    kind, _, _ = task.partition(":")
    own = TASK_OF_ORIGINAL.get(name, kind)
    if kind != own:
        raise UserError(f"reward {name} reads answers to {own} alone, not to {kind}")


def can_be_negative(name: str) -> bool:
    """Whether the reward `name` pays less than 0 for a response without a right answer."""
    # An original pays within the bounds of the rule without its holes.
    rule = REWARDS[name.removesuffix("-original")]
    for response in ("", "so </think> <answer>1</answer>"):
        reading = read_response(response)
        for parsed in (False, True):
            total, _ = rule(False, parsed, reading)
            if total < 0:
                return True
    return False


# ---------------------------------------------------------------- the score of a response


def score(
    name: str, response: str, problem: Problem, finished: bool = True, style: str = "auto"
) -> Reward:
    """What `response` earns under the reward `name`, its answer read in `style`.

    A response that hit the length limit (`finished` False) is not accurate, and no part of its
    reward is above 0, but under ORIGINALS. UserError for an unknown name or style.
    """
    if name not in REWARDS and name not in ORIGINALS:
        raise UserError(f"unknown reward {name!r}: choose {', '.join(NAMES)}")
    reading = read_response(response, style)
    words, latin_words = count_words(reading.thinking)
    earned = earned_by(name, reading, problem, finished)
    return replace(earned, words=words, latin_words=latin_words)


def earned_by(name: str, reading: Reading, problem: Problem, finished: bool) -> Reward:
    """`score` of a response that has been read; its words are not counted yet."""
    if reading.answer is None:
        right = False
        parsed = False
        why = reading.fault
    else:
        right, parsed, why = check(reading.answer, problem)
    if name in ORIGINALS:
        check_task(name, problem.task)
        total, format_part = ORIGINALS[name](reading.response, problem)
        if not finished:
            why = "hit the length limit"
        return Reward(total, float(right and finished), format_part, f"{why}; paid as published")
    rule = REWARDS[name]
    total, format_part = rule(right, parsed, reading)
    if not finished:
        return Reward(min(total, 0.0), 0.0, min(format_part, 0.0), "hit the length limit")
    if reading.answer is not None:
        faultless = rule(right, parsed, replace(reading, fault=""))
        if faultless != (total, format_part):  # the format cost something
            why += f"; {reading.fault}"
    return Reward(total, float(right), format_part, why)


# How a response states its answer, by the style in which it is read.
TAGGED = "so </think> <answer>{}</answer>"
BOXED = "so \\boxed{{}}"
STATEMENTS = {
    "auto": (TAGGED, BOXED),
    "answer-tag": (TAGGED,),
    "boxed": (BOXED,),
    "last-number": ("#### {}",),
}


def can_be_right(problem: Problem, style: str = "auto") -> bool:
    """Whether a response that states the problem's own answer is right when it is read in `style`.

    A file may hold answers for which none is: nothing could be learned from such a problem.
    """
    for statement in STATEMENTS[style]:
        reading = read_response(statement.replace("{}", problem.answer), style)
        if reading.answer is None:
            continue
        right, _, _ = check(reading.answer, problem)
        if right:
            return True
    return False


# ---------------------------------------------------------------- what R1's rewards look at

# Of r1_scenarios: what no response may say, in small letters, and a summary's most characters.
FORBIDDEN = ("damn", "idiot", "stupid", "shut up")
LONGEST_SUMMARY = 200


def is_forbidden(response: str) -> bool:
    """Whether a response has one of the forbidden words, be it as a part of another word."""
    small = response.lower()
    return any(word in small for word in FORBIDDEN)


def summary_of(response: str) -> str:
    """What a response says after its thinking beside its answer block; "" if it says nothing.

    An answer in a box is part of the summary: it stands within a sentence.
    """
    _, _, shown = response.partition("</think>")
    before, _, block = shown.partition("<answer>")
    _, _, after = block.partition("</answer>")
    return f"{before.strip()} {after.strip()}".strip()


LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
KANA = r"\u3041-\u3096\u30a1-\u30fa"
IDEOGRAPHS = rf"{KANA}\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
LETTERS_OF_MATHEMATICS = r"\u2100-\u214f\U0001d400-\U0001d7ff"
NOT_OTHER = rf"\W\d_{LATIN}{IDEOGRAPHS}{LETTERS_OF_MATHEMATICS}"
WORD = re.compile(
    r"\\[A-Za-z]+"  # a LaTeX command has no group
    rf"|(?P<latin>[{LATIN}]{{2,}})"
    rf"|(?P<other>[{IDEOGRAPHS}]|(?![\u0370-\u03ff]{{2}}\b)[^{NOT_OTHER}]{{2,}})"
)


def count_words(text: str) -> tuple[int, int]:
    """(words, those of them in Latin letters) of a text.

    A word is two letters of one script or more (three in Greek, where two are a product), or one
    ideograph or kana, for these are written without spaces. Single letters, digits, signs,
    mathematical letters and LaTeX commands are none.
    """
    latin = 0
    other = 0
    for word in WORD.finditer(text):
        if word.lastgroup == "latin":
            latin += 1
        elif word.lastgroup == "other":
            other += 1
    return latin + other, latin


def language_share(text: str) -> float | None:
    """Share of the words of a text that are in Latin letters; None if it has no words."""
    words, latin = count_words(text)
    if words == 0:
        return None
    return latin / words
