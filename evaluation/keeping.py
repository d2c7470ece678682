"""Which responses a supervised training keeps, and why it leaves the others out.

A file that eval.py --save wrote holds responses with their problems, and they are graded again
here. If the model that is trained drew them, choosing the right ones is rejection sampling; if
another drew them, it is distillation. The text alone is taken, so the two may have different
tokenizers. A file of plain pairs has no problems to grade by; all other choices are open to it.

The filters are those that R1 names for its 600k samples of reasoning (arXiv 2501.12948, section
2.3.3): wrong answers, mixed languages, long paragraphs and code blocks.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

import reward
import tasks
from config import UserError
from evaluation import responses
from tasks import files, rows
from tasks.pairs import read_pairs
from tasks.problem import decisive_part

KEEP = ("all", "right")
PREFER = ("drawn", "shortest")
LONGEST_HEAD = 100_000  # characters of a first line that may hold the settings of an evaluation


@dataclass(frozen=True)
class Candidate:
    """A response that may be trained on."""

    prompt: str
    response: str
    problem: str  # those that share it answer the same question
    fault: str = ""  # why it is no complete response
    right: bool | None = None  # None: nothing to grade it by


# ---------------------------------------------------------------- from files


def read(path: str, settings, tokenizer, mixed: bool = False) -> list[Candidate]:
    """What is kept of a file; aloud, if it is not everything. UserError if it is nothing.

    settings: those of sft.SFTConfig. mixed: the file is one of --mix. Then plain pairs are taken
    whole: the choice is about reasoning.
    """
    if is_saved(path):
        candidates = from_saved(path, settings.template, tokenizer)
    else:
        how = (settings.prompt_field, settings.response_field, settings.template, tokenizer)
        candidates = from_pairs(read_pairs(path, *how))
        if mixed:
            return candidates
        if settings.keep == "right":
            raise UserError(
                f"--keep right: {path} holds pairs without problems to grade by; eval.py --save "
                "writes a file that has them"
            )

    def count_tokens(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    kept, left_out = chosen(candidates, settings, count_tokens)
    note = told(len(kept), len(candidates), left_out)
    if not kept:
        raise UserError(f"{path}: nothing is left to train on: {note}")
    if left_out or candidates[0].right is not None:
        files.say(path, note)
    return kept


def is_saved(path: str) -> bool:
    """Whether eval.py --save wrote a file, which its first line tells.

    UserError for a pipe or a device, which cannot be read twice.
    """
    rows.check_can_be_read_again(path)
    with open(path, "rb") as file:
        first = file.readline(LONGEST_HEAD)
    try:
        head = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(head, dict) and set(head) == {"config", "responses"}


def from_saved(path: str, template: str | None, tokenizer) -> list[Candidate]:
    """The responses of a file of eval.py --save, each with its prompt in a template.

    template: None takes the file's own. Held-out problems are taken, and are said aloud.
    """
    settings, found = responses.read(path)
    template = template or text_setting(path, settings, "template")
    style = text_setting(path, settings, "answer_style")
    candidates = []
    held_out = {}
    for problems in found.values():
        for problem, drawn in problems:
            # Every reward has the same accuracy: which one it is does not matter.
            graded = responses.grade(problem, drawn, "dr_grpo", style)
            prompt = tasks.prompt(problem, template, tokenizer)
            for response, right in zip(drawn, graded.right):
                text = opened_once(prompt, response.text)
                fault = fault_of(response)
                candidates.append(Candidate(prompt, text, problem.key, fault, right))
            if settings.get("suite") or tasks.split_of(problem.key) == "held-out":
                held_out[problem.key] = problem
    if held_out:
        files.say(
            path,
            f"{len(held_out)} of its problems are held out, and say nothing of a model that is "
            "trained on them: eval.py --split train draws training problems",
        )
    return candidates


def text_setting(path: str, settings: dict, name: str) -> str:
    """A setting of a saved file; UserError if it is no text."""
    value = settings.get(name)
    if not isinstance(value, str):
        raise UserError(f"{path}, line 1: no text in the setting {name!r}: the file is damaged")
    return value


def fault_of(response: responses.Response) -> str:
    """Why a response is not complete, "" if it is: without its stop token nothing ends it."""
    if not response.tokens:
        return "never drawn, the prompt was too long"
    if not response.finished:
        return "cut off by the length limit"
    return ""


def opened_once(prompt: str, response: str) -> str:
    """A response whose thinking opens once, in its prompt or in itself.

    Another template, or a teacher's chat template, may open it where this one does not.
    """
    if prompt.rstrip().endswith("<think>"):
        return response.removeprefix("<think>")
    if "</think>" in response and "<think>" not in response:
        return "<think>" + response
    return response


def from_pairs(pairs: list[tuple[str, str]]) -> list[Candidate]:
    """Plain pairs as candidates: those with one prompt are of one problem."""
    candidates = []
    for prompt, response in pairs:
        candidates.append(Candidate(prompt, response, "pair " + " ".join(prompt.split())))
    return candidates


# ---------------------------------------------------------------- choosing


def chosen(
    candidates: list[Candidate], settings, count_tokens: Callable[[list[str]], list[int]]
) -> tuple[list[Candidate], dict[str, int]]:
    """(those that are kept, {why others are left out: how many}), in their order.

    settings: as of `read`. count_tokens gives the lengths of texts; it is
    called only where a length matters.
    """
    lengths = [0] * len(candidates)
    if settings.max_response_tokens or settings.prefer == "shortest":
        lengths = count_tokens([candidate.response for candidate in candidates])
    left_out = {}
    passed = {}  # problem: its candidates, by their places
    for i, candidate in enumerate(candidates):
        why = why_not(candidate, lengths[i], settings)
        if why:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            passed.setdefault(candidate.problem, []).append(i)
    kept = []
    for places in passed.values():
        kept += first_few(places, lengths, settings)
    beyond = sum(map(len, passed.values())) - len(kept)
    if beyond:
        left_out[f"beyond {settings.per_problem} a problem (--per-problem)"] = beyond
    return [candidates[i] for i in sorted(kept)], left_out


def why_not(candidate: Candidate, tokens: int, settings) -> str:
    """Why a candidate is left out, whatever the others are; "" if it passes."""
    if candidate.fault:
        return candidate.fault
    if settings.keep == "right" and not candidate.right:
        return "wrong (--keep right)"
    if settings.max_response_tokens and tokens > settings.max_response_tokens:
        return "too long (--max-response-tokens)"
    thinking = reward.read_response(candidate.response).thinking
    language = reward.language_share(thinking) or 0.0
    if settings.min_language and language < settings.min_language:
        return "in other languages (--min-language)"
    if settings.drop_code and "```" in candidate.response:
        return "with a code block (--drop-code)"
    if settings.max_paragraph and longest_paragraph(thinking) > settings.max_paragraph:
        return "with a long paragraph (--max-paragraph)"
    return ""


def longest_paragraph(text: str) -> int:
    """Words of the longest paragraph; an empty line ends one."""
    paragraphs = text.split("\n\n")
    return max(len(paragraph.split()) for paragraph in paragraphs)


def first_few(places: list[int], lengths: list[int], settings) -> list[int]:
    """Of one problem's candidates those that are kept: in their order, or the shortest."""
    if not settings.per_problem:
        return places
    if settings.prefer == "shortest":
        places = sorted(places, key=lengths.__getitem__)
    return places[: settings.per_problem]


def told(kept: int, total: int, left_out: dict[str, int]) -> str:
    """What was kept and why the rest was not, in one line."""
    text = f"kept {kept:,} of {total:,} responses"
    reasons = [f"{count:,} {why}" for why, count in left_out.items()]
    if reasons:
        text += "; left out " + ", ".join(reasons)
    return text


# ---------------------------------------------------------------- validation


def fence(candidate: Candidate) -> str:
    """What decides on which side a candidate is: the same question in other words is on one."""
    return decisive_part(candidate.problem)


def for_validation(candidates: list[Candidate], share: float, seed: int) -> frozenset[str]:
    """The fences of a share of the problems, at least one of them and not all.

    A function of the problems, the share and the seed. UserError if there is one problem alone.
    """
    problems = list(dict.fromkeys(map(fence, candidates)))
    if len(problems) < 2:
        raise UserError(
            "--validation holds problems out, and there is one alone: leave --validation out"
        )
    count = min(len(problems) - 1, max(1, round(share * len(problems))))
    rng = random.Random(f"{seed}/validation")
    return frozenset(rng.sample(problems, count))
