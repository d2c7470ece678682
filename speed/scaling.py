"""How the cost grows: rollouts, context, group size, each alone; the sampler on the embedded base, on a CPU.

    python bench.py scaling

Rollouts: 64 to 4,096 of 16 a prompt, imposed log-normal lengths. Group size: one number of rollouts in groups of 4 to 64.
Context: a decode step of 16 rows that each see 128 to 4,096 tokens, beside the bytes that it reads, weights and keys and
values, and a straight line through the two. The whole loop over sizes is repeated; figures are medians.
"""
import importlib.util
import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import model as lm
import tasks
from config import Refusal, parse, setting
from sample import Sampling
from speed import measure, sides
from speed.measure import Machine, Side
from speed.report import Report, check_json, numbers


@dataclass(frozen=True)
class ScalingConfig:
    model: str = setting("base", "model folder or hub id")
    repeats: int = setting(3, "measured rounds over all sizes, after one for warming up")
    threads: int = setting(2, "CPU threads")
    rollouts: str = setting("64,256,1024,4096", "numbers of rollouts, groups of 16")
    contexts: str = setting("128,256,512,1024,2048,4096", "tokens that a decoding row sees")
    groups: str = setting("4,8,16,32,64", "group sizes, of 256 rollouts in all")
    rows: int = setting(16, "rows that decode at a time, in the contexts")
    max_new_tokens: int = setting(256, "longest response, tokens; the mean is an eighth")
    json: str = setting("bench-scaling.json", "write all figures to this file")
    plot: str = setting("docs/scaling.png", "draw the three curves here, where matplotlib is installed")

    def __post_init__(self):
        if min(self.repeats, self.threads, self.rows, self.max_new_tokens - 7) < 1:
            raise Refusal("--repeats, --threads and --rows must be at least 1, --max-new-tokens at least 8")
        lists = {name: numbers(f"--{name}", getattr(self, name)) for name in ("rollouts", "contexts", "groups")}
        if any(len(sizes) < 2 for sizes in lists.values()):
            raise Refusal("--rollouts, --contexts and --groups need two sizes at least: a curve is drawn")
        if any(n % 16 for n in lists["rollouts"]) or any(256 % n for n in lists["groups"]):
            raise Refusal("--rollouts must be multiples of 16, --groups divisors of 256")
        check_json(self.json)
        check_json(self.plot)


def longer(model: lm.Transformer, context: int) -> lm.Transformer:
    """The same weights in a model with room for `context` tokens; what it would say there does not matter here."""
    found = lm.Transformer(replace(model.config, max_position_embeddings=context))
    found.load_state_dict(model.state_dict(), assign=True)
    return found


def line_through(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Least squares: (intercept, slope, the share of y's variance that the line explains)."""
    mx, my = sum(x) / len(x), sum(y) / len(y)
    sxy, sxx = sum((a - mx) * (b - my) for a, b in zip(x, y)), sum((a - mx) ** 2 for a in x)
    syy = sum((b - my) ** 2 for b in y)
    return my - sxy / sxx * mx, sxy / sxx, sxy ** 2 / (sxx * syy)


def rollout_sides(model, tokenizer, c: ScalingConfig, sizes: list[tuple[int, int]]) -> tuple[dict, dict]:
    """(sides, useful tokens) by name, for sizes (rollouts, group size)."""
    work, tokens = {}, {}
    for n, group in sizes:
        problems = tasks.make_problems("countdown", "train", "bench", n // group)
        prompts = tasks.encode_prompts(problems, "short", tokenizer)
        limits = measure.lognormal_lengths(n, c.max_new_tokens / 8, 0)

        def call(prompts=prompts, group=group, limits=limits):
            sides.ours(model, tokenizer, prompts, group, limits, Sampling(c.max_new_tokens), 0)
        work[f"{n} x {group}"], tokens[f"{n} x {group}"] = Side(call), sum(limits)
    return work, tokens


def show_rates(report: Report, title: str, unit: str, sizes: list[int], names: list[str], times: dict,
               tokens: dict) -> dict:
    """A table of useful tokens per second; returns {size: [median, lowest, highest]}."""
    rates = {size: measure.spread([tokens[name] / s for s in times[name]]) for size, name in zip(sizes, names)}
    lines = [f"\n{title}"] + [f"  {size:>6} {unit:<12}{r[0]:>10,.0f} tokens/s [{r[1]:,.0f}, {r[2]:,.0f}]"
                              for size, r in rates.items()]
    report.add(title, rates, "\n".join(lines))
    return rates


def show_contexts(report: Report, model, c: ScalingConfig, contexts: list[int], times: dict, machine: Machine) -> dict:
    """A table of a decode step's time beside the bytes that it reads, and the line through both."""
    rows = {}
    for context in contexts:
        size, operations = measure.decode_work(model, c.rows, context)
        rows[context] = {"seconds": measure.spread(times[f"context {context}"]), "bytes": size,
                         "floor": machine.floor(size, operations)[0]}
    start, slope, share = line_through([r["bytes"] for r in rows.values()], [r["seconds"][0] for r in rows.values()])
    lines = [f"\ncontext, {c.rows} rows: weights {measure.weight_bytes(model) / 1e6:.1f} MB and "
             f"{measure.kv_bytes(model)} bytes for each token of context"]
    lines += [f"  {context:>6} tokens {1e6 * r['seconds'][0] / c.rows:>10,.1f} us a decoded token, "
              f"{r['bytes'] / 1e6:>8,.1f} MB a step, floor {1e6 * r['floor'] / c.rows:,.1f} us"
              for context, r in rows.items()]
    lines.append(f"  a step is {1e6 * start:,.0f} us + bytes at {1 / slope / 1e9:,.1f} GB/s, which explains {share:.1%} "
                 f"of the differences (a copy moves {machine.bandwidth / 1e9:,.1f} GB/s)")
    found = {"rows": rows, "intercept_seconds": start, "bytes_per_second": 1 / slope, "explained": share}
    report.add("context", found, "\n".join(lines))
    return found


def claim(rates: list[float]) -> str:
    """What the first panel shows, said as its numbers allow."""
    fall = 1 - min(after / before for before, after in zip(rates, rates[1:]))
    return "Tokens per second " + ("never fall as rollouts grow" if fall <= 0 else f"fall by {fall:.1%} from size to size")


def draw(path: str, c: ScalingConfig, rollouts: dict, contexts: dict, groups: dict) -> None:
    """Three panels: tokens per second over rollouts and over group size, time per token over context."""
    if not importlib.util.find_spec("matplotlib"):
        print("no plot: matplotlib is not installed (pip install -r requirements-dev.txt)")
        return
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for ax, rates, label in ((axes[0], rollouts, "rollouts (groups of 16)"),
                             (axes[2], groups, "responses per prompt (256 rollouts)")):
        middle, low, high = zip(*rates.values())
        ax.errorbar(list(rates), middle, [[m - a for m, a in zip(middle, low)], [b - m for m, b in zip(middle, high)]],
                    marker="o", capsize=3)
        ax.set(xlabel=label, ylabel="useful tokens per second", ylim=(0, None))
    rows = contexts["rows"]
    fitted = [contexts["intercept_seconds"] + r["bytes"] / contexts["bytes_per_second"] for r in rows.values()]
    for values, label, style in (([r["seconds"][0] for r in rows.values()], "measured", "o-"),
                                 (fitted, "constant + bytes / bandwidth", "--"),
                                 ([r["floor"] for r in rows.values()], "floor", ":")):
        axes[1].plot(list(rows), [1e6 * v / c.rows for v in values], style, label=label)
    axes[1].set(xlabel=f"context, tokens a row ({c.rows} rows)", ylabel="microseconds per decoded token", ylim=(0, None))
    axes[1].legend()
    for ax, sizes in zip(axes, (rollouts, rows, groups)):
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(sizes), [f"{size:,}" for size in sizes])
        ax.minorticks_off()
    axes[0].set_title(claim([rate[0] for rate in rollouts.values()]))
    axes[1].set_title(f"Bytes read explain {contexts['explained']:.1%} of the time per token")
    middles = [rate[0] for rate in groups.values()]
    axes[2].set_title(f"The group size changes the rate by {max(middles) / min(middles):.2f} x at most")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    print(f"plot: {path}")


def main(argv: list[str] | None = None):
    c, _ = parse(ScalingConfig, "how the sampler's cost grows with rollouts, context and group size, on a CPU", argv)
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(c.threads)
    cpu = torch.device("cpu")
    report, machine = Report(c, cpu), measure.measure_machine(cpu, torch.float32, 2 ** 28, 2048)
    report.add("machine", asdict(machine), f"copies {machine.bandwidth / 1e9:,.1f} GB/s, matrix products "
                                           f"{machine.rate / 1e9:,.0f} GFLOP/s")
    model, tokenizer = lm.load(c.model)
    model.stop_ids = ()  # lengths are imposed
    rollouts, contexts, groups = (numbers("", text) for text in (c.rollouts, c.contexts, c.groups))
    many, tokens = rollout_sides(model, tokenizer, c, [(n, 16) for n in rollouts] + [(256, g) for g in groups])
    long = longer(model, max(contexts) + 8)  # eight steps around the longest
    work = many | {f"context {n}": Side(sides.our_decode(long, c.rows, n, 8)) for n in contexts}
    times = measure.take_turns(work, c.repeats, float("inf"), cpu)
    rates = show_rates(report, "rollouts", "rollouts", rollouts, [f"{n} x 16" for n in rollouts], times, tokens)
    steps = show_contexts(report, long, c, contexts, times, machine)
    by_group = show_rates(report, "group size", "a prompt", groups, [f"256 x {g}" for g in groups], times, tokens)
    draw(str(Path(c.plot)), c, rates, steps, by_group)
    print(f"all figures: {c.json}", file=sys.stderr)
