"""The house: few rooms, few floors, no circle of imports, and a step that a reader can follow."""

import ast
import sys
from pathlib import Path

import pytest

import train

ROOT = Path(__file__).parent.parent
NOT_ROOMS = {"tests", "runs"}


def rooms_of(root: Path) -> dict[str, list[Path]]:
    """Room name to its files: a file on top, or a folder of Python files."""
    rooms = {}
    for path in sorted(root.glob("*.py")):
        rooms[path.stem] = [path]
    for folder in sorted(root.iterdir()):
        files = sorted(folder.glob("*.py")) if folder.is_dir() else []
        if files and folder.name not in NOT_ROOMS:
            rooms[folder.name] = files
    return rooms


def imported(path: Path) -> set[str]:
    """The first names of the modules that a file imports at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def graph_of(rooms: dict[str, list[Path]]) -> dict[str, set[str]]:
    """Room to the other rooms that it imports."""
    graph = {}
    for room, files in rooms.items():
        names = set()
        for path in files:
            names |= imported(path)
        graph[room] = (names & set(rooms)) - {room}
    return graph


def floors_of(graph: dict[str, set[str]]) -> dict[str, int]:
    """Room to its floor: 1 without imports, else one above the highest that it imports."""
    floors = {}
    while len(floors) < len(graph):
        ready = [room for room in graph if room not in floors and graph[room] <= set(floors)]
        assert ready, f"a circle of imports among {sorted(set(graph) - set(floors))}"
        for room in ready:
            floors[room] = 1 + max((floors[below] for below in graph[room]), default=0)
    return floors


def test_few_files_on_top_few_rooms_few_floors_and_no_circle():
    rooms = rooms_of(ROOT)
    assert len(list(ROOT.glob("*.py"))) <= 12
    assert len(rooms) <= 20
    assert max(floors_of(graph_of(rooms)).values()) <= 8


def test_a_circle_is_found():
    with pytest.raises(AssertionError, match="circle"):
        floors_of({"a": {"b"}, "b": {"a"}, "c": set()})


def test_who_may_know_whom():
    graph = graph_of(rooms_of(ROOT))
    assert graph["grader"] == set()
    assert graph["config"] == set()
    assert graph["engine"] <= {"config"}
    assert graph["storage"] <= {"config"}
    assert not graph["evaluation"] & {"sample", "model", "train", "eval"}
    assert graph["grpo"] == set()
    assert graph["estimators"] == {"config", "grpo"}


@pytest.mark.parametrize(
    "algorithm, its_own", [("grpo", "estimators"), ("ppo", "ppo"), ("distill", "estimators")]
)
def test_one_training_step_enters_few_rooms(tmp_path, tiny_folder, algorithm, its_own):
    config = train.TrainConfig(
        model=tiny_folder,
        out=str(tmp_path / "run"),
        steps=1,
        algorithm=algorithm,
        teacher=tiny_folder if algorithm == "distill" else None,
        prompts_per_step=2,
        group_size=2,
        max_new_tokens=8,
        eval_problems=2,
        device="cpu",
    )
    run = train.open_run(config)
    entered = set()

    def trace(frame, event, argument):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and frame.f_code.co_name != "<module>":
            entered.add(path.relative_to(ROOT).parts[0].removesuffix(".py"))

    sys.setprofile(trace)
    try:
        train.train_step(run)
    finally:
        sys.setprofile(None)
        run.lock.release()
    entered.discard("tests")
    assert {"train", "sample", "model", "engine", "grpo", "tasks", its_own} <= entered
    assert len(entered) <= 8, entered
