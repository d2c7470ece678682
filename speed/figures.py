"""The headline's figures, as numbers and as text: what `bench.py cpu` says of rounds."""

from dataclasses import asdict, dataclass
from statistics import mean

from speed.measure import spread

# The sides of the headline, by what they are called in tables and in the file.
OURS = "ours"
EVERY_ROW = "ours, no row left out"
STATIC = "transformers"
CONTINUOUS = "transformers, continuous"
TRL = "TRL"

COLUMNS = {"seconds": 2, "tokens/s": 0, "tokens/s ratio": 2, "seconds ratio": 2}  # decimals


@dataclass(frozen=True)
class Round:
    """One measurement of one side."""

    seconds: float
    tokens: int  # useful ones
    reward: float | None = None  # mean
    # Our step: seconds of its parts, and the share of groups whose rewards are all equal.
    parts: dict | None = None


# ---------------------------------------------------------------- numbers


def figures(found: dict[str, list[Round]], rows: int) -> dict[str, dict]:
    """Figures of each side, [median, lowest, highest] or a mean, without the first round.

    A ratio above 1 says that ours is the faster. Sampler: the ratio of ours to each of theirs
    stands in their line. Step: that of each of ours to TRL's stands in ours.
    """
    measured = {name: rounds[1:] for name, rounds in found.items()}  # the first one warms up
    results = {}
    for name, rounds in measured.items():
        side = figures_of_side(rounds, rows)
        if name in (STATIC, CONTINUOUS):
            side |= ratios(measured[OURS], rounds)
        elif name != TRL and TRL in measured:
            side |= ratios(rounds, measured[TRL])
        if rounds[0].parts:
            side["parts"] = mean_parts(rounds)
        if rounds[0].reward is not None and name != EVERY_ROW:
            side["reward"] = mean(one.reward for one in rounds)
        results[name] = side
    return results


def figures_of_side(rounds: list[Round], rows: int) -> dict:
    """What a side's rounds say by themselves."""
    seconds = []
    rates = []
    tokens = []
    for one in rounds:
        seconds.append(one.seconds)
        rates.append(one.tokens / one.seconds)
        tokens.append(one.tokens)
    return {
        "seconds": spread(seconds),
        "tokens/s": spread(rates),
        "length": mean(tokens) / rows,
        "rounds": [asdict(one) for one in rounds],
    }


def ratios(our_rounds: list[Round], their_rounds: list[Round]) -> dict:
    """How much faster ours is, round by round."""
    by_tokens = []
    by_seconds = []
    for ours, theirs in zip(our_rounds, their_rounds):
        by_tokens.append(ours.tokens / ours.seconds * theirs.seconds / theirs.tokens)
        by_seconds.append(theirs.seconds / ours.seconds)
    return {"tokens/s ratio": spread(by_tokens), "seconds ratio": spread(by_seconds)}


def mean_parts(rounds: list[Round]) -> dict[str, float]:
    """The mean of each part of our step."""
    means = {}
    for part in rounds[0].parts:
        means[part] = mean(one.parts[part] for one in rounds)
    return means


# ---------------------------------------------------------------- text


def table(title: str, found: dict[str, dict]) -> str:
    """One line per side; below ours the parts of its step."""
    heading = f"\n{title:<28}"
    for head in COLUMNS:
        heading += f"{head:<24}"
    lines = [heading + "length  reward"]
    for name, side in found.items():
        line = f"  {name:<26}"
        for head in COLUMNS:
            line += f"{cell(side, head):<24}"
        line += f"{side['length']:6.1f}  "
        line += f"{side['reward']:6.3f}" if "reward" in side else "     -"
        lines.append(line)
        if "parts" in side:
            lines.append("    " + parts_of(side["parts"]))
    return "\n".join(lines)


def cell(side: dict, head: str) -> str:
    """Median, lowest and highest of a figure, or a dash where a side has none."""
    if head not in side:
        return "-"
    decimals = COLUMNS[head]
    middle, low, high = side[head]
    return f"{middle:,.{decimals}f} [{low:,.{decimals}f}, {high:,.{decimals}f}]"


def parts_of(parts: dict[str, float]) -> str:
    """The parts of our step in words."""
    return ", ".join(f"{part.replace('_', ' ')} {value:.2f}" for part, value in parts.items())


def floor_line(parts: dict[str, tuple[float, str]], found: dict[str, dict]) -> str:
    """What a table's work takes at least, and how near each side comes to it.

    parts: (seconds, by what) of each part of the work; they follow each other.
    """
    named = []
    least = 0.0
    for part, (seconds, by) in parts.items():
        named.append(f"{part} {seconds:.3f} s, by {by}")
        least += seconds
    shares = []
    for name, side in found.items():
        shares.append(f"{name} {least / side['seconds'][0]:.1%}")
    return f"  at least: {'; '.join(named)}. Of the floor's speed: {'; '.join(shares)}"


def quote(found: dict[str, dict[str, dict]]) -> str:
    """The ratios to quote: of the samplers, and of the step at the cut at which TRL does best."""
    lines = []
    best = None
    for title, result in found.items():
        for name in (STATIC, CONTINUOUS):
            if name in result:
                lines.append(f"{title}, ours to {name} {middle_ratio(result[name]):.2f}")
        if TRL in result:
            ratio = result[EVERY_ROW]["tokens/s ratio"]
            if best is None or ratio < found[best][EVERY_ROW]["tokens/s ratio"]:
                best = title
    if best is not None:
        for name in (OURS, EVERY_ROW):
            lines.append(f"{best}, {name} {middle_ratio(found[best][name]):.2f}")
    return "to quote, useful tokens per second:\n  " + "\n  ".join(lines)


def middle_ratio(side: dict) -> float:
    """The median of how much faster ours is, in useful tokens per second."""
    return side["tokens/s ratio"][0]
