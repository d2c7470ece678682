"""What the experiments draw with: a legend under the panels, bars and bands over seeds."""

from statistics import mean


def legend(figure, axes, columns: int = 4) -> None:
    """Name the arms of one panel under all of them, where the names hide no curve."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def bar(axes, position: float, values: list[float], **style) -> None:
    """A bar of the mean over seeds, with their range."""
    middle = mean(values)
    range_of_seeds = [[middle - min(values)], [max(values) - middle]]
    axes.bar(position, middle, yerr=range_of_seeds, capsize=3, **style)


def band(axes, curves: list[list[float | None]], label: str, smooth: int = 10, **style) -> None:
    """A curve by step: the mean over seeds and their range, smoothed over `smooth` steps."""
    by_seed = [smoothed(values, smooth) for values in curves]
    middle = []
    lowest = []
    highest = []
    for values in zip(*by_seed):
        middle.append(mean(values))
        lowest.append(min(values))
        highest.append(max(values))
    steps = range(1, len(middle) + 1)
    (line,) = axes.plot(steps, middle, label=label, **style)
    axes.fill_between(steps, lowest, highest, color=line.get_color(), alpha=0.15, lw=0)


def smoothed(values: list[float | None], width: int) -> list[float]:
    """At each step the mean of what is known of the last `width` values; NaN if nothing is."""
    means = []
    for i in range(len(values)):
        recent = values[max(0, i + 1 - width) : i + 1]
        known = [value for value in recent if value is not None]
        if known:
            means.append(mean(known))
        else:
            means.append(float("nan"))
    return means
