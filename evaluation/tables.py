"""The figures of eval.py as text: a row for each benchmark and one for their mean."""

from dataclasses import dataclass

from evaluation import behaviour

Rows = dict[str, dict]  # {benchmark: its figures}


@dataclass(frozen=True)
class Column:
    """How one figure is shown."""

    heading: str
    figure: str
    digits: int = 3
    interval: bool = False  # whether its interval stands beside it
    in_brackets: str = ""  # another figure that stands beside it


def cell(figures: dict, column: Column) -> str:
    """What a column shows of these figures."""
    shown = number(figures.get(column.figure), column.digits)
    if column.in_brackets:
        beside = number(figures.get(column.in_brackets), column.digits)
        return f"{shown} ({beside})"
    if column.interval and shown != "-":
        return shown + interval(figures, column)
    return shown


def number(value: float | None, digits: int) -> str:
    """A figure with so many digits after the point; "-" where there is none."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}"


def interval(figures: dict, column: Column) -> str:
    """The interval of a column's figure in square brackets; nothing where it is not known."""
    low, high = figures.get(column.figure + "_ci", (None, None))
    if low is None:
        return ""
    return f" [{low:.{column.digits}f}, {high:.{column.digits}f}]"


def aligned(cells: list[list[str]]) -> str:
    """Rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for row in cells:
        line = [row[0].ljust(widths[0])]
        line += map(str.rjust, row[1:], widths[1:])
        lines.append("  ".join(line))
    return "\n".join(lines)


def grid(rows: Rows, columns: list[Column]) -> str:
    """These columns of every row, below their headings."""
    cells = [["", *(column.heading for column in columns)]]
    for name, figures in rows.items():
        cells.append([name, *(cell(figures, column) for column in columns)])
    return aligned(cells)


def with_mean(found: Rows) -> Rows:
    """The benchmarks and, of several, their mean: each counts once, whatever its size.

    The mean of a figure is None where one benchmark has none.
    """
    if len(found) == 1:
        return found
    mean = {}
    for name in names_of_figures(found):
        if name in ("problems", "k", "too_long"):
            continue
        values = [figures.get(name) for figures in found.values()]
        mean[name] = None
        if None not in values:
            mean[name] = sum(values) / len(values)
    return {**found, "mean": mean}


def names_of_figures(found: Rows) -> list[str]:
    """The names of the first benchmark's figures, without their intervals."""
    first = next(iter(found.values()))
    return [name for name in first if not name.endswith("_ci")]


# ---------------------------------------------------------------- the whole output


def table(found: Rows, source: str = "") -> str:
    """The figures as text, a row a benchmark.

    `source` says where the `published` ones come from; "" if there are none.
    """
    rows = with_mean(found)
    lines = accuracy_lines(found, rows, source)
    lines += size_lines(found, rows)
    lines += vote_lines(rows)
    lines += forcing_lines(found, rows)
    lines += behaviour_lines(found, rows)
    lines += thought_lines(found, rows)
    return "\n".join(lines)


def accuracy_lines(found: Rows, rows: Rows, source: str) -> list[str]:
    """Accuracy, lengths and the truncated share, and what there is to say about them."""
    k = next(iter(found.values()))["k"]
    responses = "1 response"
    if k > 1:
        responses = f"{k} responses"
    lines = [f"{responses} a problem; 95 % intervals by problem; right, wrong: their mean tokens"]
    lines.append(grid(rows, accuracy_columns(k, source)))
    if source:
        lines.append(f"published: {source}")
    for name, figures in found.items():
        if figures["too_long"]:
            lines.append(
                f"{name}: {figures['too_long']} of {figures['problems']} prompts do not fit the "
                "context beside the response: wrong, and in no length, truncated share or behaviour"
            )
    return lines


def accuracy_columns(k: int, source: str) -> list[Column]:
    """The columns of the first table; of several responses a problem it has more."""
    columns = [Column("problems", "problems", digits=0)]
    if k == 1:
        columns.append(Column("pass@1", "pass@1", interval=True))
    else:
        columns.append(Column(f"avg@{k}", "pass@1", interval=True))
        columns.append(Column(f"pass@{k}", f"pass@{k}", interval=True))
        columns.append(Column(f"maj@{k}", f"maj@{k}", interval=True))
    columns.append(Column("tokens", "length", digits=1))
    columns.append(Column("right", "length_right", digits=1))
    columns.append(Column("wrong", "length_wrong", digits=1))
    columns.append(Column("truncated", "truncated"))
    if source:
        columns.append(Column("published", "published"))
    return columns


def size_lines(found: Rows, rows: Rows) -> list[str]:
    """pass@k of every k, where the first table has not shown them all."""
    columns = []
    for name in names_of_figures(found):
        if name.startswith("pass@"):
            columns.append(Column(name, name))
    if len(columns) <= 2:
        return []
    return ["", grid(rows, columns)]


def vote_lines(rows: Rows) -> list[str]:
    """The accuracy of a vote of each size beside its tokens, if there are two sizes and more."""
    lines = []
    for name, figures in rows.items():
        sizes = [name.removeprefix("tokens@") for name in figures if name.startswith("tokens@")]
        sizes = [size for size in sizes if not size.endswith("_ci")]
        if len(sizes) < 2:
            return []
        cells = [[name, "tokens a problem", "accuracy"]]
        for size in sizes:
            tokens = number(figures[f"tokens@{size}"], 1)
            accuracy = cell(figures, Column("", f"maj@{size}", interval=True))
            cells.append([f"maj@{size}", tokens, accuracy])
        lines += ["", aligned(cells)]
    return lines


def forcing_lines(found: Rows, rows: Rows) -> list[str]:
    """What budget forcing has put into responses, if it was used."""
    if "forced" not in names_of_figures(found):
        return []
    columns = [
        Column("forced", "forced", digits=2),
        Column("their tokens", "forced_tokens", digits=2),
        Column("within budget", "within_budget"),
    ]
    head = "budget forcing: texts put into a response, and the share within cap and answer"
    return ["", head, grid(rows, columns)]


def thought_lines(found: Rows, rows: Rows) -> list[str]:
    """How soon the first right thought came, if it was looked for and there is a rule."""
    if "underthinking" not in names_of_figures(found):
        return []
    columns = [
        Column("outcome efficiency", "outcome_efficiency", interval=True),
        Column("underthinking", "underthinking", interval=True),
        Column("wrong with a right thought", "right_thought"),
    ]
    return ["", "thoughts by rule: tokens to the first right one", grid(rows, columns)]


def behaviour_lines(found: Rows, rows: Rows) -> list[str]:
    """The behaviours and the outcome efficiency, if they were counted."""
    counted = names_of_figures(found)
    columns = []
    for name in behaviour.RULES:
        if name in counted:
            columns.append(Column(name, name, digits=2, in_brackets=name + "_share"))
    if not columns:
        return []
    columns.append(Column("efficiency", "efficiency"))
    columns.append(Column("of right", "efficiency_right"))
    head = "behaviours by rule: mean count a response (share of responses with any)"
    return ["", head, grid(rows, columns)]
