"""Curves of one or several runs from their metrics.jsonl; works on a run in progress.

    python plot.py runs/countdown-dr_grpo-seed0
    python plot.py runs/grpo runs/dr_grpo --out both.png
"""
import json
from dataclasses import dataclass
from pathlib import Path

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


def read_metrics(folder: str) -> list[dict]:
    """The lines of a run's metrics; a last line that is still being written is left out."""
    path = Path(folder) / "metrics.jsonl"
    if not path.is_file():
        raise Refusal(f"{folder}: no metrics.jsonl there, so no run to plot")
    lines = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            if number < len(path.read_text().splitlines()):
                raise Refusal(f"{path}, line {number}: not JSON") from None
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
    figure.savefig(draft, dpi=110, format=Path(out).suffix.lstrip(".") or "png")
    draft.replace(out)
    plt.close(figure)


def main():
    c, _ = parse(PlotConfig, "curves of one or several runs")
    out = c.out or str(Path(c.runs[-1]) / "curves.png")
    plot(list(c.runs), out, c.smooth, c.title)
    print(out)


if __name__ == "__main__":
    run(main)
