"""A dataclass is a command line and a recipe: nothing unknown, nothing of the wrong type, one line if it fails."""

import re
import signal
from dataclasses import dataclass, fields

import pytest

import config
import eval as evaluation
import report
import sample
import sft
import train
from config import UserError, parse, setting


@dataclass(frozen=True)
class Settings:
    steps: int = setting(10, "optimizer steps")
    lr: float = setting(1e-3, "learning rate")
    fast: bool = setting(False, "skip the rest")
    loud_voice: bool = setting(True, "with a dash")
    out: str | None = setting(None, "folder")
    limit: int | None = setting(None, "at most")
    loss: str = setting("grpo", "kind of loss", choices=("grpo", "dr_grpo"))
    n: int = setting(1, "has a short form, 100 % of the time")
    recipe: str | None = setting(None, "recipe file")
    words: tuple[str, ...] = setting((), "several strings")


def got(*argv):
    return parse(Settings, "test", list(argv))


def test_without_flags_everything_has_its_default():
    assert got() == (Settings(), set())


def test_flags_are_the_fields_with_dashes_and_have_their_types():
    c, given = got(
        "--steps",
        "3",
        "--lr",
        "2",
        "--fast",
        "--no-loud-voice",
        "--out",
        "7",
        "--limit",
        "5",
        "--loss",
        "dr_grpo",
        "-n",
        "4",
    )
    assert (
        c == Settings(3, 2.0, True, False, "7", 5, "dr_grpo", 4)
        and type(c.lr) is float
        and type(c.out) is str
    )
    assert given == {"steps", "lr", "fast", "loud_voice", "out", "limit", "loss", "n"}
    assert got("--n", "4", "--lr=-1e-4", "--no-fast")[0] == Settings(n=4, lr=-1e-4)


@pytest.mark.parametrize(
    "argv,says",
    [
        (["--stepz", "3"], "--stepz"),
        (["--step", "3"], "--step"),
        (["--steps"], "--steps"),
        (["--steps", "2.5"], "2.5"),
        (["--steps", "ten"], "ten"),
        (["--limit", "x"], "--limit"),
        (["--lr", "fast"], "--lr"),
        (["--loss", "ppo"], "ppo"),
        (["--fast", "yes"], "yes"),
        (["--fast=true"], "--fast"),
        (["--loud_voice"], "--loud_voice"),
        (["stray"], "stray"),
    ],
)
def test_an_unknown_shortened_or_ill_typed_flag_is_refused(argv, says):
    with pytest.raises(UserError, match=re.escape(says)):
        got(*argv)


def recipe(tmp_path, text):
    (tmp_path / "r.toml").write_text(text)
    return "--recipe", str(tmp_path / "r.toml")


def test_a_flag_beats_the_recipe_and_the_recipe_beats_the_default(tmp_path):
    text = "steps = 5\nlr = 1\nfast = true\nlimit = 8\nout = 'x'"
    c, given = got(*recipe(tmp_path, text), "--steps", "7", "--no-fast")
    assert (c.steps, c.lr, c.fast, c.limit, c.out, c.loss) == (7, 1.0, False, 8, "x", "grpo")
    assert type(c.lr) is float  # a whole number is fine for a float
    assert given == {"recipe", "steps", "fast"}


@pytest.mark.parametrize(
    "text,says",
    [
        ("speed = 3", "unknown key 'speed'"),
        ("loud-voice = true", "unknown key 'loud-voice'"),
        ("steps = true", "steps = True is not int"),
        ("steps = 5.0", "steps = 5.0 is not int"),
        ("[steps]\nx = 1", "not int"),
        ("lr = true", "lr = True is not float"),
        ("lr = '1e-4'", "lr = '1e-4' is not float"),
        ("out = 3", "not str"),
        ("fast = 1", "fast = 1 is not bool"),
        ("fast = 'yes'", "fast = 'yes' is not bool"),
        ("limit = 'x'", "not int"),
        ("words = 'x'", "words = 'x' is not a list of strings"),
        ("words = ['x', 1]", "words = ['x', 1] is not a list of strings"),
        ("steps = 1\nsteps = 2", "r.toml"),
        ("steps 5", "r.toml"),
    ],
)
def test_an_unknown_key_or_a_value_of_the_wrong_type_in_a_recipe_is_refused(tmp_path, text, says):
    with pytest.raises(UserError, match=re.escape(says)):
        got(*recipe(tmp_path, text))


def test_several_strings_are_a_repeated_flag_or_a_list_in_a_recipe(tmp_path):
    assert got("--words", "a, b", "--words=--c")[0].words == ("a, b", "--c")
    in_recipe = recipe(tmp_path, "words = ['a', \"\\n\"]")
    assert got(*in_recipe)[0].words == ("a", "\n")
    assert got(*in_recipe, "--words", "b")[0].words == ("b",)  # a flag beats the recipe
    with pytest.raises(UserError, match="--words"):
        got("--words")


def test_a_recipe_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "r.toml").write_bytes("steps = 5  # là".encode("latin-1"))
    with pytest.raises(UserError, match="r.toml"):
        got("--recipe", str(tmp_path / "r.toml"))


@pytest.mark.parametrize(
    "cls",
    [
        Settings,
        train.TrainConfig,
        evaluation.EvalConfig,
        sample.SampleConfig,
        sft.SFTConfig,
        report.ReportConfig,
    ],
)
def test_help_explains_every_setting_of_every_program(cls, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(cls, "a program", ["--help-all" if cls is train.TrainConfig else "--help"])
    shown, words = capsys.readouterr().out, " ".join
    assert stop.value.code == 0
    for field in fields(cls):
        assert field.metadata["help"], f"{field.name} has no help"
        assert words(field.metadata["help"].split()) in words(shown.split())
        assert (
            "--" + field.name.replace("_", "-")
            if not field.metadata.get("positional")
            else field.name
        ) in shown


@pytest.mark.parametrize(
    "error,line",
    [
        (UserError("no such task:\n  choose\n  another"), "error: no such task: choose another"),
        (
            FileNotFoundError(2, "No such file or directory", "pairs.jsonl"),
            "error: pairs.jsonl: No such file or directory",
        ),
        (OSError("the disk sulks"), "error: the disk sulks"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_2(error, line, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        config.run_program(main)
    shown = capsys.readouterr()
    assert stop.value.code == 2 and shown.err == line + "\n" and shown.out == ""


def test_a_mistake_of_ours_keeps_its_traceback_and_an_interrupt_is_no_error(capsys):
    def main(error):
        raise error

    with pytest.raises(ZeroDivisionError):
        config.run_program(lambda: main(ZeroDivisionError()))
    with pytest.raises(SystemExit) as stop:
        config.run_program(lambda: main(KeyboardInterrupt()))
    assert stop.value.code == 128 + signal.SIGINT and capsys.readouterr().err == ""


def test_help_of_train_shows_the_twenty_settings_that_people_touch_first(capsys):
    with pytest.raises(SystemExit):
        parse(train.TrainConfig, "a program", ["--help"])
    shown = capsys.readouterr().out
    flags = [config.flag_of(field.name) for field in fields(train.TrainConfig)]
    assert 15 <= sum(f"  {flag} " in shown for flag in flags) <= 22
    assert "--help-all" in shown and "--clip-norm" not in shown
    parse(train.TrainConfig, "a program", ["--clip-norm", "2"])  # hidden, not gone


def test_bounds_and_choices_stand_with_the_field_and_hold_wherever_a_value_comes_from():
    for wrong, says in (
        ({"group_size": 1}, "--group-size must be at least 2: a group of one"),
        ({"lr": float("nan")}, "--lr must be a number, at least 0"),
        ({"lr": float("inf")}, "--lr must be a number"),
        ({"temperature": 0.0}, "--temperature must be above 0"),
        ({"temperature": float("nan")}, "--temperature must be above 0"),
        ({"kl_kind": "k4"}, "--kl-kind k4: choose k1, k2, k3"),
    ):
        with pytest.raises(UserError, match=re.escape(says)):
            train.TrainConfig(**wrong)
    assert train.TrainConfig(clip_norm=float("inf")).clip_norm == float("inf")


def test_a_recipe_tells_what_its_source_published_and_that_sets_nothing(tmp_path):
    text = (
        'steps = 5\n[deviations]\nsteps = "less time"\nwords = "none"\n'
        '[published."their script"]\nsteps = 7\nwords = ["a"]\n"what ours lacks" = 1.5\n'
    )
    argv = recipe(tmp_path, text)
    assert got(*argv)[0] == Settings(steps=5, recipe=argv[1])
    sources, deviations = config.read_told(argv[1])
    assert sources == {"their script": {"steps": 7, "words": ["a"], "what ours lacks": 1.5}}
    assert deviations == {"steps": "less time", "words": "none"}
    assert config.read_told(recipe(tmp_path, "steps = 5")[1]) == ({}, {})


@pytest.mark.parametrize(
    "text, says",
    [
        ("published = 7", "published = 7 is not a table"),
        ("deviations = 'one GPU'", "deviations = 'one GPU' is not a table"),
        ("[published]\nlr = 1e-6", 'lr needs a table of its source, [published."..."]'),
        ("[deviations]\nlr = 1e-6", "lr = 1e-06 is not a reason in words"),
        ("[publisht.a]\nlr = 1e-6", "unknown key 'publisht'"),
    ],
)
def test_what_a_recipe_tells_has_a_form(tmp_path, text, says):
    with pytest.raises(UserError, match=re.escape(says)):
        got(*recipe(tmp_path, text))


def test_a_setting_has_an_upper_bound_too():
    with pytest.raises(UserError, match="--beta2 must be below 1"):
        train.TrainConfig(beta2=1.5)
