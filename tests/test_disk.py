"""A full disk, a small disk, and checkpoints that do not pile up; the limits are the system's own."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_tiny, varied
from test_errors import refused
from test_resume import assert_same_run
from test_sources import problems

import config
import model as lm
import reward
import train
from storage import runs
from storage.folders import new_folder

resource = pytest.importorskip("resource", reason="limits of a process are a thing of Unix")

SMALL = dict(
    prompts_per_step=4,
    group_size=4,
    max_new_tokens=12,
    eval_every=10,
    eval_problems=4,
    save_every=1,
    rollouts_every=1,
    lr=1e-3,
    reward="varied",
)


# ---------------------------------------------------------------- in a child process


def program(work, said) -> None:
    """In a child process: a program that does `work`; what it says on stderr goes into a file."""
    torch.set_num_threads(1)
    with (
        open(os.devnull, "w", encoding="utf-8") as sys.stdout,
        open(said, "w", encoding="utf-8", buffering=1) as sys.stderr,
    ):
        config.run_program(work)


def limit_files(size: int) -> None:
    """From now on no file of this process grows beyond `size` bytes."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


def train_until_full(said, limit: int, settings: dict) -> None:
    """Train on a disk that is full from the third step on."""
    reward.REWARDS["varied"] = varied
    real = train.train_step

    def train_step(run):
        if run.step == 2:
            limit_files(limit)
        return real(run)

    train.train_step = train_step
    program(lambda: train.train(train.TrainConfig(**settings)), said)


def save_until_full(said, limit: int, folder: str) -> None:
    """Save another model over the one that a folder holds, on a full disk."""
    tokenizer = lm.load("base")[1]
    limit_files(limit)
    program(lambda: lm.save(folder, make_tiny(tokenizer, seed=1), tokenizer), said)


@pytest.fixture
def in_child(tmp_path):
    """Call a function of the above in a child process; returns (exit status, last line said)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train", "transformers.models.auto.tokenization_auto"])
    said = tmp_path / "said"

    def call(function, *arguments) -> tuple[int, str]:
        child = context.Process(target=function, args=(str(said), *arguments), daemon=True)
        child.start()
        child.join()
        text = said.read_text("utf-8")
        assert "Traceback" not in text
        return child.exitcode, text.splitlines()[-1]

    return call


@pytest.fixture
def one_thread():
    """As in the child processes: another number of threads adds in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def contents(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def settings(tmp_path, tiny_folder, varied_reward):
    """A run with problems from a file and a reference model."""
    here = tmp_path / "here"
    here.mkdir()
    problems(here / "mine.jsonl")
    shutil.move(tiny_folder, here / "mymodel")
    places = dict(model=str(here / "mymodel"), data=str(here / "mine.jsonl"))
    return dict(SMALL, **places, out=str(here / "run"), steps=4, kl_coef=0.1)


# The file that meets the limit: a log, or the last of a checkpoint.
@pytest.mark.parametrize("limit,names", [(3_000, "rollouts.jsonl"), (200_000, "trainer.pt")])
def test_a_run_that_met_a_full_disk_goes_on_on_another_machine_with_the_very_same_problems(
    tmp_path, settings, in_child, one_thread, monkeypatch, capsys, limit, names
):
    here, there = tmp_path / "here", tmp_path / "there"
    run = here / "run"
    train.train(train.TrainConfig(**{**settings, "out": str(tmp_path / "undisturbed")}))

    # The disk is full: one line, status 2, and what was saved is there.
    status, said = in_child(train_until_full, limit, settings)
    assert status == 2 and said.startswith(f"error: {run}"), said
    assert names in said and "File too large" in said and f"--resume {run}" in said
    assert [path.name for path in runs.checkpoints(run)] == ["step-1", "step-2"]
    assert not list(run.rglob(".*.new"))

    # Another machine: nothing lies where it lay, and the run says what it misses.
    there.mkdir()
    run.rename(there / "moved")
    (here / "mine.jsonl").rename(there / "problems.jsonl")
    (here / "mymodel").rename(there / "start")
    here.rmdir()
    capsys.readouterr()
    argv = ["--resume", there / "moved"]
    line = refused(monkeypatch, capsys, train, *argv)
    assert f"there is no {here / 'mine.jsonl'} here" in line and "--data PLACE" in line

    # With the places given it is the run that was never killed: problems, weights, logs.
    places = dict(data=str(there / "problems.jsonl"), model=str(there / "start"))
    moved = train.TrainConfig(resume=str(there / "moved"), **places)
    train.train(train.resumed(moved, {"resume", *places}))
    assert_same_run(tmp_path / "undisturbed", there / "moved")
    groups = runs.read_lines(there / "moved" / "rollouts.jsonl")
    assert sorted({group["step"] for group in groups}) == [1, 2, 3, 4]

    # Other problems are noticed.
    problems(there / "problems.jsonl", plus=2)
    capsys.readouterr()
    line = refused(monkeypatch, capsys, train, *argv, "--steps", 5)
    assert "is not what this run is trained on" in line


# The tokenizer's library and the weights' have errors of their own.
@pytest.mark.parametrize("limit,names", [(15_000, "tiny"), (100_000, "model.safetensors")])
def test_a_model_that_cannot_be_written_leaves_the_old_one(tiny_folder, in_child, limit, names):
    before = contents(Path(tiny_folder))
    status, said = in_child(save_until_full, limit, tiny_folder)
    assert status == 2 and said.startswith("error: ") and names in said and "too large" in said
    assert contents(Path(tiny_folder)) == before
    assert [path.name for path in Path(tiny_folder).parent.glob(".*")] == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB; skips where mounting is not allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", str(disk)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except OSError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up(small_disk, settings, monkeypatch, capsys):
    """Beside the run something else takes what room there is."""
    run = small_disk / "run"
    settings.update(out=str(run), steps=2)
    train.train(train.TrainConfig(**settings))
    filler = small_disk / "film"
    room = shutil.disk_usage(small_disk).free
    filler.write_bytes(bytes(room - 300_000))  # of 450,000 that a checkpoint takes
    before = contents(run / "checkpoints")
    # It is refused before it begins ...
    capsys.readouterr()
    said = refused(monkeypatch, capsys, train, "--resume", run, "--steps", 4)
    assert re.search(r"the disk is too small: .* 4..kB more at most; (299|300)kB are free", said)
    # ... and if it did begin, it ends in one line and loses nothing.
    monkeypatch.setattr(runs, "check_disk", lambda *arguments: "")
    asked = train.resumed(train.TrainConfig(resume=str(run), steps=4), {"resume", "steps"})
    with pytest.raises(config.UserError, match="trainer.pt: No space left on device"):
        train.train(asked)
    assert contents(run / "checkpoints") == before
    filler.unlink()
    train.train(asked)
    assert [path.name for path in runs.checkpoints(run)] == ["step-3", "step-4"]


# ---------------------------------------------------------------- how much it will take


def disk_of(monkeypatch, free: float) -> None:
    usage = shutil.disk_usage("/")._replace(free=int(free))
    monkeypatch.setattr(runs.shutil, "disk_usage", lambda place: usage)


@pytest.mark.parametrize(
    "there,to_come,keep,more",
    [
        (0, 65, 0, 65),  # all are kept
        (0, 65, 2, 3),  # a new one beside two old ones
        (0, 65, 1, 2),
        (0, 2, 2, 2),
        (2, 5, 2, 1),
        (1, 5, 2, 2),
        (9, 5, 2, 1),  # of a run that kept all: one more, before those go
        (9, 5, 0, 5),
        (2, 0, 2, 0),
    ],
)
def test_how_many_checkpoints_there_will_be(there, to_come, keep, more):
    assert runs.checkpoints_more(there, to_come, keep) == more


def test_a_disk_that_is_too_small_is_refused_and_nothing_is_made(monkeypatch, capsys, tmp_path):
    out = tmp_path / "not" / "there" / "yet"
    disk_of(monkeypatch, 21e6)
    argv = ["--out", out, "--steps", 65, "--save-every", 1, "--eval-problems", 4]
    said = refused(monkeypatch, capsys, train, *argv)
    assert "the disk is too small: a checkpoint takes 9.9" in said and "--keep 1" in said
    assert "the run 29.9MB more at most; 21.0MB are free" in said
    said = refused(monkeypatch, capsys, train, *argv, "--keep", 0)
    assert "the run 647MB more" in said and "--keep 1" in said
    disk_of(monkeypatch, 1e6)
    assert "--keep 1" not in refused(monkeypatch, capsys, train, *argv, "--keep", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("states", ["fp32", "bf16"])
def test_what_is_said_of_a_checkpoint_is_what_it_takes(tmp_path, capsys, varied_reward, states):
    run = tmp_path / "run"
    train.train(train.TrainConfig(out=str(run), optimizer_states=states, **SMALL, steps=1))
    said = capsys.readouterr().out
    megabytes = float(re.search(r"a checkpoint takes ([\d.]+)MB", said)[1])
    sizes = [path.stat().st_size for path in (run / "checkpoints" / "step-1").iterdir()]
    assert sum(sizes) == pytest.approx(megabytes * 1e6, rel=0.02)


# ---------------------------------------------------------------- checkpoints that are kept


def names(run) -> list[str]:
    return [path.name for path in runs.checkpoints(Path(run))]


def trained(run, model, **more):
    small = dict(prompts_per_step=2, group_size=2, max_new_tokens=2, eval_problems=2, save_every=2)
    train.train(train.TrainConfig(out=str(run), model=model, **small, **more))


def test_the_newest_two_are_kept_and_the_last_is_one_of_them(tmp_path, tiny_folder):
    trained(tmp_path / "two", tiny_folder, steps=5)
    assert names(tmp_path / "two") == ["step-4", "step-5"]
    trained(tmp_path / "all", tiny_folder, steps=5, keep=0)
    assert names(tmp_path / "all") == ["step-2", "step-4", "step-5"]
    # A run that kept all is asked to keep fewer.
    more = dict(resume=str(tmp_path / "all"), steps=6, keep=1)
    train.train(train.resumed(train.TrainConfig(**more), set(more)))
    assert names(tmp_path / "all") == ["step-6"]


def test_an_old_one_goes_only_when_the_new_one_is_whole(tmp_path, tiny_folder, monkeypatch):
    trained(tmp_path / "run", tiny_folder, steps=4)
    seen = []
    real = runs.remove_folder

    def remove_folder(path):
        seen.append((path.name, names(tmp_path / "run")))
        assert (tmp_path / "run" / "checkpoints" / "step-5" / "trainer.pt").is_file()
        real(path)

    monkeypatch.setattr(runs, "remove_folder", remove_folder)
    more = dict(resume=str(tmp_path / "run"), steps=5)
    train.train(train.resumed(train.TrainConfig(**more), set(more)))
    assert seen == [("step-2", ["step-2", "step-4", "step-5"])]


def test_what_a_kill_left_of_checkpoints_is_cleared_away(tmp_path, tiny_folder):
    trained(tmp_path / "run", tiny_folder, steps=2)
    place = tmp_path / "run" / "checkpoints"
    for name in (".step-3.new", ".step-1.gone"):
        shutil.copytree(place / "step-2", place / name)
    (place / "mine").mkdir()
    assert names(tmp_path / "run") == ["step-2"]
    more = dict(resume=str(tmp_path / "run"), steps=4)
    train.train(train.resumed(train.TrainConfig(**more), set(more)))
    assert sorted(path.name for path in place.iterdir()) == ["mine", "step-2", "step-4"]


def test_folders_within_a_new_folder_are_flushed_too(tmp_path):
    with new_folder(tmp_path / "new") as draft:
        (draft / "templates").mkdir()
        (draft / "templates" / "one").write_text("1")
    assert json.loads((tmp_path / "new" / "templates" / "one").read_text()) == 1
