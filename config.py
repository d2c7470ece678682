"""One dataclass of settings becomes a command line and reads recipe files; errors in one line.

The type of a setting, its default, its bounds, its choices and its help text stand once, in a field
of the program's dataclass. A flag is the field's name with dashes. A field of several strings is a
tuple: its flag may be given more than once, and in a recipe it is a list. Every value is checked
when the dataclass is made, wherever it comes from: the command line, a recipe, another program.
"""

import argparse
import dataclasses
import math
import sys
import tomllib
import types
import typing


class UserError(ValueError):
    """Something that the user can mend: shown as one line, exit status 2."""


# ---------------------------------------------------------------- settings


def setting(default, help: str, **facts):
    """A dataclass field with its help text, which states the unit.

    facts, all optional: `choices`, the allowed values; `at_least` and `above`, bounds of a number;
    `why`, a reason that is added to the bound's message; `group`, a heading of --help; `more`,
    True for a setting that only --help-all shows; `positional`, True for arguments without a flag.
    """
    return dataclasses.field(default=default, metadata={"help": help, **facts})


def flag_of(name: str) -> str:
    """The flag of a setting: `clip_low` is `--clip-low`."""
    return "--" + name.replace("_", "-")


def check_settings(config) -> None:
    """A UserError if a value is outside of its field's bounds or choices; for `__post_init__`."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        facts = field.metadata
        flag = flag_of(field.name)
        if "choices" in facts and value not in facts["choices"]:
            raise UserError(f"{flag} {value}: choose {', '.join(facts['choices'])}")
        if "at_least" in facts and not facts["at_least"] <= value < math.inf:
            kind = "" if isinstance(value, int) else "a number, "
            why = f": {facts['why']}" if "why" in facts else ""
            raise UserError(f"{flag} must be {kind}at least {facts['at_least']}{why}")
        if "above" in facts and not value > facts["above"]:
            raise UserError(f"{flag} must be above {facts['above']}")


def field_types(cls) -> dict[str, type]:
    """Field name to its plain type; `X | None` counts as X, `tuple[str, ...]` as tuple."""
    plain = {}
    for name, hint in typing.get_type_hints(cls).items():
        if isinstance(hint, types.UnionType):
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        plain[name] = typing.get_origin(hint) or hint
    return plain


# ---------------------------------------------------------------- recipe files


def read_toml(path: str, cls) -> dict:
    """The settings of a recipe file.

    An unknown key or a value of the wrong type is a UserError that names it.
    """
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except ValueError as error:  # not TOML, or not UTF-8
        raise UserError(f"recipe {path}: {error}") from None
    return check_values(values, cls, f"recipe {path}")


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
        empty = value is None and defaults[key] is None
        if not empty and not fits(value, kinds[key]):
            raise UserError(f"{where}: {key} = {values[key]!r} is not {name_of(kinds[key])}")
        checked[key] = value
    return checked


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
    """Call a program's main; a UserError or a failing file becomes one line and exit status 2."""
    try:
        main()
    except UserError as error:
        stop(str(error))
    except OSError as error:
        named = f"{error.filename}: {error.strerror}"
        stop(named if error.filename else str(error))
    except KeyboardInterrupt:
        sys.exit(130)


def stop(text: str) -> None:
    """End the program with one line on stderr and exit status 2."""
    print("error: " + " ".join(text.split()), file=sys.stderr)
    sys.exit(2)
