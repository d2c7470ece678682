"""A run as a page and as a picture: runs that are done, that go on, of earlier versions, and none."""

import json
import shlex

import made_run
import pytest
import torch
from made_run import HOSTILE, QUESTION, RIGHT, WRONG, line_of, make_run, metrics_line, response

import config
import eval as evaluation
import report
import reward
import sample
import tasks
import train
from config import UserError
from evaluation import ending, logs, page, picture, selection, statistics, tokens, why


def metrics(folder, steps=6, tail=""):
    """A run's folder: step 0 with its evaluation alone, then steps in the first of which nobody was right."""
    evaluation = {"eval_accuracy": 0.25, "eval_accuracy_ci": [0.2, 0.3]}
    lines = [{"step": 0, **evaluation}]
    lines += [
        {
            "step": i,
            "reward": 0.1 * i,
            "accuracy": 0.1 * i,
            "length": 20.0 + i,
            "length_wrong": 22.0,
            "entropy": 1.0 / i,
            "length_right": 15.0 if i > 1 else None,
            **({} if i % 3 else evaluation),
        }
        for i in range(1, steps + 1)
    ]
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)
    return str(folder)


@pytest.fixture
def drawn(monkeypatch):
    """The four panels of each picture that gets drawn."""
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: no picture is drawn")
    panels, real = [], picture.draw_run
    monkeypatch.setattr(
        picture, "draw_run", lambda axes, *rest: panels.append(axes) or real(axes, *rest)
    )
    return panels


def curve(axes, label):
    """{step: value} of the line with this label."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(handles[labels.index(label)].get_xydata().tolist())


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path):
    assert len(logs.read_metrics(metrics(tmp_path / "run", 6, '{"step": 7, "rew'))) == 7
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 0')
    with pytest.raises(UserError, match="not logged a step"):
        logs.read_metrics(tmp_path / "run")


def test_a_broken_line_before_the_last_is_refused_by_its_number(tmp_path):
    with pytest.raises(UserError, match="line 4: not JSON"):
        logs.read_metrics(metrics(tmp_path / "run", 2, '{"step": 3, "rew\n{"step": 4}\n'))


def test_a_series_skips_what_has_no_value_and_averages_over_what_has():
    lines = [
        {"step": 0},
        {"step": 1, "x": None},
        {"step": 2, "x": 4.0},
        {"step": 3, "x": 0.0},
        {"step": 4, "y": 1.0},
        {"step": 5, "x": 2.0},
    ]
    assert picture.series(lines, "x") == ([2, 3, 5], [4.0, 0.0, 2.0])
    assert picture.series(lines, "x", 2) == ([2, 3, 5], [4.0, 2.0, 1.0])
    assert picture.series(lines, "none") == ([], [])


def test_the_command_line_draws_two_runs_over_each_other_one_of_them_in_progress(
    tmp_path, drawn, monkeypatch, capsys
):
    done, going = metrics(tmp_path / "done"), metrics(tmp_path / "going", 3, '{"step": 4, "rew')
    out = tmp_path / "going" / "curves.png"
    monkeypatch.setattr(
        "sys.argv",
        ["report.py", done, going, "--png", str(out), "--smooth", "1", "--title", "both"],
    )
    report.main()
    assert capsys.readouterr().out.endswith(f"\n{out}\n") and out.read_bytes().startswith(
        b"\x89PNG"
    )
    assert sorted(p.name for p in out.parent.iterdir()) == ["curves.png", "metrics.jsonl"]
    _, reward, length, _ = drawn[0]
    assert (
        drawn[0] is drawn[1]
        and max(curve(reward, "done")) == 6
        and max(curve(reward, "going")) == 3
    )
    assert curve(length, "done: right") == {
        step: 15.0 for step in range(2, 7)
    }  # in step 1 nobody was right


def test_a_run_before_its_first_step_is_drawn(tmp_path, drawn):
    picture.plot([metrics(tmp_path / "run", 0)], str(tmp_path / "picture.svg"))
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_a_missing_run_is_refused_and_nothing_is_drawn(tmp_path, drawn):
    run = metrics(tmp_path / "run")
    with pytest.raises(UserError, match="nowhere: no metrics.jsonl"):
        picture.plot([run, str(tmp_path / "nowhere")], str(tmp_path / "out.png"))
    with pytest.raises(UserError, match="name a run folder"):
        report.ReportConfig()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_kind_of_picture_that_cannot_be_written_is_one_line(tmp_path, drawn, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["report.py", metrics(tmp_path / "run"), "--png", str(tmp_path / "curves.txt")]
    )
    with pytest.raises(SystemExit) as stop:
        config.run_program(report.main)
    assert stop.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


# ---------------------------------------------------------------- the page


def data_in(page: str) -> dict:
    """The data of a page."""
    _, _, rest = page.partition('<script type="application/json" id="data">')
    return json.loads(rest.partition("</script>")[0])


def page_of_run(*folders, megabytes: float = 5.0) -> dict:
    found = [page.read_run(folder) for folder in folders]
    return data_in(page.page_of(found, megabytes))


def test_the_page_has_the_numbers_of_the_logs(tmp_path):
    groups = {1: [[response(WRONG), response(RIGHT, 1.0), response(WRONG, finished=False)]]}
    data = page_of_run(make_run(tmp_path / "run", groups))
    assert data["left_out"] == [] and [group["step"] for group in data["groups"]] == [0, 1, 40]
    group = data["groups"][1]
    line = json.loads((tmp_path / "run" / "tokens.jsonl").read_text().splitlines()[-1])
    assert group["question"] == QUESTION and group["total"] == [0.0, 1.0, 0.0]
    assert group["tokens"] == [len(record["ids"]) for record in line["responses"]]
    lengths = torch.tensor(group["tokens"])
    sides = tokens.both_sides(torch.tensor(group["total"]), lengths, 256)
    for shown, record, side in zip(group["shown"], line["responses"], sides):
        assert shown["text"] == record["text"] and shown["sides"] == side
        for name in page.OF_TOKENS:
            assert shown[name] == record[name]
    assert group["pieces"] == line["pieces"]
    metrics = logs.read_metrics(tmp_path / "run")
    columns = data["runs"][0]["metrics"]
    assert columns["step"] == list(range(41))
    assert columns["reward"][1:] == pytest.approx([line["reward"] for line in metrics[1:]])
    assert columns["reward"][0] is None
    assert columns["eval_accuracy_ci"][20] == [0.2, 0.6]
    assert data["runs"][0]["warnings"] == [
        {"step": 1, "text": "60% of the responses hit --max-new-tokens and earn nothing"}
    ]


def test_why_a_response_was_paid(tmp_path):
    hedging = "x</think> <answer>1</answer> <answer>2</answer>"
    groups = {1: [[response(WRONG), response(RIGHT, 1.0), response(hedging)]]}
    shown = page_of_run(make_run(tmp_path / "run", groups))["groups"][1]["shown"]
    wrong, right, none = [entry["reasons"] for entry in shown]
    first, end = wrong["span"]
    assert WRONG[first:end] == wrong["answer"] == "20-(18-3)" and wrong["value"] == "5"
    assert right["value"] == "26" and right["fault"] == ""
    assert none["answer"] is None and none["span"] is None and none["fault"] == "two answers"
    problem = tasks.read_countdown(QUESTION)
    for reasons, text in zip((wrong, right, none), (WRONG, RIGHT, hedging)):
        assert [name for name, _, _ in reasons["rewards"]] == list(reward.REWARDS)
        for name, total, reason in reasons["rewards"]:
            earned = reward.score(name, text, problem)
            assert (total, reason) == (earned.total, earned.why)


@pytest.mark.parametrize(
    "text,style,answer",
    [
        ("5 is 5</think> <answer> 5 </answer> 5", "auto", "5"),
        (r"\boxed{5} or \boxed{7} </think> so \boxed{ 7 }", "auto", "7"),
        ("12</think> <answer>\\boxed{12}</answer>", "auto", "12"),
        ("3 then 12, so 12.", "last-number", "12"),
        ("no", "auto", None),
    ],
)
def test_where_the_answer_stands(text, style, answer):
    reading = reward.read_response(text, style)
    span = why.span_of(text, reading)
    assert reading.answer == answer
    if answer is None:
        assert span is None
    else:
        first, end = span
        assert text[first:end] == answer
        assert "<answer>" not in text or text.rfind("<answer>") < first < text.rfind("</answer>")


def test_a_run_of_an_earlier_version_has_a_page_with_what_there_is(tmp_path):
    folder = make_run(tmp_path / "run", {1: [[response(WRONG), response(RIGHT, 1.0)]]})
    (tmp_path / "run" / "tokens.jsonl").unlink()
    group = page_of_run(folder)["groups"][0]
    assert group["shown"][0]["text"] == WRONG and "ids" not in group["shown"][0]
    assert group["shown"][0]["sides"]["grpo"]["advantage"] < 0
    assert group["shown"][0]["reasons"]["value"] == "5" and group["shown"][1]["reasons"]["rewards"]
    (tmp_path / "run" / "rollouts.jsonl").unlink()
    (tmp_path / "run" / "config.json").unlink()
    assert page_of_run(folder)["groups"] == []


def test_a_problem_whose_facts_are_not_known_is_not_graded_again(tmp_path):
    group = {"step": 1, "question": "Who is a knight?", "answer": "(1) Zoey is a knight"}
    assert why.problem_of(group, {"task": "kk:3"}) is None
    problem = why.problem_of(group, {"task": "math", "data": "m.jsonl"})
    assert problem.task == "math" and problem.answer == group["answer"]
    assert why.problem_of(group, {"task": "countdown", "data": "d.jsonl"}).task == "data"
    reasons = why.explain(RIGHT, None, True)
    assert reasons["rewards"] == [] and reasons["answer"] == "20+(18/3)"


def test_a_run_in_progress_has_a_page(tmp_path):
    folder = make_run(tmp_path / "run", {1: [[response(WRONG), response(RIGHT, 1.0)]]})
    (tmp_path / "run" / "summary.json").unlink()
    for name in ("metrics.jsonl", "rollouts.jsonl", "tokens.jsonl"):
        with open(tmp_path / "run" / name, "a") as file:
            file.write('{"step":41,"kind":"train","pla')
    data = page_of_run(folder)
    assert [group["step"] for group in data["groups"]] == [0, 1, 40]
    assert data["runs"][0]["about"].endswith("40 steps so far")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_data(tmp_path, name):
    text = HOSTILE[name]
    groups = {1: [[response(text), response(text, 1.0)]]}
    folder = make_run(tmp_path / "run", groups, template=text)
    rollouts = (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()
    rollouts[0] = json.dumps({**json.loads(rollouts[0]), "question": text, "answer": text})
    (tmp_path / "run" / "rollouts.jsonl").write_text("\n".join(rollouts) + "\n")
    page.write_page([folder], str(tmp_path / "run" / "report.html"))
    whole = (tmp_path / "run" / "report.html").read_bytes()
    empty = page.assembled({"runs": [], "groups": [], "left_out": []})
    assert whole.isascii() and b"\0" not in whole
    # No more markup than a page without a run has.
    assert whole.count(b"<") == empty.count("<") and whole.count(b"</script") == 2
    group = data_in(whole.decode())["groups"][1]
    assert group["question"] == text and group["shown"][0]["text"] == text


def test_a_megabyte_without_spaces_is_cut_and_told(tmp_path):
    long = response("x" * 1_000_000, cut_into=1000)
    data = page_of_run(make_run(tmp_path / "run", {1: [[long, response(RIGHT, 1.0)]]}))
    shown = data["groups"][1]["shown"][0]
    assert len(shown["text"]) == selection.LONGEST_TEXT and shown["characters"] == 1_000_000


def test_a_number_that_is_not_finite_is_left_out(tmp_path):
    folder = make_run(tmp_path / "run", {1: [[response(WRONG), response(RIGHT, 1.0)]]})
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 41, "loss": float("nan"), "reward": float("inf")}) + "\n")
    with open(tmp_path / "run" / "tokens.jsonl", "a") as file:
        line = line_of(41, "held-out", 0, [response("x")])
        line["responses"][0]["entropy"][0] = float("nan")
        line["responses"][0]["their_logprobs"][0][4] = -float("inf")
        file.write(json.dumps(line) + "\n")
    data = page_of_run(folder)
    columns = data["runs"][0]["metrics"]
    assert columns["loss"][-1] is None and columns["reward"][-1] is None
    shown = data["groups"][-1]["shown"][0]
    assert shown["entropy"][0] is None and shown["their_logprobs"][0][4] is None


def test_a_page_has_a_limit_and_says_what_it_leaves_out(tmp_path):
    groups = {}
    for step in range(1, 41):
        texts = [response(f"{step} " * 400, float(i == 3), cut_into=2) for i in range(4)]
        groups[step] = [texts, texts]
    folder = make_run(tmp_path / "run", groups)
    found = [page.read_run(folder)]
    for megabytes in (0.2, 0.5, 2.0):
        whole = page.page_of(found, megabytes)
        data = data_in(whole)
        shown = [group for group in data["groups"] if group.get("shown")]
        with_tokens = 0
        for group in shown:
            with_tokens += sum(bool(entry and "ids" in entry) for entry in group["shown"])
        assert len(whole) <= megabytes * 1e6 and 0 < with_tokens < 322
        assert f"tokens of {with_tokens} of 322 responses" in " ".join(data["left_out"])
        # The last step and the first one are there, and a best and a worst of each.
        assert {group["step"] for group in shown} >= {1, 40}
    assert len(data["groups"]) == 82
    assert page_of_run(folder, megabytes=50)["left_out"] == []


def test_every_beginning_of_an_order_is_spread_out():
    order = selection.spread(list(range(0, 101, 10)))
    assert order[:5] == [100, 0, 50, 20, 70] and sorted(order) == list(range(0, 101, 10))
    assert selection.spread([7]) == [7, 7] and selection.spread([]) == []


def test_long_runs_keep_every_evaluation_of_their_curves(tmp_path):
    lines = [metrics_line(step, step % 20 == 0) for step in range(5001)]
    kept = page.thinned(lines)
    assert len(kept) <= 1.1 * page.MOST_POINTS and kept[-1]["step"] == 5000
    assert sum("eval_accuracy" in line for line in kept) == 251


def test_the_command_line_writes_the_page_and_the_table(tmp_path, monkeypatch, capsys):
    folder = make_run(tmp_path / "run", {1: [[response(WRONG), response(RIGHT, 1.0)]]})
    (tmp_path / "run" / "summary.json").unlink()
    opened = []
    monkeypatch.setattr(report.webbrowser, "open", opened.append)
    monkeypatch.setattr("sys.argv", ["report.py", folder, "--open"])
    report.main()
    out = tmp_path / "run" / "report.html"
    assert capsys.readouterr().out == f"no run is done yet\n{out}\n"
    assert opened == [out.as_uri()] and data_in(out.read_text())["runs"][0]["name"] == "run"


def test_a_damaged_line_of_tokens_is_refused_by_its_file(tmp_path):
    folder = make_run(tmp_path / "run", {1: [[response(WRONG), response(RIGHT, 1.0)]]})
    with open(tmp_path / "run" / "tokens.jsonl", "a") as file:
        file.write("garbage\n")
    with pytest.raises(UserError, match="tokens.jsonl: damaged"):
        page.read_run(folder)


# ---------------------------------------------------------------- the last lines of a training


def test_the_last_lines_of_a_training(tmp_path):
    folder = make_run(tmp_path / "a run", {1: [[response(WRONG), response(RIGHT, 1.0)]]})
    (tmp_path / "a run" / "checkpoints" / "step-40").mkdir(parents=True)
    said = ending.last_lines(folder).splitlines()
    assert said[0] == f"A held-out problem: {QUESTION}"
    assert said[1] == "  the base, wrong: value is 5, not 26:" and "20-(18-3)" in said[2]
    assert said[3] == "  now, right:" and said[5].endswith("<answer>20+(18/3)</answer>")
    gain, low, high = statistics.paired_gain([False, True, False], [True, True, False])
    assert said[6].startswith(f"Gain: {gain:+.3f} [{low:+.3f}, {high:+.3f}]")
    assert said[-1] == f"The run as a page: {tmp_path / 'a run' / 'report.html'}"
    # The three commands are such that the programs take them.
    programs = {"report.py": report.ReportConfig, "sample.py": sample.SampleConfig}
    programs |= {"train.py": train.TrainConfig, "eval.py": evaluation.EvalConfig}
    commands = [shlex.split(line) for line in said[8:11]]
    assert [command[1] for command in commands] == ["report.py", "sample.py", "train.py"]
    for _, program, *arguments in commands:
        settings, _ = config.parse(programs[program], "", arguments)
    assert settings.steps == 80 and settings.resume == folder


def test_a_training_ends_by_naming_its_page(tmp_path, tiny_folder, monkeypatch, capsys):
    folder = tmp_path / "run"
    flags = "--steps 1 --prompts-per-step 2 --group-size 2 --max-new-tokens 6 --eval-problems 4"
    flags = [*flags.split(), "--model", tiny_folder, "--out", str(folder)]
    monkeypatch.setattr("sys.argv", ["train.py", *flags])
    train.main()
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"The run as a page: {folder / 'report.html'}"
    assert "  the base, wrong: " in "\n".join(said) and any(s.startswith("Gain: ") for s in said)
    data = data_in((folder / "report.html").read_text())
    kinds = [(group["step"], group["kind"]) for group in data["groups"]]
    assert kinds == [(0, "held-out")] * 4 + [(1, "held-out")] * 4 + [(1, "train")] * 2
    assert all("ids" in entry for group in data["groups"] for entry in group["shown"])
    assert data["runs"][0]["metrics"]["step"] == [0, 1]
    # Resumed, it ends so as well.
    monkeypatch.setattr("sys.argv", ["train.py", "--resume", str(folder), "--steps", "2"])
    train.main()
    assert capsys.readouterr().out.splitlines()[-1] == said[-1]
    assert 2 in {group["step"] for group in data_in((folder / "report.html").read_text())["groups"]}


def test_the_last_lines_show_what_a_terminal_would_obey(tmp_path):
    record = response("\x1b[2J\u202e</think> <answer>\x07</answer>")
    record["why"] = "cannot read \x07"
    folder = make_run(tmp_path / "run", {})
    made_run.write(tmp_path / "run" / "tokens.jsonl", [line_of(0, "held-out", 0, [record])])
    (tmp_path / "run" / "checkpoints" / "step-40").mkdir(parents=True)
    said = ending.last_lines(folder)
    assert "wrong: cannot read <U+0007>" in said and "<U+001B>[2J<U+202E>" in said
    assert said.replace("\n", "").isprintable()


def test_the_gain_is_by_problem():
    before = [False] * 60 + [True] * 40
    after = [True] * 30 + [False] * 30 + [True] * 38 + [False] * 2
    gain, low, high = statistics.paired_gain(before, after)
    assert gain == 0.28 and low < gain < high
    # Agresti and Min (2005): (30 - 2) / 102, and its standard error.
    centre, error = 28 / 102, ((33 / 102 - (28 / 102) ** 2) / 102) ** 0.5
    assert (low + high) / 2 == pytest.approx(centre) and high - low == pytest.approx(
        2 * 1.96 * error
    )
    none, low, high = statistics.paired_gain(before, before)
    assert none == 0 and low < 0 < high
    lost, low, high = statistics.paired_gain(after, before)
    assert lost == -0.28 and high < 0


# ---------------------------------------------------------------- eval.py --html


def evaluated(monkeypatch, *argv) -> None:
    monkeypatch.setattr("sys.argv", ["eval.py", *map(str, argv)])
    evaluation.main()


def test_an_evaluation_as_a_page(tmp_path, tiny_folder, monkeypatch):
    out, saved = tmp_path / "out.html", tmp_path / "saved.jsonl"
    flags = ("--model", tiny_folder, "--n", 3, "--k", 2, "--max-new-tokens", 8)
    evaluated(monkeypatch, *flags, "--temperature", 0, "--html", out, "--save", saved)
    data = data_in(out.read_text())
    rows = [json.loads(line) for line in saved.read_text().splitlines()[1:]]
    assert [group["set"] for group in data["groups"]] == ["countdown"] * 3
    assert "countdown 0.000 [0.000, " in data["runs"][0]["about"] and data["left_out"] == []
    shown = [entry for group in data["groups"] for entry in group["shown"]]
    assert [entry["text"] for entry in shown] == [row["text"] for row in rows]
    assert [len(entry["ids"]) for entry in shown] == [row["tokens"] for row in rows]
    # Greedily drawn: each token is the likeliest one.
    for entry in shown:
        assert entry["ids"] == [likeliest[0] for likeliest in entry["likeliest"]]
    # Graded again there are texts and reasons, and no tokens.
    evaluated(monkeypatch, "--regrade", saved, "--html", out)
    again = [entry for group in data_in(out.read_text())["groups"] for entry in group["shown"]]
    assert [entry["text"] for entry in again] == [row["text"] for row in rows]
    assert "ids" not in again[0] and again[0]["reasons"]["rewards"]


def test_tokens_of_an_evaluation_are_looked_at_up_to_a_limit(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setattr(evaluation, "MOST_LOOKED_AT", 20)
    out = tmp_path / "out.html"
    flags = ("--model", tiny_folder, "--n", 4, "--k", 2, "--max-new-tokens", 8)
    evaluated(monkeypatch, *flags, "--html", out)
    data = data_in(out.read_text())
    with_tokens = []
    for group in data["groups"]:
        with_tokens += ["ids" in entry for entry in group["shown"]]
    assert 1 <= sum(with_tokens) < 8 and with_tokens == sorted(with_tokens, reverse=True)


def test_a_page_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    for settings, says in (
        (evaluation.EvalConfig(html=str(tmp_path / "no" / "a.html")), "--html .*no such folder"),
        (evaluation.EvalConfig(html="a", save="./a"), "--html and --save name the same file"),
        (evaluation.EvalConfig(json="a", save="./a"), "--save and --json name the same file"),
    ):
        with pytest.raises(UserError, match=says):
            evaluation.settled(settings, set())
