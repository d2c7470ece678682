"""The drawing of `bench.py scaling`: three panels, each with its finding as the title."""

import importlib.util


def draw(path: str, slots: int, rollouts: dict, contexts: dict, groups: dict) -> None:
    """Tokens per second over rollouts and over group size, and time per token over context.

    rollouts, groups: {size: [median, lowest, highest]}. contexts: what `scaling.show_contexts`
    returns, of `slots` rows.
    """
    if not importlib.util.find_spec("matplotlib"):
        print("no plot: matplotlib is not installed (pip install -r requirements-dev.txt)")
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    draw_rates(panels[0], rollouts, "rollouts (groups of 16)")
    draw_contexts(panels[1], contexts, slots)
    draw_rates(panels[2], groups, "responses per prompt (256 rollouts)")
    panels[0].set_title(claim(medians(rollouts)))
    panels[2].set_title(group_claim(medians(groups)))
    for panel, sizes in zip(panels, (rollouts, contexts["rows"], groups)):
        panel.set_xscale("log", base=2)
        panel.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
        panel.minorticks_off()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"plot: {path}")


def medians(rates: dict) -> list[float]:
    """The medians of {size: [median, lowest, highest]}."""
    return [rate[0] for rate in rates.values()]


def draw_rates(panel, rates: dict, label: str) -> None:
    """Useful tokens per second over a size, with the lowest and the highest."""
    middles = []
    below = []
    above = []
    for middle, low, high in rates.values():
        middles.append(middle)
        below.append(middle - low)
        above.append(high - middle)
    panel.errorbar(list(rates), middles, [below, above], marker="o", capsize=3)
    panel.set(xlabel=label, ylabel="useful tokens per second", ylim=(0, None))


def draw_contexts(panel, contexts: dict, slots: int) -> None:
    """Microseconds per decoded token over context: measured, on the line through it, the floor."""
    rows = contexts["rows"]
    measured = []
    on_the_line = []
    floor = []
    for row in rows.values():
        reading = row["bytes"] / contexts["bytes_per_second"]
        measured.append(1e6 * row["seconds"][0] / slots)
        on_the_line.append(1e6 * (contexts["intercept_seconds"] + reading) / slots)
        floor.append(1e6 * row["floor"] / slots)
    sizes = list(rows)
    panel.plot(sizes, measured, "o-", label="measured")
    panel.plot(sizes, on_the_line, "--", label="constant + bytes / bandwidth")
    panel.plot(sizes, floor, ":", label="floor")
    panel.set(
        xlabel=f"context, tokens a row ({slots} rows)",
        ylabel="microseconds per decoded token",
        ylim=(0, None),
    )
    panel.legend()
    panel.set_title(f"Bytes read explain {contexts['explained']:.1%} of the time per token")


def claim(rates: list[float]) -> str:
    """What the first panel shows, said as its numbers allow."""
    least = min(after / before for before, after in zip(rates, rates[1:]))
    fall = 1 - least
    if fall <= 0:
        return "Tokens per second never fall as rollouts grow"
    return f"Tokens per second fall by {fall:.1%} from size to size"


def group_claim(rates: list[float]) -> str:
    """What the last panel shows."""
    return f"The group size changes the rate by {max(rates) / min(rates):.2f} x at most"
