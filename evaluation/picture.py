"""The curves of one or several runs as one picture, by matplotlib, for papers and READMEs."""

from pathlib import Path

from config import UserError
from evaluation.logs import read_metrics

# The four panels: what is drawn, and its unit.
PANELS = (
    ("accuracy: held out (points, 95 % interval), training (thin)", "share right"),
    ("reward (mean)", "reward"),
    ("response length: right (solid), wrong (dashed), all (dotted)", "tokens"),
    ("entropy", "nats per token"),
)


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
        raise UserError("a picture needs matplotlib: pip install -r requirements-dev.txt") from None
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
