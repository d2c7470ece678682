"""Any system: nothing of Unix alone, no encoding left to the system, a Python that is too old is told."""

import ast
import io
import subprocess
import sys
from pathlib import Path

import pytest

import config
import sample

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for path in ROOT.rglob("*.py")
    if not {"tests", "runs"} & set(path.relative_to(ROOT).parts[:1])
)
OF_UNIX = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}
SIGNALS_ANYWHERE = {"SIGINT", "SIGTERM", "SIG_IGN", "SIG_DFL"}
OS_OF_UNIX = {"fork", "getuid", "sched_getaffinity", "nice", "setsid", "killpg", "uname"}


def nodes(kind):
    """(where, node) of a kind in all sources."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, kind):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_nothing_is_imported_or_called_that_only_unix_has():
    found = []
    for where, node in nodes((ast.Import, ast.ImportFrom)):
        imported = {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported = {node.module}
        if imported & OF_UNIX:
            found.append(where)
    for where, node in nodes(ast.Attribute):
        module = node.value.id if isinstance(node.value, ast.Name) else ""
        if module == "signal" and node.attr.startswith("SIG") and node.attr not in SIGNALS_ANYWHERE:
            found.append(where)
        if module == "os" and node.attr in OS_OF_UNIX:
            found.append(where)
    assert len(SOURCES) > 50 and not found


def leaves_the_encoding_to_the_system(call: ast.Call) -> bool:
    """Whether a call opens a file as text and does not say how it is encoded."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if getattr(call.func, "value", None) and ast.unparse(call.func.value) == "webbrowser":
        return False
    if name == "open":
        modes = call.args[1:] + [k.value for k in call.keywords if k.arg == "mode"]
        return not any(isinstance(m, ast.Constant) and "b" in str(m.value) for m in modes)
    # Path.read_text takes it first, Path.write_text second.
    places = {"read_text": 0, "write_text": 1}
    return name in places and len(call.args) <= places[name]


def test_every_file_is_opened_with_an_encoding():
    found = [where for where, call in nodes(ast.Call) if leaves_the_encoding_to_the_system(call)]
    assert not found


@pytest.mark.parametrize(
    "text,leaves",
    [
        ("open(p)", True),
        ("open(p, 'a')", True),
        ("open(p, 'wb')", False),
        ("open(p, encoding='utf-8')", False),
        ("p.read_text()", True),
        ("p.read_text('utf-8')", False),
        ("p.write_text(t)", True),
        ("p.write_text(t, encoding='utf-8')", False),
    ],
)
def test_an_encoding_that_is_left_to_the_system_is_noticed(text, leaves):
    assert leaves_the_encoding_to_the_system(ast.parse(text).body[0].value) == leaves


def test_a_console_that_cannot_show_a_character_shows_its_number(monkeypatch, tiny_folder):
    """cp1252 is the encoding of Windows in western Europe, and of a pipe there."""
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", console)
    argv = ["sample.py", "--model", tiny_folder, "Naïve: x ≤ 中", "--max-new-tokens", "3"]
    monkeypatch.setattr("sys.argv", argv)
    config.run_program(sample.main)
    config.run_program(lambda: print("x ≤ 中, naïve"))
    console.flush()
    shown = console.buffer.getvalue().decode("cp1252")
    assert r"x \u2264 \u4e2d, naïve" in shown


def test_an_error_with_such_a_character_is_still_one_line(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stderr", console)

    def main():
        raise config.UserError("no field 問題")

    with pytest.raises(SystemExit) as stop:
        config.run_program(main)
    console.flush()
    assert stop.value.code == 2
    assert console.buffer.getvalue().strip() == rb"error: no field \u554f\u984c"


def test_a_python_that_is_too_old_is_one_line_that_names_the_version():
    code = "import sys; sys.modules['tomllib'] = None; import config"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    said = done.stderr.splitlines()
    assert len(said) == 1 and said[0].startswith("error: Python 3.11 or later is needed, this is 3")


def test_a_python_that_is_too_old_gets_far_enough_to_be_told():
    """Its grammar knows every file, so that none is a syntax error before config.py speaks."""
    for path in SOURCES:
        ast.parse(path.read_text("utf-8"), feature_version=(3, 10))
