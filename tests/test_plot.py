"""Curves of runs that are done, that go on, and that are not there."""

import json

import pytest

import config
import plot
from config import UserError


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
    panels, real = [], plot.draw_run
    monkeypatch.setattr(
        plot, "draw_run", lambda axes, *rest: panels.append(axes) or real(axes, *rest)
    )
    return panels


def curve(axes, label):
    """{step: value} of the line with this label."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(handles[labels.index(label)].get_xydata().tolist())


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path):
    assert len(plot.read_metrics(metrics(tmp_path / "run", 6, '{"step": 7, "rew'))) == 7
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 0')
    with pytest.raises(UserError, match="not logged a step"):
        plot.read_metrics(tmp_path / "run")


def test_a_broken_line_before_the_last_is_refused_by_its_number(tmp_path):
    with pytest.raises(UserError, match="line 4: not JSON"):
        plot.read_metrics(metrics(tmp_path / "run", 2, '{"step": 3, "rew\n{"step": 4}\n'))


def test_a_series_skips_what_has_no_value_and_averages_over_what_has():
    lines = [
        {"step": 0},
        {"step": 1, "x": None},
        {"step": 2, "x": 4.0},
        {"step": 3, "x": 0.0},
        {"step": 4, "y": 1.0},
        {"step": 5, "x": 2.0},
    ]
    assert plot.series(lines, "x") == ([2, 3, 5], [4.0, 0.0, 2.0])
    assert plot.series(lines, "x", 2) == ([2, 3, 5], [4.0, 2.0, 1.0])
    assert plot.series(lines, "none") == ([], [])


def test_the_command_line_draws_two_runs_over_each_other_one_of_them_in_progress(
    tmp_path, drawn, monkeypatch, capsys
):
    done, going = metrics(tmp_path / "done"), metrics(tmp_path / "going", 3, '{"step": 4, "rew')
    monkeypatch.setattr("sys.argv", ["plot.py", done, going, "--smooth", "1", "--title", "both"])
    plot.main()
    out = tmp_path / "going" / "curves.png"  # by default in the last run's folder
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
    plot.plot([metrics(tmp_path / "run", 0)], str(tmp_path / "picture.svg"))
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_a_missing_run_is_refused_and_nothing_is_drawn(tmp_path, drawn):
    run = metrics(tmp_path / "run")
    with pytest.raises(UserError, match="nowhere: no metrics.jsonl"):
        plot.plot([run, str(tmp_path / "nowhere")], str(tmp_path / "out.png"))
    with pytest.raises(UserError, match="name a run folder"):
        plot.PlotConfig()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_kind_of_picture_that_cannot_be_written_is_one_line(tmp_path, drawn, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["plot.py", metrics(tmp_path / "run"), "--out", str(tmp_path / "curves.txt")]
    )
    with pytest.raises(SystemExit) as stop:
        config.run_program(plot.main)
    assert stop.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
