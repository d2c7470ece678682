"""A recipe's training file is its pinned file: fetched once by name, checked, and never a benchmark."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DATA_FOLDER

import config
import eval as evaluation
import tasks
import train
from config import UserError
from storage import pinned, runs
from storage.pinned import BENCHMARKS, TRAINING

ROWS = [{"question": f"What is {i}+1?", "answer": f"It is\n#### {i + 1}"} for i in range(60)]
TEXT = "\n".join(map(json.dumps, ROWS)) + "\n"
SMALL = dict(
    task="math", steps=1, prompts_per_step=2, group_size=2, max_new_tokens=4, eval_problems=4
)


@pytest.fixture
def upstream(monkeypatch, tmp_path):
    """Where the file of gsm8k-train is fetched from: a file of ours, pinned; and an empty cache."""
    path = tmp_path / "upstream.jsonl"
    path.write_text(TEXT)
    ours = replace(
        TRAINING["gsm8k-train"],
        address=path.as_uri(),
        sha256=hashlib.sha256(TEXT.encode()).hexdigest(),
        problems=60,
    )
    monkeypatch.setitem(TRAINING, "gsm8k-train", ours)
    monkeypatch.setenv("ONEZERO_CACHE", str(tmp_path / "cache"))
    return path


def refused(monkeypatch, capsys, program, *argv) -> tuple[str, str]:
    """(stdout, the one line on stderr) of a program that ends with status 2."""
    monkeypatch.setattr("sys.argv", [program.__name__, *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        config.run_program(program.main)
    shown = capsys.readouterr()
    assert stop.value.code == 2 and shown.err.startswith("error: ") and shown.err.count("\n") == 1
    return shown.out, shown.err


def test_a_run_fetches_its_file_by_name_once_and_says_so(
    upstream, tmp_path, tiny_folder, monkeypatch, capsys
):
    settings = train.TrainConfig(
        data="gsm8k-train", model=tiny_folder, out=str(tmp_path / "run"), **SMALL
    )
    train.train(settings)
    said = f"fetching {upstream.as_uri()} to {tmp_path / 'cache' / 'gsm8k_train.jsonl'}\n"
    assert capsys.readouterr().out.count(said) == 1
    line = json.loads((tmp_path / "run" / runs.ROLLOUTS).read_text().splitlines()[0])
    question = line["question"]
    assert {"question": question, "answer": f"It is\n#### {line['answer']}"} in ROWS

    # The run goes on from another folder and without the network: the name stays a name.
    assert json.loads((tmp_path / "run" / runs.CONFIG).read_text())["data"] == "gsm8k-train"
    upstream.unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resumed = train.TrainConfig(resume=str(tmp_path / "run"), steps=2)
    train.train(train.resumed(resumed, {"resume", "steps"}))
    assert runs.checkpoints(tmp_path / "run")[-1].name == "step-2"
    assert "fetching" not in capsys.readouterr().out


def test_a_folder_of_files_is_read_instead_and_a_resumed_run_finds_it(
    upstream, tmp_path, tiny_folder, monkeypatch, capsys
):
    (tmp_path / "files").mkdir()
    upstream.rename(tmp_path / "files" / "gsm8k_train.jsonl")
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    train.train(
        train.TrainConfig(
            data="gsm8k-train", data_dir="files", model=tiny_folder, out=str(run), **SMALL
        )
    )
    assert not (tmp_path / "cache").exists() and "fetching" not in capsys.readouterr().out
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    resumed = train.TrainConfig(resume=str(run), steps=2)
    train.train(train.resumed(resumed, {"resume", "steps"}))
    assert runs.checkpoints(run)[-1].name == "step-2"


@pytest.mark.parametrize("program", [train, evaluation])
def test_without_the_network_one_line_says_where_the_file_is_and_where_to_put_it(
    upstream, tmp_path, monkeypatch, capsys, program
):
    upstream.unlink()
    monkeypatch.chdir(tmp_path)
    out, error = refused(
        monkeypatch, capsys, program, "--task", "math", "--data", "gsm8k-train", "--device", "cpu"
    )
    assert "fetching" in out
    for part in (upstream.as_uri(), "gsm8k_train.jsonl", "--data-dir"):
        assert part in error
    assert not (tmp_path / "runs").exists()


def test_a_changed_file_is_refused_wherever_it_comes_from(upstream, tmp_path, monkeypatch, capsys):
    upstream.write_text(TEXT.replace("1+1", "1+2"))
    sha256 = TRAINING["gsm8k-train"].sha256
    flags = ["--task", "math", "--data", "gsm8k-train", "--out", tmp_path / "run"]
    _, error = refused(monkeypatch, capsys, train, *flags)
    assert f"not {sha256}" in error and not (tmp_path / "cache").exists()
    upstream.rename(tmp_path / "gsm8k_train.jsonl")
    _, error = refused(monkeypatch, capsys, train, *flags, "--data-dir", tmp_path)
    assert f"not {sha256}" in error and "--data reads any file" in error
    assert not (tmp_path / "run").exists()


def test_an_evaluation_takes_the_held_out_side_by_name(upstream):
    settings = evaluation.EvalConfig(data="gsm8k-train", task="math")
    problems = evaluation.problems_of(settings)["gsm8k-train"]
    assert problems == tasks.read_jsonl(str(upstream), task="math")["held-out"]


def test_a_path_is_a_path_and_a_benchmark_is_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="never to train on"):
        pinned.place_of_data("gsm8k")
    Path("gsm8k").write_text(TEXT)  # a file of that name is a file
    assert pinned.place_of_data("gsm8k") == "gsm8k"
    with pytest.raises(UserError, match="no such file; by name it takes gsm8k-train and math-"):
        pinned.place_of_data("data/gsm8k-train")


def test_every_pinned_file_has_its_own_name_a_commit_and_a_whole_checksum():
    files = [*BENCHMARKS.values(), *TRAINING.values()]
    assert not BENCHMARKS.keys() & TRAINING.keys()
    assert len({file.file for file in files}) == len({file.sha256 for file in files}) == len(files)
    for file in files:
        commit = file.address.split("/")[5]
        assert len(commit) == 40 and int(commit, 16)
        assert len(file.sha256) == 64 and int(file.sha256, 16)


@pytest.mark.parametrize("name", TRAINING)
def test_the_real_training_files_hold_the_stated_number_of_problems(name):
    file = TRAINING[name]
    if not (DATA_FOLDER / file.file).is_file():
        pytest.skip(f"no {DATA_FOLDER / file.file}: the real file is not checked")
    problems = tasks.read_rows(pinned.place_of_data(name, str(DATA_FOLDER)), task="math")
    assert len(problems) == file.problems
