"""Runs as one HTML page: a file without a server, a network or a dependency.

`html/` holds the page as it is written by hand: page.html, style.css and the scripts, which are put
into one file together with the data. The page has a limit of size: what does not fit stays in the
run's files, and the page says so. Of a group the strips come first, then texts, then tokens.

Texts of a model are data and nothing else: they stand in one JSON block in which `<`, `>` and `&`
are escaped, so that nothing in it ends the block, and the script shows them as text only. A policy
in the page's head lets no script run but the page's own, and nothing be fetched.
"""

import base64
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from evaluation import logs, selection, tokens, why
from evaluation.logs import Group
from evaluation.selection import LONGEST_TEXT, SHORT_QUESTION
from storage import runs
from storage.folders import write_file

HTML = Path(__file__).parent / "html"
SCRIPTS = (
    "text.js",
    "colours.js",
    "curves.js",
    "response.js",
    "rollouts.js",
    "before.js",
    "main.js",
)
MEGABYTES = 5.0  # of a page, unless it is told otherwise
MOST_POINTS = 1000  # lines of metrics of a run
# What of a line of tokens.jsonl the page shows of a response.
OF_TOKENS = ("ids", "logprobs", "entropy", "likeliest", "their_logprobs", "log_ratio", "clipped")


@dataclass
class Run:
    """One run on the page, or one evaluation, which has no metrics."""

    name: str
    about: str  # a line
    config: dict
    metrics: list[dict]
    groups: list[Group]
    elsewhere: str  # where the rollouts are that do not fit


def read_run(folder: str) -> Run:
    """A run's folder, whatever version made it and however far it is."""
    name = Path(folder).resolve().name
    metrics = logs.read_metrics(folder)
    is_done = (Path(folder) / runs.SUMMARY).is_file()
    about = f"{name}: {progress(metrics)}{'' if is_done else ' so far'}"
    elsewhere = (
        f"the others are in {runs.ROLLOUTS} and {runs.TOKENS} (report.py --megabytes makes a "
        "larger page)"
    )
    groups = logs.read_groups(folder)
    return Run(name, about, logs.read_config(folder), metrics, groups, elsewhere)


def progress(metrics: list[dict]) -> str:
    """What a run has come from and to."""
    evaluated = [line for line in metrics if "eval_accuracy" in line]
    steps = f"{metrics[-1]['step']} steps"
    if not evaluated:
        return steps
    first = evaluated[0]
    last = evaluated[-1]
    low, high = last["eval_accuracy_ci"]
    return (
        f"held-out accuracy {first['eval_accuracy']:.3f} at step {first['step']}, "
        f"{last['eval_accuracy']:.3f} [{low:.3f}, {high:.3f}] at step {last['step']}; {steps}"
    )


def write_evaluation(out: str, name: str, settings: dict, found: dict, lines: dict) -> None:
    """Write the page of an evaluation: of each benchmark its figures and its lines."""
    accuracies = []
    groups = []
    for benchmark, figures in found.items():
        low, high = figures["pass@1_ci"]
        accuracies.append(f"{benchmark} {figures['pass@1']:.3f} [{low:.3f}, {high:.3f}]")
        for place, line in enumerate(lines[benchmark]):
            group = logs.outline(line, "eval", place, line)
            group.benchmark = benchmark
            if line["tokens"]:
                group.tokens = line
            groups.append(group)
    about = f"{name}: pass@1 of {', '.join(accuracies)}"
    elsewhere = "eval.py --save writes every response to a file"
    run = Run(name, about, settings, [], groups, elsewhere)
    write_file(Path(out), page_of([run], MEGABYTES))


def write_page(folders: list[str], out: str, megabytes: float = MEGABYTES) -> None:
    """Write the page of these runs."""
    found = [read_run(folder) for folder in folders]
    write_file(Path(out), page_of(found, megabytes))


def page_of(found: list[Run], megabytes: float) -> str:
    """The page of some runs, as large as allowed; with less room it leaves out more."""
    limit = int(megabytes * 1e6)
    room = limit
    while True:
        page = assembled(data_of(found, room))
        if len(page) <= limit or room < limit / 100:
            return page
        room = int(room * 0.8)


# ---------------------------------------------------------------- the file


def assembled(data: dict) -> str:
    """The page with its style, its scripts and its data inside; ASCII."""
    style = read_part("style.css")
    script = "\n".join(read_part(name) for name in SCRIPTS)
    page = read_part("page.html")
    page = page.replace("STYLE_HASH", digest(style)).replace("SCRIPT_HASH", digest(script))
    page = page.replace("/* STYLE */", style).replace("/* SCRIPT */", script)
    return page.replace("DATA", as_json(data), 1)


def read_part(name: str) -> str:
    """A file of the page."""
    return (HTML / name).read_text(encoding="ascii")


def digest(text: str) -> str:
    """How a content security policy names a script or a style: its hash, as base64."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def as_json(data) -> str:
    """JSON in ASCII that can stand in a page: it holds no character that begins markup."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


# ---------------------------------------------------------------- the data


def data_of(found: list[Run], room: int) -> dict:
    """What the page shows of some runs in `room` bytes."""
    room -= len(assembled({}))
    described = []
    left_out = []
    for run in found:
        about, missing = description(run)
        described.append(about)
        left_out += missing
    room -= len(as_json(described))
    share = room // len(found)
    groups = []
    for number, run in enumerate(found):
        shown, missing = groups_of(run, share)
        for group in shown:
            groups.append({"run": number, **group})
        left_out += missing
    return {"runs": described, "groups": groups, "left_out": left_out}


def description(run: Run) -> tuple[dict, list[str]]:
    """(a run without its rollouts, sentences on what is left out of it)."""
    lines = run.metrics
    left_out = []
    if len(lines) > MOST_POINTS:
        lines = thinned(lines)
        left_out.append(
            f"{run.name}: curves of {len(lines)} of {len(run.metrics)} logged steps; all are in "
            f"{runs.METRICS}"
        )
    names = {}  # in the order in which they appear
    for line in lines:
        names |= dict.fromkeys(line)
    columns = {name: column(lines, name, digits=5) for name in names}
    ills = []
    for line in run.metrics:
        if "eval_accuracy" in line or line["step"] == 1:  # when train.py warns
            for text in logs.warnings(line):
                ills.append({"step": line["step"], "text": text})
    about = {
        "name": run.name,
        "config": settings_of(run),
        "metrics": columns,
        "about": run.about,
        "warnings": ills[:MOST_POINTS],
    }
    return about, left_out


def settings_of(run: Run) -> dict:
    """A run's settings, without the versions of the programs."""
    settings = dict(run.config)
    settings.pop("versions", None)
    return {name: plain(value) for name, value in settings.items()}


def thinned(lines: list[dict]) -> list[dict]:
    """About MOST_POINTS of the lines: every evaluation as far as there is room, others evenly."""
    every = math.ceil(len(lines) / (MOST_POINTS // 2))
    kept = []
    evaluated = 0
    for i, line in enumerate(lines):
        has_evaluation = "eval_accuracy" in line and evaluated < MOST_POINTS // 2
        evaluated += has_evaluation
        if has_evaluation or i % every == 0 or i == len(lines) - 1:
            kept.append(line)
    return kept


def column(records: list[dict], name: str, digits: int | None = None) -> list:
    """The records' values under a name, with so many digits; None where there is none."""
    return [plain(record.get(name), digits) for record in records]


def plain(value, digits: int | None = None):
    """A logged value with so many digits, or of a list each; None for what is not finite.

    JSON has no such numbers.
    """
    if isinstance(value, list):
        return [plain(part, digits) for part in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    if digits is None:
        return value
    return tokens.short(value, digits)


# ---------------------------------------------------------------- what fits


def groups_of(run: Run, room: int) -> tuple[list[dict], list[str]]:
    """(the groups that the page shows in `room` bytes, sentences on what it leaves out)."""
    chosen = selection.select(run.groups, room)
    shown = []
    for i, group in enumerate(run.groups):
        if i in chosen.strips:
            shown.append(group_data(run, group, chosen.texts[i], chosen.tokens[i]))
    return shown, what_is_missing(run, chosen)


def what_is_missing(run: Run, chosen: selection.Chosen) -> list[str]:
    """What the page leaves out of a run's rollouts, in words."""
    groups = len(run.groups)
    responses = sum(len(group.responses) for group in run.groups)
    recorded = sum(sum(group.with_tokens) for group in run.groups)
    strips = len(chosen.strips)
    with_text = sum(map(len, chosen.texts))
    with_tokens = sum(map(len, chosen.tokens))
    found = []
    if strips < groups:
        found.append(f"{strips} of {groups} groups are in this page")
    if with_text < responses:
        found.append(f"texts of {with_text} of {responses} responses")
    if with_tokens < recorded:
        found.append(f"tokens of {with_tokens} of {recorded} responses that have them")
    if not found:
        return []
    return [f"{run.name}: {', '.join(found)}; {run.elsewhere}"]


# ---------------------------------------------------------------- a group


def group_data(run: Run, group: Group, with_text: set[int], with_tokens: set[int]) -> dict:
    """A group as the page has it: columns for its strips, and more of what is shown whole."""
    data = {
        "step": group.step,
        "kind": group.kind,
        "set": group.benchmark,
        "place": group.place,
        "question": group.question[: LONGEST_TEXT if with_text else SHORT_QUESTION],
        "answer": group.answer[:SHORT_QUESTION],
    }
    for name in ("tokens", "finished", "total", "accuracy", "advantage", "why"):
        data[name] = column(group.responses, name)
    if with_text:
        record = logs.read_line(group.texts)
        details = {}
        if with_tokens:
            details = logs.read_line(group.tokens)
            add_pieces(data, details, with_tokens)
        shown = []
        sides = sides_of(run, group)
        for k, response in enumerate(record["responses"]):
            entry = None
            if k in with_text:
                entry = response_data(run, record, details, response)
                entry["sides"] = sides[k]
            if k in with_tokens:
                of_tokens = details["responses"][k]
                for name in OF_TOKENS:
                    if name in of_tokens:
                        entry[name] = plain(of_tokens[name])
            shown.append(entry)
        data["shown"] = shown
    return data


def add_pieces(data: dict, details: dict, with_tokens: set[int]) -> None:
    """Add the texts of the tokens that are shown, and which of them are no plain text."""
    ids = set()
    for k in with_tokens:
        ids.update(details["responses"][k]["ids"])
        for likeliest in details["responses"][k]["likeliest"]:
            ids.update(likeliest)
    data["pieces"] = {i: details["pieces"][str(i)] for i in sorted(ids)}
    for name in ("special", "parts"):
        data[name] = sorted(ids.intersection(details[name]))


def response_data(run: Run, record: dict, details: dict, response: dict) -> dict:
    """The text of a response and why it was paid."""
    problem = why.problem_of({**record, **details}, run.config)
    style = run.config.get("answer_style", "auto")
    reasons = why.explain(response["text"], problem, response["finished"], style)
    if reasons["answer"] is not None:
        reasons["answer"] = reasons["answer"][:SHORT_QUESTION]
    return {
        "text": response["text"][:LONGEST_TEXT],
        "characters": len(response["text"]),
        "reasons": reasons,
    }


def sides_of(run: Run, group: Group) -> list[dict | None]:
    """Advantages and weights of a group's responses under both methods, by grpo.py.

    What is not trained on has none, nor has a group whose constant L is not known.
    """
    limit = run.config.get("max_new_tokens")
    if group.kind != "train" or not limit:
        return [None] * len(group.responses)
    totals = torch.tensor([response["total"] for response in group.responses])
    lengths = torch.tensor([response["tokens"] for response in group.responses])
    return tokens.both_sides(totals, lengths, limit)
