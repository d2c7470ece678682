"""Where in a response the answer stands. What it is worth is reward.py's business.

A response is what follows the prompt, without special tokens. Most templates end in `<think>`, so it may or may not
begin with one of its own. The format: optional `<think>`, thinking that is not blank, the only `</think>`, white space,
the only `<answer>...</answer>` with something in it, white space, the end; none of the four tags anywhere else.

An answer asks for less: the only `</think>`, and after it exactly one answer block, whatever stands around the block. An
answer inside the thinking is no answer (a `<think>` that nothing closes makes all that follows it thinking); two blocks
are hedging and no answer either. Where no answer tag follows the thinking, the last balanced `\\boxed{...}` is the
answer, and also where the one block holds boxes: of several boxes the last counts. That is the style `auto`. It does not
see the template, so a box counts after a template that asked for tags, too. The other styles read one place alone.

Text is untrusted and may be a megabyte: tags are counted, no scan goes twice over the same part, numbers have a longest
length. Left out on purpose: answers in words ("the answer is five"), anything a model has to judge.
"""
import re
from dataclasses import dataclass, replace

from config import Refusal
from grader import last_boxed

STYLES = ("auto", "boxed", "answer-tag", "last-number")
LONGEST_NUMBER = 100  # characters of the last number: what is longer is no answer
TAGS = ("<think>", "</think>", "<answer>", "</answer>")
NUMBER = re.compile(r"(?:(?<![\w)\]}])[-+−])?"  # after a digit, a letter or a bracket it is an operator, not a sign
                    r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![.0-9])\.[0-9]+)")


@dataclass(frozen=True)
class Reading:
    thinking: str  # what stands before </think>, without a leading <think>; everything if there is no </think>
    answer: str | None  # the one answer as written, never blank; None if there is none
    tagged: bool  # whether the answer stood in tags (else in a box)
    fault: str  # "" if the format holds, else what breaks it; without an answer, why there is none


def read_tags(response: str) -> Reading:
    """The style `auto`: an answer block, else a box."""
    before, closed, after = response.partition("</think>")
    thinking = before.strip().removeprefix("<think>")
    if "</think>" in after:
        return Reading(thinking, None, False, "two </think>")
    shown = (after if closed else response).partition("<think>")[0]  # thinking that starts again is not shown
    if "<answer>" not in shown and "</answer>" not in shown:
        boxed = last_boxed(shown)
        fault = "no answer" if boxed is None else "no answer tags" if boxed.strip() else "the answer is empty"
        return Reading(thinking, (boxed or "").strip() or None, False, fault)
    gap, _, block = shown.partition("<answer>")
    inside, ended, _ = block.partition("</answer>")
    if not closed:
        return Reading(thinking, None, True, "no </think> before the answer")
    if "<answer>" in block:
        return Reading(thinking, None, True, "two answers")
    if not ended or shown.count("</answer>") > 1:
        return Reading(thinking, None, True, "the answer tags do not match")
    boxed = last_boxed(inside)
    answer = (inside if boxed is None else boxed).strip()
    if not answer:
        return Reading(thinking, None, True, "the answer is empty")
    return Reading(thinking, answer, True, format_fault(thinking, gap, after.partition("</answer>")[2]))


def format_fault(thinking: str, gap: str, rest: str) -> str:
    """What is wrong around an answer block: `gap` stands before it, after `</think>`; `rest` after it."""
    if not thinking.strip():
        return "no thinking"
    if any(tag in thinking for tag in TAGS):
        return "a tag inside the thinking"
    if gap.strip():
        return "text before the answer"
    return "text after the answer" if rest.strip() else ""


def last_number(text: str) -> str | None:
    """GSM8K's answer: the line after the last `####`, else the last number, as written.

    A number may have a sign, thousands commas and decimals; a full stop after it is not part of it.
    """
    _, marked, after = text.rpartition("####")
    if marked:
        return after.strip().partition("\n")[0].strip().removesuffix(".")
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    start = max(0, end - LONGEST_NUMBER)
    found = list(NUMBER.finditer(text, start, end))  # within the last characters only: a response may be all numbers
    if not found or 0 < start == found[-1].start():  # it may begin before what was searched
        return None
    return found[-1][0].replace("−", "-")


def read_response(response: str, style: str = "auto") -> Reading:
    """Split a response into thinking and answer and say what breaks the format; Refusal for an unknown style.

    `auto` reads tags or a box, `answer-tag` the one answer block alone (rules: top of the file). `boxed` reads the last
    box and `last-number` what GSM8K counts; these two know no format. In every style marked thinking holds no answer.
    """
    if style not in STYLES:
        raise Refusal(f"unknown answer style {style!r}: choose {', '.join(STYLES)}")
    if style in ("auto", "answer-tag"):
        reading = read_tags(response)
        return reading if style == "auto" or reading.tagged else replace(reading, answer=None)
    thinking = response.partition("</think>")[0].strip().removeprefix("<think>")
    shown = response.rpartition("</think>")[2].partition("<think>")[0]
    answer = last_boxed(shown) if style == "boxed" else last_number(shown)
    return Reading(thinking, (answer or "").strip() or None, False, "" if answer and answer.strip() else "no answer")


def extract_answer(response: str, style: str = "auto") -> str | None:
    """The one answer of a response with runs of white space made single spaces, or None: what majority votes count."""
    answer = read_response(response, style).answer
    return None if answer is None else " ".join(answer.split())
