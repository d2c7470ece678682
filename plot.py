"""Curves of one or several runs from their metrics.jsonl, and a table of their summaries; works on a run in progress.

    python plot.py runs/countdown-dr_grpo-seed0
    python plot.py runs/grpo runs/dr_grpo --out both.png
"""
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from config import Refusal, parse, run, setting


@dataclass(frozen=True)
class PlotConfig:
    runs: tuple = setting((), "run folders", positional=True)
    out: str | None = setting(None, "picture to write; by default curves.png in the last run's folder")
    smooth: int = setting(5, "steps that a training curve is averaged over")
    title: str = setting("", "a line above the picture")

    def __post_init__(self):
        if not self.runs:
            raise Refusal("name a run folder: python plot.py runs/NAME [runs/OTHER ...]")
        if self.smooth < 1:
            raise Refusal("--smooth must be at least 1")
        if self.out and Path(self.out).suffix not in (".png", ".pdf", ".svg"):
            raise Refusal(f"--out {self.out}: choose a name that ends in .png, .pdf or .svg")


def read_metrics(folder: str) -> list[dict]:
    """The lines of a run's metrics; a last line that is still being written is left out."""
    path = Path(folder) / "metrics.jsonl"
    if not path.is_file():
        raise Refusal(f"{folder}: no metrics.jsonl there, so no run to plot")
    lines, texts = [], path.read_bytes().splitlines()
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            int(line["step"])  # a step's line has a number
            lines.append(line)
        except (ValueError, TypeError, KeyError):
            if number < len(texts):
                raise Refusal(f"{path}, line {number}: not JSON of a step") from None
    if not lines:
        raise Refusal(f"{path} is empty: the run has not logged a step yet")
    return lines


def series(lines: list[dict], key: str, smooth: int = 1) -> tuple[list[int], list[float]]:
    """(steps, values) where `key` has a value, each the mean of itself and up to `smooth` - 1 values before it."""
    points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
    values = [value for _, value in points]
    means = [sum(part) / len(part) for part in (values[max(0, i + 1 - smooth):i + 1] for i in range(len(values)))]
    return [step for step, _ in points], means


def draw_run(axes, lines: list[dict], name: str, color, smooth: int) -> None:
    """Add one run to the four panels: accuracy, reward, length, entropy."""
    accuracy, reward, length, entropy = axes
    accuracy.plot(*series(lines, "accuracy", smooth), color=color, alpha=0.4, lw=1)
    steps, held_out = series(lines, "eval_accuracy")
    bounds = [line["eval_accuracy_ci"] for line in lines if line.get("eval_accuracy") is not None]
    errors = [[v - low for v, (low, _) in zip(held_out, bounds)], [high - v for v, (_, high) in zip(held_out, bounds)]]
    accuracy.errorbar(steps, held_out, yerr=errors, color=color, marker="o", ms=4, capsize=2, label=name)
    reward.plot(*series(lines, "reward", smooth), color=color, label=name)
    length.plot(*series(lines, "length_right", smooth), color=color, label=f"{name}: right")
    length.plot(*series(lines, "length_wrong", smooth), color=color, ls="--", label=f"{name}: wrong")
    length.plot(*series(lines, "length", smooth), color=color, ls=":", alpha=0.6)
    entropy.plot(*series(lines, "entropy", smooth), color=color, label=name)


def plot(folders: list[str], out: str, smooth: int = 5, title: str = "") -> None:
    """Write one picture of all runs to `out`."""
    try:
        import matplotlib
    except ImportError:
        raise Refusal("plot.py needs matplotlib: pip install -r requirements-dev.txt") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, grid = plt.subplots(2, 2, figsize=(11, 7), constrained_layout=True)
    axes = grid.flatten()
    for i, folder in enumerate(folders):
        draw_run(axes, read_metrics(folder), Path(folder).name, f"C{i}", smooth)
    titles = ("accuracy: held out (points, 95 % interval), training (thin)", "reward (mean)",
              "response length: right (solid), wrong (dashed), all (dotted)", "entropy")
    units = ("share right", "reward", "tokens", "nats per token")
    for ax, heading, unit in zip(axes, titles, units):
        ax.set(title=heading, xlabel="step", ylabel=unit)
        ax.grid(alpha=0.3)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
    axes[0].set_ylim(0, 1)
    if title:
        figure.suptitle(title)
    draft = Path(out).with_name(f".{Path(out).name}")
    figure.savefig(draft, dpi=110, format=Path(out).suffix.lstrip("."))
    draft.replace(out)
    plt.close(figure)


def table(folders: list[str]) -> str:
    """The summaries of finished runs as a Markdown table, with the median of several."""
    found = [(Path(f).name, json.loads((Path(f) / "summary.json").read_text())) for f in folders
             if (Path(f) / "summary.json").is_file()]
    if not found:
        return ""
    lines = ["| run | before | after | 95 % interval | length before | after | steps | seconds |", "|---" * 8 + "|"]
    for name, s in found:
        low, high = s["accuracy_after_ci"]
        lines.append(f"| {name} | {s['accuracy_before']:.3f} | {s['accuracy_after']:.3f} | {low:.3f} to {high:.3f} | "
                     f"{s['length_before']:.0f} | {s['length_after']:.0f} | {s['steps']} | {s['seconds']:.0f} |")
    if len(found) > 1:
        before, after, length_before, length_after, seconds = (median(s[key] for _, s in found) for key in (
            "accuracy_before", "accuracy_after", "length_before", "length_after", "seconds"))
        lines.append(f"| median | {before:.3f} | {after:.3f} | | {length_before:.0f} | {length_after:.0f} | | {seconds:.0f} |")
    return "\n".join(lines)


def main():
    c, _ = parse(PlotConfig, "curves of one or several runs, and a table of those that are done")
    out = c.out or str(Path(c.runs[-1]) / "curves.png")
    plot(list(c.runs), out, c.smooth, c.title)
    print(table(list(c.runs)) or "no run is done yet")
    print(out)


if __name__ == "__main__":
    run(main)
