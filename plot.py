"""Curves of one or several runs from their metrics.jsonl, and a table of their summaries.

It works on a run in progress.

    python plot.py runs/countdown-dr_grpo-seed0
    python plot.py runs/grpo runs/dr_grpo --out both.png
"""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from config import UserError, parse, run_program, setting

# The four panels: what is drawn, and its unit.
PANELS = (
    ("accuracy: held out (points, 95 % interval), training (thin)", "share right"),
    ("reward (mean)", "reward"),
    ("response length: right (solid), wrong (dashed), all (dotted)", "tokens"),
    ("entropy", "nats per token"),
)


@dataclass(frozen=True)
class PlotConfig:
    """The settings of a picture."""

    runs: tuple = setting((), "run folders", positional=True)
    out: str | None = setting(
        None, "picture to write; by default curves.png in the last run's folder"
    )
    smooth: int = setting(5, "steps that a training curve is averaged over")
    title: str = setting("", "a line above the picture")

    def __post_init__(self):
        if not self.runs:
            raise UserError("name a run folder: python plot.py runs/NAME [runs/OTHER ...]")
        if self.smooth < 1:
            raise UserError("--smooth must be at least 1")
        if self.out and Path(self.out).suffix not in (".png", ".pdf", ".svg"):
            raise UserError(f"--out {self.out}: choose a name that ends in .png, .pdf or .svg")


# ---------------------------------------------------------------- what a run has logged


def read_metrics(folder: str) -> list[dict]:
    """The lines of a run's metrics; a last line that is still being written is left out."""
    path = Path(folder) / "metrics.jsonl"
    if not path.is_file():
        raise UserError(f"{folder}: no metrics.jsonl there, so no run to plot")
    texts = path.read_bytes().splitlines()
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            int(line["step"])  # a step's line has a number
            lines.append(line)
        except (ValueError, TypeError, KeyError):
            if number < len(texts):
                raise UserError(f"{path}, line {number}: not JSON of a step") from None
    if not lines:
        raise UserError(f"{path} is empty: the run has not logged a step yet")
    return lines


def series(lines: list[dict], key: str, smooth: int = 1) -> tuple[list[int], list[float]]:
    """(steps, values) of the lines in which `key` has a value.

    Each value is the mean of itself and of up to `smooth` - 1 values before it.
    """
    steps = []
    values = []
    means = []
    for line in lines:
        if line.get(key) is None:
            continue
        steps.append(line["step"])
        values.append(line[key])
        latest = values[-smooth:]
        means.append(sum(latest) / len(latest))
    return steps, means


# ---------------------------------------------------------------- the picture


def draw_run(axes, lines: list[dict], name: str, color, smooth: int) -> None:
    """Add one run to the four panels: accuracy, reward, length, entropy."""
    accuracy, reward, length, entropy = axes
    draw_accuracy(accuracy, lines, name, color, smooth)
    reward.plot(*series(lines, "reward", smooth), color=color, label=name)
    length_right = series(lines, "length_right", smooth)
    length_wrong = series(lines, "length_wrong", smooth)
    length.plot(*length_right, color=color, label=f"{name}: right")
    length.plot(*length_wrong, color=color, ls="--", label=f"{name}: wrong")
    length.plot(*series(lines, "length", smooth), color=color, ls=":", alpha=0.6)
    entropy.plot(*series(lines, "entropy", smooth), color=color, label=name)


def draw_accuracy(panel, lines: list[dict], name: str, color, smooth: int) -> None:
    """Training accuracy as a thin line, held-out accuracy as points with their intervals."""
    panel.plot(*series(lines, "accuracy", smooth), color=color, alpha=0.4, lw=1)
    steps, held_out = series(lines, "eval_accuracy")
    below = []
    above = []
    for line in lines:
        if line.get("eval_accuracy") is not None:
            low, high = line["eval_accuracy_ci"]
            below.append(line["eval_accuracy"] - low)
            above.append(high - line["eval_accuracy"])
    panel.errorbar(
        steps,
        held_out,
        yerr=[below, above],
        color=color,
        marker="o",
        ms=4,
        capsize=2,
        label=name,
    )


def plot(folders: list[str], out: str, smooth: int = 5, title: str = "") -> None:
    """Write one picture of all runs to `out`."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("plot.py needs matplotlib: pip install -r requirements-dev.txt") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    axes = grid.flatten()
    for i, folder in enumerate(folders):
        draw_run(axes, read_metrics(folder), Path(folder).name, f"C{i}", smooth)
    for panel, (heading, unit) in zip(axes, PANELS):
        panel.set(title=heading, xlabel="step", ylabel=unit)
        panel.grid(alpha=0.3)
        labelled, _ = panel.get_legend_handles_labels()
        if labelled:
            panel.legend(fontsize=8)
    axes[0].set_ylim(0, 1)
    if title:
        figure.suptitle(title)
    write_picture(figure, Path(out))
    plt.close(figure)


def write_picture(figure, out: Path) -> None:
    """Write beside the place, then rename into it: a picture is whole or as it was."""
    draft = out.with_name(f".{out.name}")
    figure.savefig(draft, dpi=110, format=out.suffix.lstrip("."))
    draft.replace(out)


# ---------------------------------------------------------------- the table


def table(folders: list[str]) -> str:
    """The summaries of finished runs as a Markdown table, with the median of several."""
    rows = []
    summaries = []
    for folder in folders:
        file = Path(folder) / "summary.json"
        if file.is_file():
            summary = json.loads(file.read_text())
            rows.append(summary_row(Path(folder).name, summary))
            summaries.append(summary)
    if not summaries:
        return ""
    head = [
        "| run | before | after | 95 % interval | length before | after | steps | seconds |",
        "|---" * 8 + "|",
    ]
    if len(summaries) > 1:
        rows.append(median_row(summaries))
    return "\n".join(head + rows)


def summary_row(name: str, summary: dict) -> str:
    """One finished run."""
    low, high = summary["accuracy_after_ci"]
    return (
        f"| {name} | {summary['accuracy_before']:.3f} | {summary['accuracy_after']:.3f} "
        f"| {low:.3f} to {high:.3f} "
        f"| {summary['length_before']:.0f} | {summary['length_after']:.0f} "
        f"| {summary['steps']} | {summary['seconds']:.0f} |"
    )


def median_row(summaries: list[dict]) -> str:
    """The median of every figure over the runs; an interval and a number of steps have none."""

    def middle(key: str) -> float:
        return median(summary[key] for summary in summaries)

    return (
        f"| median | {middle('accuracy_before'):.3f} | {middle('accuracy_after'):.3f} | "
        f"| {middle('length_before'):.0f} | {middle('length_after'):.0f} | "
        f"| {middle('seconds'):.0f} |"
    )


def main():
    settings, _ = parse(
        PlotConfig, "curves of one or several runs, and a table of those that are done"
    )
    folders = list(settings.runs)
    out = settings.out
    if not out:
        out = str(Path(folders[-1]) / "curves.png")
    plot(folders, out, settings.smooth, settings.title)
    finished = table(folders)
    if not finished:
        finished = "no run is done yet"
    print(finished)
    print(out)


if __name__ == "__main__":
    run_program(main)
