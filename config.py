"""One dataclass of settings becomes a command line and reads recipe files; errors in one line.

The type of a setting, its default, its bounds, its choices and its help text stand once, in a field
of the program's dataclass. A flag is the field's name with dashes. A field of several strings is a
tuple: its flag may be given more than once, and in a recipe it is a list. Every value is checked
when the dataclass is made, wherever it comes from: the command line, a recipe, another program.
"""

import argparse
import dataclasses
import math
import os
import sys
import types
import typing

try:
    import tomllib
except ModuleNotFoundError:  # it came with 3.11, as did more of what is used here
    print("error: Python 3.11 or later is needed, this is", sys.version.split()[0], file=sys.stderr)
    sys.exit(2)


class UserError(ValueError):
    """Something that the user can mend: shown as one line, exit status 2."""


class NotFinite(UserError):
    """A number is NaN or infinite, where a model has come to one; what to do depends on where."""


# ---------------------------------------------------------------- settings


def setting(default, help: str, **facts):
    """A dataclass field with its help text, which states the unit.

    facts, all optional: `choices`, the allowed values; `at_least`, `above` and `below`, bounds of a
    number; `why`, a reason that is added to the bound's message; `group`, a heading of --help;
    `more`, True for a setting that only --help-all shows; `positional`, True for arguments without
    a flag.
    """
    return dataclasses.field(default=default, metadata={"help": help, **facts})


def flag_of(name: str) -> str:
    """The flag of a setting: `clip_low` is `--clip-low`."""
    return "--" + name.replace("_", "-")


COUNTABLE = 2**63  # no sequence is longer


def check_settings(config) -> None:
    """A UserError if a value is outside of its field's bounds or choices; for `__post_init__`.

    None, a default of its own, is left to whoever puts a value in its place.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        facts = field.metadata
        flag = flag_of(field.name)
        if value is None and field.default is None:
            continue
        if "choices" in facts and value not in facts["choices"]:
            raise UserError(f"{flag} {value}: choose {', '.join(facts['choices'])}")
        if "at_least" in facts and not facts["at_least"] <= value < math.inf:
            kind = "" if isinstance(value, int) else "a number, "
            why = f": {facts['why']}" if "why" in facts else ""
            raise UserError(f"{flag} must be {kind}at least {facts['at_least']}{why}")
        if "at_least" in facts and isinstance(value, int) and value >= COUNTABLE:
            raise UserError(f"{flag} {value} is too large")
        if "above" in facts and not value > facts["above"]:
            raise UserError(f"{flag} must be above {facts['above']}")
        if "below" in facts and not value < facts["below"]:
            raise UserError(f"{flag} must be below {facts['below']}")


def field_types(cls) -> dict[str, type]:
    """Field name to its plain type; `X | None` counts as X, `tuple[str, ...]` as tuple."""
    plain = {}
    for name, hint in typing.get_type_hints(cls).items():
        if isinstance(hint, types.UnionType):
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        plain[name] = typing.get_origin(hint) or hint
    return plain


# ---------------------------------------------------------------- recipe files


# What says which settings there are is none of them.
BY_HAND = {"recipe", "resume"}
# Tables of a recipe that set nothing: what its source published, and why ours differs from it.
TOLD = ("published", "deviations")


def read_toml(path: str, cls) -> dict:
    """The settings of a recipe file.

    An unknown key or a value of the wrong type is a UserError that names it.
    """
    values = toml_values(path)
    for name in BY_HAND & set(values):
        raise UserError(f"recipe {path}: {name} is given by hand alone, as {flag_of(name)}")
    for name in TOLD:
        values.pop(name, None)
    return check_values(values, cls, f"recipe {path}")


def read_told(path: str) -> tuple[dict[str, dict], dict[str, str]]:
    """What a recipe tells of its source: ({source: {setting: its value there}}, {setting: why ours
    is another}).

    Both are empty where there is no source. A setting that this project lacks has a name of its
    own.
    """
    values = toml_values(path)
    return values.get("published", {}), values.get("deviations", {})


def toml_values(path: str) -> dict:
    """All that a recipe file holds; a UserError if it is not TOML, or tells its source otherwise
    than in tables.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:  # Windows puts a byte order mark before it
            values = tomllib.loads(file.read())
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, brackets without end
        raise UserError(f"recipe {path}: {error}") from None
    for name in TOLD:
        if not isinstance(values.get(name, {}), dict):
            raise UserError(f"recipe {path}: {name} = {values[name]!r} is not a table")
    for source, settings in values.get("published", {}).items():
        if not isinstance(settings, dict):
            raise UserError(
                f'recipe {path}: {source} needs a table of its source, [published."..."]'
            )
    for name, why in values.get("deviations", {}).items():
        if not isinstance(why, str):
            raise UserError(f"recipe {path}: deviations: {name} = {why!r} is not a reason in words")
    return values


def check_values(values: dict, cls, where: str) -> dict:
    """Settings from a file: whole numbers become floats and lists tuples where these are asked for.

    An unknown key or a value of the wrong type is a UserError that names it.
    """
    kinds = field_types(cls)
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    checked = {}
    for key, value in values.items():
        if key not in kinds:
            raise UserError(f"{where}: unknown key {key!r} (known: {', '.join(kinds)})")
        if kinds[key] is float and type(value) is int:
            value = float(value)
        if kinds[key] is tuple and type(value) is list:
            value = tuple(value)
        value = checked_text(value, defaults[key], f"{where}: {key}")
        empty = value is None and defaults[key] is None
        if not empty and not fits(value, kinds[key]):
            raise UserError(f"{where}: {key} = {values[key]!r} is not {name_of(kinds[key])}")
        checked[key] = value
    return checked


def checked_text(value, default, name: str):
    """A setting's value; a text that cannot be meant is a UserError, `~/` becomes the home folder.

    An empty text is what a script's unset variable leaves: `--resume ""` would begin a new run,
    `--data ""` would train on another task, `--out ""` would write over the folder one is in.
    A shell leaves `~` alone within `--out=~/runs`, and in a recipe there is no shell.
    """
    if not isinstance(value, str):
        return value
    if value == "" and default != "":
        raise UserError(f"{name} is empty: leave it out, or say what is meant")
    if "\0" in value:
        raise UserError(f"{name} holds a NUL character")
    if value.startswith("~/"):
        return os.path.expanduser(value)
    return value


def fits(value, kind: type) -> bool:
    """Whether a value is of a type; to Python True is an int, here it is not.

    A tuple holds strings and nothing else.
    """
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, tuple):
        return kind is tuple and all(isinstance(part, str) for part in value)
    return isinstance(value, kind)


def name_of(kind: type) -> str:
    """What a message calls a type."""
    if kind is tuple:
        return "a list of strings"
    return kind.__name__


# ---------------------------------------------------------------- command lines


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message} (see --help)")


def wide_help(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=34, width=110)


def parse(cls, description: str, argv: list[str] | None = None):
    """(settings, the names given by hand) from the command line.

    A flag beats the recipe, which beats the default. If the dataclass has a field `recipe`, the
    file that it names is read. Flags cannot be shortened.
    """
    arguments = sys.argv[1:] if argv is None else argv
    parser = make_parser(cls, description, show_all="--help-all" in arguments)
    given = vars(parser.parse_args(arguments))
    for name, value in given.items():
        if isinstance(value, list):
            given[name] = tuple(value)
    for field in dataclasses.fields(cls):
        if field.name in given:
            value = given[field.name]
            given[field.name] = checked_text(value, field.default, flag_of(field.name))
    recipe = {}
    if given.get("recipe"):
        recipe = read_toml(given["recipe"], cls)
    return cls(**{**recipe, **given}), set(given)


def make_parser(cls, description: str, show_all: bool) -> Parser:
    """The command line of a dataclass; its settings stand under the headings that they name."""
    parser = Parser(description=description, allow_abbrev=False, formatter_class=wide_help)
    fields = dataclasses.fields(cls)
    hides = any(field.metadata.get("more") for field in fields)
    if hides:
        parser.usage = "%(prog)s [settings]"
        parser.epilog = "--help-all shows every setting; a recipe may hold any of them."
        parser.add_argument("--help-all", action="help", help="show every setting and exit")
    kinds = field_types(cls)
    headings = {}
    for field in fields:
        section = parser
        heading = field.metadata.get("group")
        if heading:
            if heading not in headings:
                headings[heading] = parser.add_argument_group(heading)
            section = headings[heading]
        hidden = field.metadata.get("more", False) and not show_all
        add_setting(section, field, kinds[field.name], hidden)
    return parser


def add_setting(section, field: dataclasses.Field, kind: type, hidden: bool) -> None:
    """Add a field's flag, or its positional arguments, to a parser or to a group of one."""
    shown = field.metadata.get("help", "")
    if field.default not in (None, "", ()) and not field.metadata.get("positional"):
        shown += f" [{field.default}]"
    help_text = argparse.SUPPRESS if hidden else shown.replace("%", "%%")
    # SUPPRESS: a setting that is not given stays out of what is parsed.
    common = dict(help=help_text, default=argparse.SUPPRESS)
    if field.metadata.get("positional"):
        section.add_argument(field.name, nargs="*", **common)
        return
    flags = [flag_of(field.name)]
    if len(field.name) == 1:
        flags.append("-" + field.name)
    if kind is bool:
        section.add_argument(*flags, action=argparse.BooleanOptionalAction, **common)
    elif kind is tuple:
        section.add_argument(*flags, action="append", metavar="str", **common)
    elif "choices" in field.metadata:
        section.add_argument(*flags, type=kind, choices=field.metadata["choices"], **common)
    else:
        section.add_argument(*flags, type=kind, metavar=kind.__name__, **common)


# ---------------------------------------------------------------- programs


def run_program(main) -> None:
    """Call a program's main; a UserError or a failing file becomes one line and exit status 2.

    A character that the terminal or a file behind it cannot show, as on a Windows console, is
    written as its number.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has not
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
    except UserError as error:
        stop(str(error))
    except OSError as error:
        stop(named(error))
    except KeyboardInterrupt:
        sys.exit(130)


def named(error: OSError) -> str:
    """What went wrong, with the name of the file where it is known."""
    if error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, BrokenPipeError):
        return "nobody reads what this program prints any more (a broken pipe)"
    return str(error)


def stop(text: str) -> None:
    """End the program with one line on stderr and exit status 2."""
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(2)
