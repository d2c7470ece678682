"""How the cost grows with rollouts, context and group size, each alone.

    python bench.py scaling

It is the sampler on the embedded base, on a CPU. Rollouts: 64 to 4,096 of 16 a prompt, imposed
log-normal lengths. Group size: one number of rollouts in groups of 4 to 64. Context: a decode step
of 16 rows that each see 128 to 4,096 tokens, beside the bytes that it reads, weights and keys and
values, and a straight line through the two. The whole loop over sizes is repeated; figures are
medians.
"""

import os
import sys
from dataclasses import asdict, dataclass, replace

import torch

import model as lm
import tasks
from config import UserError, parse, setting
from sample import Sampling
from speed import curves, floors, measure, side_ours
from speed.floors import Machine
from speed.lengths import lognormal_lengths
from speed.measure import Side
from speed.report import Report, check_json, numbers

GROUP = 16  # responses per prompt, where the number of rollouts grows
ROLLOUTS = 256  # in all, where the group size grows
STEPS = 8  # decode steps in one measurement, around the context asked for


@dataclass(frozen=True)
class ScalingConfig:
    """The sizes."""

    model: str = setting("base", "model folder or hub id")
    repeats: int = setting(3, "measured rounds over all sizes, after one for warming up")
    threads: int = setting(2, "CPU threads")
    rollouts: str = setting("64,256,1024,4096", "numbers of rollouts, groups of 16")
    contexts: str = setting("128,256,512,1024,2048,4096", "tokens that a decoding row sees")
    groups: str = setting("4,8,16,32,64", "group sizes, of 256 rollouts in all")
    rows: int = setting(16, "rows that decode at a time, in the contexts")
    max_new_tokens: int = setting(256, "longest response, tokens; the mean is an eighth")
    json: str = setting("bench-scaling.json", "write all figures to this file")
    plot: str = setting(
        "docs/scaling.png", "draw the three curves here, where matplotlib is installed"
    )

    def __post_init__(self):
        if min(self.repeats, self.threads, self.rows) < 1 or self.max_new_tokens < 8:
            raise UserError(
                "--repeats, --threads and --rows must be at least 1, --max-new-tokens at least 8"
            )
        rollouts = numbers("--rollouts", self.rollouts)
        contexts = numbers("--contexts", self.contexts)
        groups = numbers("--groups", self.groups)
        if min(len(rollouts), len(contexts), len(groups)) < 2:
            raise UserError(
                "--rollouts, --contexts and --groups need two sizes at least: a curve is drawn"
            )
        if any(n % GROUP for n in rollouts) or any(ROLLOUTS % n for n in groups):
            raise UserError("--rollouts must be multiples of 16, --groups divisors of 256")
        check_json(self.json)
        check_json(self.plot)


# ---------------------------------------------------------------- what is measured


def longer(model: lm.Transformer, context: int) -> lm.Transformer:
    """The same weights in a model with room for `context` tokens.

    What it would say there does not matter here.
    """
    found = lm.Transformer(replace(model.config, max_position_embeddings=context))
    found.load_state_dict(model.state_dict(), assign=True)
    return found


def rollout_sides(
    model, tokenizer, max_new_tokens: int, sizes: list[tuple[int, int]]
) -> tuple[dict[str, Side], dict[str, int]]:
    """(sides, useful tokens) by name, for sizes (rollouts, group size)."""
    sides = {}
    tokens = {}
    for n, group in sizes:
        limits = lognormal_lengths(n, max_new_tokens / 8, 0)
        name = size_name(n, group)
        sides[name] = Side(rollout_call(model, tokenizer, group, limits, max_new_tokens))
        tokens[name] = sum(limits)
    return sides, tokens


def size_name(rollouts: int, group: int) -> str:
    return f"{rollouts} x {group}"


def rollout_call(model, tokenizer, group: int, limits: list[int], max_new_tokens: int):
    """A call of our sampler that draws as many rollouts as there are limits."""
    problems = tasks.make_problems("countdown", "train", "bench", len(limits) // group)
    prompts = tasks.encode_prompts(problems, "short", tokenizer, model.config.vocab_size)
    sampling = Sampling(max_new_tokens)

    def call():
        side_ours.our_rollouts(model, tokenizer, prompts, group, limits, sampling, 0)

    return call


def context_sides(model, rows: int, contexts: list[int]) -> dict[str, Side]:
    """Decode steps by name, for numbers of tokens that a row sees."""
    sides = {}
    for context in contexts:
        sides[context_name(context)] = Side(side_ours.our_decode(model, rows, context, STEPS))
    return sides


def context_name(context: int) -> str:
    return f"context {context}"


# ---------------------------------------------------------------- what is said


def line_through(x: list[float], y: list[float]) -> tuple[float, float, float]:
    """Least squares: (intercept, slope, the share of y's variance that the line explains)."""
    mean_x = sum(x) / len(x)
    mean_y = sum(y) / len(y)
    xx = 0.0
    yy = 0.0
    xy = 0.0
    for a, b in zip(x, y):
        xx += (a - mean_x) ** 2
        yy += (b - mean_y) ** 2
        xy += (a - mean_x) * (b - mean_y)
    slope = xy / xx
    return mean_y - slope * mean_x, slope, xy**2 / (xx * yy)


def show_rates(
    report: Report,
    title: str,
    unit: str,
    names: dict[int, str],
    times: dict[str, list[float]],
    tokens: dict[str, int],
) -> dict[int, list[float]]:
    """A table of useful tokens per second; returns {size: [median, lowest, highest]}.

    names: what the side of each size is called.
    """
    rates = {}
    lines = [f"\n{title}"]
    for size, name in names.items():
        rates[size] = measure.spread([tokens[name] / seconds for seconds in times[name]])
        middle, low, high = rates[size]
        lines.append(f"  {size:>6} {unit:<12}{middle:>10,.0f} tokens/s [{low:,.0f}, {high:,.0f}]")
    report.add(title, rates, "\n".join(lines))
    return rates


def show_contexts(
    report: Report,
    model,
    slots: int,
    contexts: list[int],
    times: dict[str, list[float]],
    machine: Machine,
) -> dict:
    """A table of a decode step's time beside the bytes that it reads, and the line through both."""
    rows = {}
    sizes = []
    medians = []
    for context in contexts:
        size, operations = floors.decode_work(model, slots, context)
        floor, _ = machine.floor(size, operations)
        seconds = measure.spread(times[context_name(context)])
        rows[context] = {"seconds": seconds, "bytes": size, "floor": floor}
        sizes.append(size)
        medians.append(seconds[0])
    start, slope, explained = line_through(sizes, medians)
    lines = [
        f"\ncontext, {slots} rows: weights {floors.weight_bytes(model) / 1e6:.1f} MB and "
        f"{floors.kv_bytes(model)} bytes for each token of context"
    ]
    for context, row in rows.items():
        taken = 1e6 * row["seconds"][0] / slots
        least = 1e6 * row["floor"] / slots
        lines.append(
            f"  {context:>6} tokens {taken:>10,.1f} us a decoded token, "
            f"{row['bytes'] / 1e6:>8,.1f} MB a step, floor {least:,.1f} us"
        )
    lines.append(
        f"  a step is {1e6 * start:,.0f} us + bytes at {1 / slope / 1e9:,.1f} GB/s, "
        f"which explains {explained:.1%} of the differences "
        f"(a copy moves {machine.bandwidth / 1e9:,.1f} GB/s)"
    )
    found = {
        "rows": rows,
        "intercept_seconds": start,
        "bytes_per_second": 1 / slope,
        "explained": explained,
    }
    report.add("context", found, "\n".join(lines))
    return found


def main(argv: list[str] | None = None) -> None:
    settings, _ = parse(
        ScalingConfig,
        "how the sampler's cost grows with rollouts, context and group size, on a CPU",
        argv,
    )
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.set_num_threads(settings.threads)
    cpu = torch.device("cpu")
    report = Report(settings, cpu)
    machine = floors.measure_machine(cpu, torch.float32, 2**28, 2048)
    report.add(
        "machine",
        asdict(machine),
        f"copies {machine.bandwidth / 1e9:,.1f} GB/s, matrix products "
        f"{machine.rate / 1e9:,.0f} GFLOP/s",
    )
    # 1. What is measured: two curves of rollouts, one of contexts.
    model, tokenizer = lm.load(settings.model)
    model.stop_ids = ()  # lengths are imposed
    rollouts = numbers("--rollouts", settings.rollouts)
    contexts = numbers("--contexts", settings.contexts)
    groups = numbers("--groups", settings.groups)
    sizes = [(n, GROUP) for n in rollouts] + [(ROLLOUTS, group) for group in groups]
    sides, tokens = rollout_sides(model, tokenizer, settings.max_new_tokens, sizes)
    long = longer(model, max(contexts) + STEPS)
    sides |= context_sides(long, settings.rows, contexts)
    # 2. All of them, in turns.
    times = measure.take_turns(sides, settings.repeats, float("inf"), cpu)
    # 3. Tables and the drawing.
    by_rollouts = {n: size_name(n, GROUP) for n in rollouts}
    rates = show_rates(report, "rollouts", "rollouts", by_rollouts, times, tokens)
    steps = show_contexts(report, long, settings.rows, contexts, times, machine)
    by_group = {group: size_name(ROLLOUTS, group) for group in groups}
    group_rates = show_rates(report, "group size", "a prompt", by_group, times, tokens)
    curves.draw(settings.plot, settings.rows, rates, steps, group_rates)
    print(f"all figures: {settings.json}", file=sys.stderr)
