"""The last lines of a training: a problem before and after, the gain, what to type next."""

import shlex
from pathlib import Path

from evaluation import logs, statistics
from storage import runs

LONGEST = 600  # characters of a response


def last_lines(folder: str) -> str:
    """What a person sees when the training of a run's folder has ended."""
    history = held_out_history(folder)
    parts = []
    question = ""
    if history:
        first, last = telling(history)
        question = first["question"]
        parts.append(f"A held-out problem: {visible(question)}")
        parts.append(described("the base", first))
        parts.append(described("now", last))
    gain = gain_of(folder)
    if gain:
        parts.append(gain)
    parts.append("Next:")
    for command in next_commands(folder, question):
        parts.append("  " + shlex.join(command))
    parts.append(f"The run as a page: {Path(folder) / runs.PAGE}")
    return "\n".join(parts)


def held_out_history(folder: str) -> list[tuple[dict, dict]]:
    """Of each held-out problem that is kept, its lines at the first and at the last evaluation."""
    by_place = {}
    for group in logs.read_groups(folder):
        if group.kind == "held-out":
            by_place.setdefault(group.place, []).append(group)
    history = []
    for groups in by_place.values():
        history.append((logs.read_line(groups[0].texts), logs.read_line(groups[-1].texts)))
    return history


def telling(history: list[tuple[dict, dict]]) -> tuple[dict, dict]:
    """The first problem that was answered wrong and is now answered right; else the first one."""
    for first, last in history:
        if first["responses"][0]["accuracy"] < last["responses"][0]["accuracy"]:
            return first, last
    return history[0]


def described(who: str, line: dict) -> str:
    """A response and its verdict."""
    response = line["responses"][0]
    text = visible(response["text"])
    if len(text) > LONGEST:
        text = f"{text[:LONGEST]} ... ({len(text) - LONGEST} characters more)"
    text = text.replace("\n", "\n    ")
    return f"  {who}, {visible(verdict(response))}:\n    {text}"


def verdict(response: dict) -> str:
    """Right, or wrong and why."""
    if response["accuracy"] == 1.0:
        return response["why"]
    return f"wrong: {response['why']}"


def visible(text: str) -> str:
    """A text for a terminal: what does not print, but for line breaks, is written out."""
    shown = []
    for character in text:
        if character == "\n" or character.isprintable():
            shown.append(character)
        else:
            shown.append(f"<U+{ord(character):04X}>")
    return "".join(shown)


def gain_of(folder: str) -> str:
    """The gain from the first evaluation to the last, "" if there are no two to compare."""
    found = logs.evaluations(folder)
    if len(found) < 2:
        return ""
    before = found[min(found)]
    after = found[max(found)]
    if len(before) != len(after):
        return ""
    gain, low, high = statistics.paired_gain(before, after)
    return (
        f"Gain: {gain:+.3f} [{low:+.3f}, {high:+.3f}], 95 % interval, "
        f"on the same {len(before)} held-out problems"
    )


def next_commands(folder: str, question: str) -> list[list[str]]:
    """The three commands that a person would type next; question: a held-out one, "" if none is."""
    checkpoint = runs.checkpoints(Path(folder))[-1]
    steps = runs.step_of(checkpoint)
    template = logs.read_config(folder).get("template", "short")
    flags = [] if template == "short" else ["--template", template]
    look = ["python", "report.py", folder, "--open"]
    go_on = ["python", "train.py", "--resume", folder, "--steps", str(2 * steps)]
    # sample.py states no problem of its own, as this template asks for.
    if not question or template == "tinyzero":
        try_it = [
            "python",
            "eval.py",
            "--model",
            str(checkpoint),
            *flags,
            "--html",
            "responses.html",
        ]
    else:
        try_it = [
            "python",
            "sample.py",
            "--model",
            str(checkpoint),
            *flags,
            visible(question),
            "-n",
            "4",
        ]
    return [look, try_it, go_on]
