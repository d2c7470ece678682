"""A benchmark is its pinned file, fetched once and checked; published figures stand beside the set they were measured on."""

import hashlib
import http.client
import io
import json
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DATA_FOLDER

import eval as program
from config import UserError
from evaluation import benchmarks, tables
from evaluation.benchmarks import BENCHMARKS, PUBLISHED
from storage import pinned

FILES = DATA_FOLDER
ROWS = (
    json.dumps({"problem": "What is $1+1$?", "answer": 2.0})
    + "\n"
    + json.dumps({"problem": "What is $1/2$?", "solution": "It is $\\boxed{\\frac{1}{2}}$."})
    + "\n"
)


@pytest.fixture
def aime24(monkeypatch, tmp_path):
    """The benchmark aime24 with two rows of our own, and a cache of its own."""
    sha256 = hashlib.sha256(ROWS.encode()).hexdigest()
    monkeypatch.setitem(
        BENCHMARKS, "aime24", replace(BENCHMARKS["aime24"], sha256=sha256, problems=2)
    )
    monkeypatch.setenv("ONEZERO_CACHE", str(tmp_path / "cache" / "onezero"))
    return BENCHMARKS["aime24"]


@pytest.fixture
def network(monkeypatch):
    """What the network answers (bytes or an error), and the addresses that were asked for."""

    class Network:
        content, asked = ROWS.encode(), []

    def urlopen(address, timeout):
        Network.asked.append(address)
        if isinstance(Network.content, Exception):
            raise Network.content
        return io.BytesIO(Network.content)

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    return Network


def test_a_file_is_fetched_once_from_its_pinned_address(aime24, network, capsys):
    first = benchmarks.load("aime24")
    assert capsys.readouterr().out.count(f"fetching {aime24.address}") == 1
    assert [p.answer for p in first["aime24"]] == ["2", "\\frac{1}{2}"] and {
        p.task for p in first["aime24"]
    } == {"math"}
    assert benchmarks.load("aime24") == first and network.asked == [aime24.address]
    assert capsys.readouterr().out == ""
    assert (pinned.cache_folder() / "aime24.jsonl").read_bytes() == ROWS.encode()


def test_a_damaged_file_in_the_cache_is_fetched_again(aime24, network):
    benchmarks.load("aime24")
    (pinned.cache_folder() / "aime24.jsonl").write_text(ROWS[:40])
    assert len(benchmarks.load("aime24")["aime24"]) == 2 and len(network.asked) == 2


@pytest.mark.parametrize(
    "content", [ROWS[:-3].encode(), b"", b"<html>sign in first</html>", b"\xff\xfe"]
)
def test_another_file_than_the_pinned_one_is_refused_and_not_kept(content, aime24, network):
    network.content = content
    with pytest.raises(UserError, match=f"sha256 .*, not {aime24.sha256}"):
        benchmarks.load("aime24")
    assert not (pinned.cache_folder() / "aime24.jsonl").exists()


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("no route"),
        TimeoutError("timed out"),
        OSError(101, "unreachable"),
        http.client.IncompleteRead(b""),
    ],
)
def test_an_unreachable_network_is_one_line_that_names_both_ways_out(error, aime24, network):
    network.content = error
    with pytest.raises(UserError) as line:
        benchmarks.load("aime24")
    for part in (aime24.address, "--data-dir", "aime24.jsonl", "--data"):
        assert part in str(line.value)


def test_a_folder_of_files_is_read_and_the_network_left_alone(aime24, network, tmp_path):
    (tmp_path / "aime24.jsonl").write_text(ROWS)
    assert len(benchmarks.load("aime24", str(tmp_path))["aime24"]) == 2 and not network.asked


def test_a_changed_or_missing_file_in_a_folder_is_refused(aime24, tmp_path):
    with pytest.raises(UserError, match="no aime24.jsonl"):
        benchmarks.load("aime24", str(tmp_path))
    (tmp_path / "aime24.jsonl").write_text(ROWS.replace("1+1", "1+2"))
    with pytest.raises(UserError, match=f"has sha256 [0-9a-f]{{64}}, not {aime24.sha256}.*--data "):
        benchmarks.load("aime24", str(tmp_path))


def test_suites_by_name():
    assert benchmarks.names_of("math") == ["aime24", "amc23", "math500", "minerva", "olympiadbench"]
    assert benchmarks.names_of("gsm8k, aime24") == ["gsm8k", "aime24"]
    assert benchmarks.names_of("math,aime24") == benchmarks.names_of("math")  # each once
    for suite in ("", "maths", "math,,gsm8k"):
        with pytest.raises(UserError, match="unknown suite"):
            benchmarks.names_of(suite)


def test_the_real_files_hold_the_stated_number_of_problems():
    if not FILES.is_dir():
        pytest.skip(f"no benchmark files in {FILES}")
    loaded = benchmarks.load("math,gsm8k", str(FILES))
    assert {name: len(problems) for name, problems in loaded.items()} == {
        "aime24": 30,
        "amc23": 40,
        "math500": 500,
        "minerva": 272,
        "olympiadbench": 675,
        "gsm8k": 1319,
    }
    assert all(p.question and p.answer for problems in loaded.values() for p in problems)
    assert (loaded["amc23"][0].answer, loaded["minerva"][0].answer, loaded["gsm8k"][0].answer) == (
        "27",
        "1.6",
        "18",
    )


# ---------------------------------------------------------------- published figures


def test_a_model_is_known_by_hub_id_and_in_the_hubs_cache_but_not_by_the_name_of_a_folder():
    zero = "hkust-nlp/Qwen-2.5-Math-7B-SimpleRL-Zero"
    for model in (zero, f"hub/models--{zero.replace('/', '--')}/snapshots/1"):
        assert benchmarks.published(model)[1]["aime24"] == pytest.approx(0.333)
    for model in (
        "base",
        f"models/{zero.split('/')[1]}/",
        "Qwen2.5-Math-7B-Instruct",
        "Qwen2.5-Math-7B/checkpoints/step-40",
    ):
        assert benchmarks.published(model)[1] == {}, model


def test_published_figures_are_those_of_sets_that_we_have():
    for hub_id, (source, figures) in PUBLISHED.items():
        assert hub_id.count("/") == 1 and source and figures.keys() <= BENCHMARKS.keys()
        assert all(1 < value < 100 for value in figures.values())  # per cent
    base, zero, simplerl = (
        PUBLISHED[name][1]
        for name in (
            "Qwen/Qwen2.5-Math-7B",
            "hkust-nlp/Qwen-2.5-Math-7B-SimpleRL-Zero",
            "hkust-nlp/Qwen-2.5-Math-7B-SimpleRL",
        )
    )
    assert [round(sum(row.values()) / 5, 1) for row in (base, zero, simplerl)] == [
        30.2,
        48.8,
        50.9,
    ]  # as they print it
    assert (
        "amc23" not in PUBLISHED["sail/Qwen2.5-Math-7B-Oat-Zero"][1]
    )  # measured on another AMC set


def test_published_figures_stand_beside_ours_with_their_source():
    ours = {"problems": 30, "k": 1, "too_long": 0, "pass@1": 0.2, "pass@1_ci": [0.1, 0.3]}
    text = tables.table({"aime24": {**ours, "published": 0.433}, "amc23": ours}, "a paper")
    head, aime, amc, mean = text.splitlines()[1:5]
    assert head.split()[-1] == "published" and "published: a paper" in text
    assert (
        aime.split()[-1] == "0.433" and amc.split()[-1] == mean.split()[-1] == "-"
    )  # no mean of some of them
    assert "published" not in tables.table({"aime24": ours})


def test_a_suite_of_a_known_model_shows_what_was_published(
    aime24, network, tiny_folder, tmp_path, monkeypatch, capsys
):
    Path(tiny_folder).rename(tmp_path / "models--sail--Qwen2.5-Math-7B-Oat-Zero")
    flags = [
        "--model",
        str(tmp_path / "models--sail--Qwen2.5-Math-7B-Oat-Zero"),
        "--protocol",
        "dr-grpo",
        "--max-new-tokens",
        "6",
        "--device",
        "cpu",
        "--json",
        str(tmp_path / "f.json"),
    ]
    monkeypatch.setattr("sys.argv", ["eval.py", "--suite", "aime24", *flags])
    program.main()
    assert "2503.20783" in (shown := capsys.readouterr().out) and "0.433" in shown
    found = json.loads((tmp_path / "f.json").read_text())
    assert (
        found["published"] == pytest.approx(0.433)
        and found["problems"] == 2
        and found["config"]["temperature"] == 0
    )
