"""Each published setting beside ours, as tables, from the recipe files.

    python bench.py recipes
    python bench.py recipes logic-rl-7b tinyzero-3b sft/limo

A recipe keeps what its source published in tables `[published."source"]` and says in
`[deviations]`, setting by setting, why ours is another. A difference without a reason is an error,
and so is a reason without a difference. Recipes in recipes/sft/ are for sft.py, the others for
train.py.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from config import UserError, check_settings, parse, read_told, read_toml, setting
from sft import SFTConfig
from train import TrainConfig

RECIPES = Path(__file__).parent.parent / "recipes"
NO_SETTING = "no setting"  # ours, where this project has none of that name


@dataclass(frozen=True)
class RecipesConfig:
    """Which recipes are shown."""

    names: tuple = setting(
        (), "recipes by name; without one, all that have a source", positional=True
    )

    def __post_init__(self):
        check_settings(self)
        for name in self.names:
            if not (RECIPES / f"{name}.toml").is_file():
                known = ", ".join(map(name_of, every_recipe()))
                raise UserError(f"no recipe {name}: choose {known}")


def every_recipe() -> list[Path]:
    """The recipe files, those of train.py first."""
    return [*sorted(RECIPES.glob("*.toml")), *sorted(RECIPES.glob("sft/*.toml"))]


def name_of(path: Path) -> str:
    """What a recipe is called: `limo` in recipes/sft/ is `sft/limo`."""
    if is_supervised(path):
        return f"sft/{path.stem}"
    return path.stem


def is_supervised(path: Path) -> bool:
    """Whether a recipe is for sft.py."""
    return path.parent.name == "sft"


def program_of(path: Path) -> type:
    """The settings that a recipe is read as."""
    if is_supervised(path):
        return SFTConfig
    return TrainConfig


@dataclass(frozen=True)
class Row:
    """One published setting and ours."""

    name: str
    published: str
    ours: str
    source: str
    why: str  # they differ; "" if they are the same


def rows_of(path: Path) -> list[Row]:
    """The rows of a recipe, source by source, none if it has no source.

    A UserError if a difference is not told, or if one is told that is none.
    """
    sources, deviations = read_told(str(path))
    program = program_of(path)
    recipe = program(**read_toml(str(path), program))
    known = {field.name for field in fields(program)}
    untold = dict(deviations)
    rows = []
    for source, settings in sources.items():
        for name, value in settings.items():
            ours = getattr(recipe, name) if name in known else NO_SETTING
            if isinstance(ours, tuple):
                ours = list(ours)
            why = untold.pop(name, "")
            if ours != value and not why:
                raise UserError(
                    f"recipe {name_of(path)}: {name} is {shown(ours)}, published {shown(value)}, "
                    "and [deviations] does not say why"
                )
            if ours == value and why:
                raise UserError(f"recipe {name_of(path)}: {name} is as published: no deviation")
            rows.append(Row(name, shown(value), shown(ours), source, why))
    for name in untold:
        raise UserError(f"recipe {name_of(path)}: {name} deviates from nothing that is published")
    return rows


def shown(value) -> str:
    """A value as a recipe would write it, without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(repr(part)[1:-1] for part in value) or "none"
    return "none" if value is None else str(value)


def added(path: Path, rows: list[Row]) -> str:
    """The settings of a recipe of which nothing is published, with their values."""
    told = {row.name for row in rows}
    texts = []
    for name, value in read_toml(str(path), program_of(path)).items():
        if name not in told:
            texts.append(f"`{name}` {shown(value)}")
    return ", ".join(texts)


def table(path: Path) -> str:
    """A recipe's section: its name, a Markdown table, and what is ours alone."""
    rows = rows_of(path)
    lines = [f"## {name_of(path)}", ""]
    lines.append("| setting | published | ours | why ours differs | published in |")
    lines.append("|---|---|---|---|---|")
    for row in rows:
        why = f" {row.why} " if row.why else " "
        lines.append(f"| {row.name} | {row.published} | {row.ours} |{why}| {row.source} |")
    lines += ["", f"Ours alone: {added(path, rows)}."]
    return "\n".join(lines)


def tables(names: tuple = ()) -> str:
    """The sections of these recipes, by default of all that have a source."""
    if names:
        paths = [RECIPES / f"{name}.toml" for name in names]
    else:
        paths = [path for path in every_recipe() if read_told(str(path))[0]]
    return "\n\n".join(table(path) for path in paths)


def main(argv: list[str] | None = None) -> None:
    settings, _ = parse(RecipesConfig, "each published setting beside ours", argv)
    print(tables(settings.names))
