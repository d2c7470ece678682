"""One dataclass of hyperparameters becomes a command line and reads recipe files; what the user can mend is one line.

A field's comment-like help text, its default and its type stand once, in the dataclass; `--flag` names are its field
names with dashes. Values are checked by type here and by meaning in the dataclass's own `__post_init__`.
"""
import argparse
import dataclasses
import sys
import tomllib
import types
import typing


class Refusal(ValueError):
    """Something that the user can mend: shown as one line, exit status 2."""


def setting(default, help: str, **more):
    """A dataclass field with its help text, which states the unit."""
    return dataclasses.field(default=default, metadata={"help": help, **more})


def field_types(cls) -> dict[str, type]:
    """Field name to its plain type; `X | None` counts as X."""
    hints = typing.get_type_hints(cls)
    return {name: next(t for t in typing.get_args(hint) if t is not type(None))
            if isinstance(hint, types.UnionType) else hint for name, hint in hints.items()}


def read_toml(path: str, cls) -> dict:
    """The settings of a recipe file; an unknown key or a value of the wrong type is a Refusal that names it."""
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except ValueError as error:  # not TOML, or not UTF-8
        raise Refusal(f"recipe {path}: {error}") from None
    return check_values(values, cls, f"recipe {path}")


def check_values(values: dict, cls, where: str) -> dict:
    """Settings from a file; an unknown key or a value of the wrong type is a Refusal that names it. An int is a float."""
    kinds, checked = field_types(cls), {}
    for key, value in values.items():
        if key not in kinds:
            raise Refusal(f"{where}: unknown key {key!r} (known: {', '.join(kinds)})")
        if kinds[key] is float and type(value) is int:
            value = float(value)
        fits = isinstance(value, kinds[key]) and not (isinstance(value, bool) and kinds[key] is not bool)
        if not fits and not (value is None and cls.__dataclass_fields__[key].default is None):
            raise Refusal(f"{where}: {key} = {value!r} is not {kinds[key].__name__}")
        checked[key] = value
    return checked


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refusal(f"{message} (see --help)")


def parse(cls, description: str, argv: list[str] | None = None):
    """(configuration, the names given by hand) from the command line; a flag beats the recipe, which beats the default.

    If the dataclass has a field `recipe`, the file it names is read. Flags cannot be shortened.
    """
    parser = Parser(description=description, allow_abbrev=False,
                    formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=110))
    kinds = field_types(cls)
    for field in dataclasses.fields(cls):
        flags = ["--" + field.name.replace("_", "-")] + (["-" + field.name] if len(field.name) == 1 else [])
        help_text = field.metadata.get("help", "")
        shown = "" if field.default in (None, "") else f" [{field.default}]"
        if field.metadata.get("positional"):
            parser.add_argument(field.name, nargs="*", help=help_text, default=argparse.SUPPRESS)
        elif kinds[field.name] is bool:
            parser.add_argument(*flags, action=argparse.BooleanOptionalAction, help=help_text + shown,
                                default=argparse.SUPPRESS)
        else:
            parser.add_argument(*flags, type=kinds[field.name], help=(help_text + shown).replace("%", "%%"),
                                choices=field.metadata.get("choices"), default=argparse.SUPPRESS,
                                metavar=None if "choices" in field.metadata else kinds[field.name].__name__)
    given = vars(parser.parse_args(argv))
    recipe = read_toml(given["recipe"], cls) if given.get("recipe") else {}
    return cls(**{**recipe, **given}), set(given)


def run(main) -> None:
    """Call a program's main; a Refusal or a failing file becomes one line on stderr and exit status 2."""
    try:
        main()
    except (Refusal, OSError) as error:
        text = str(error) if isinstance(error, Refusal) or not error.filename else f"{error.filename}: {error.strerror}"
        print("error: " + " ".join(text.split()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
