"""The page of a run in a real browser, from the disk: skipped, aloud, where there is none."""

import json

import browser
import made_run
import pytest
from made_run import HOSTILE, QUESTION, RIGHT, WRONG, make_run, response

from evaluation import page
from reward import REWARDS

LONG = "thinking " * 40 + WRONG
GROUP = [
    response(RIGHT, 1.0),
    response(LONG, 0.0),
    response(WRONG, 0.0),
    response("no end in sight " * 8, 0.0, finished=False),
]
EQUAL = [response(WRONG), response(LONG)]


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    if not program:
        pytest.skip("NO BROWSER: no Chromium is installed (or named by ONEZERO_BROWSER)")
    made = browser.Browser(program)
    yield made
    made.close()


@pytest.fixture
def shown(chromium, tmp_path):
    """Opens the page of some runs; at the end nothing was fetched and nothing went wrong."""
    chromium.requests.clear()
    chromium.errors.clear()
    chromium.look(1280, 900)
    opened = []

    def show(*folders, megabytes: float = 5.0):
        out = tmp_path / "report.html"
        page.write_page(folders, str(out), megabytes)
        opened.append(out.as_uri())
        chromium.open(out.as_uri())
        return chromium

    yield show
    assert chromium.requests == opened and chromium.errors == []


def texts(chromium, selector: str) -> list[str]:
    """The texts of all elements that a selector finds."""
    return chromium.run(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)"
    )


def text(chromium, selector: str) -> str:
    (found,) = texts(chromium, selector)
    return found


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run", {1: [GROUP, EQUAL], 20: [GROUP], 40: [GROUP, EQUAL]})


def test_a_problem_before_and_after(shown, run):
    page = shown(run)
    assert text(page, "#before-question") == QUESTION
    assert text(page, "#before-left > p:first-child").startswith("✗ wrong: value is 5, not 26")
    assert text(page, "#before-right > p:first-child").startswith("✓ right")
    assert "".join(texts(page, "#before-right .tokens .answer")) == "20+(18/3)"
    # The stop token is there, as an action.
    assert texts(page, "#before-right .tokens .action") == ["■ stop <|endoftext|>"]
    page.choose("before-right-step", "0")
    assert text(page, "#before-right > p:first-child").startswith("✗ wrong")


def test_curves_with_values_under_the_pointer(shown, run):
    page = shown(run)
    titles = texts(page, "#panels figcaption")
    assert len(titles) == 9 and titles[0].startswith("Accuracy")
    assert texts(page, "#panels .readout")[0] == ("step 40: held out 0.7 [0.2, 0.8]; training 0.4")
    page.move_to("#panels figure:first-child svg")
    # The middle of the picture; a value of another step says so.
    assert texts(page, "#panels .readout")[0] == (
        "step 17: held out 0.5 [0.2, 0.6] (step 20); training 0.17"
    )
    assert "step 1: 60% of the responses hit" in text(page, "#warnings li")
    assert page.run("document.querySelectorAll('#panels .warning title').length") == 9


def test_steps_groups_and_responses_are_chosen(shown, run):
    page = shown(run)
    places = texts(page, "#where option")
    assert places == [
        *["all", "step 0, held out", "step 1, training", "step 20, training"],
        *["step 40, held out", "step 40, training"],
    ]
    page.choose("where", "step 1, training")
    assert len(texts(page, "#groups button")) == 2
    # Strips by reward, the best first, then by length, which is to scale.
    strips = texts(page, "#strips .strip")
    assert strips == [
        f"✓ paid 1{len(RIGHT) + 1}",
        f"✗ paid 0{len(WRONG) + 1}",
        f"✗ paid 0{len('no end in sight ' * 8)} cut",
        f"✗ paid 0{len(LONG) + 1}",
    ]
    widths = page.run(
        "[...document.querySelectorAll('#strips .bar')].map((e) => e.getBoundingClientRect().width)"
    )
    lengths = page.run("orderOf(state.group).map((k) => state.group.tokens[k])")
    assert lengths[1:] == sorted(lengths[1:])
    for width, length in zip(widths, lengths):
        assert width / max(widths) == pytest.approx(length / max(lengths), abs=0.02)
    page.run("document.querySelector('#strips .strip:nth-child(2)').click()")
    assert text(page, "#response > p:first-child").startswith("✗ wrong")
    page.run("document.querySelector('#groups button:nth-child(2)').click()")
    assert len(texts(page, "#strips .strip")) == 2


def test_every_colour_has_its_scale_and_zero_is_white(shown, run):
    page = shown(run)
    for name in texts(page, "#colour option"):
        value = page.run(
            f"[...byId('colour').options].find((o) => o.text === {json.dumps(name)}).value"
        )
        page.choose("colour", value)
        assert text(page, "#legend strong") == name
        # Every token of the group's responses is coloured by its value on the group's scale.
        expected = page.run(
            f"""(() => {{
              const responses = state.group.tokens.map((_, k) => responseOf(state.group, k));
              const largest = scaleOf(responses, {json.dumps(value)});
              const open = responseOf(state.group, state.k);
              return open.ids.map((_, t) => COLOURS[{json.dumps(value)}].value(open, t) / largest);
            }})()"""
        )
        alphas = page.run(
            """[...document.querySelectorAll('#response .tokens .token')].map((e) => {
              const found = e.style.backgroundColor.match(/[\\d.]+/g) || [0, 0, 0, 0];
              return Number(found[3] ?? 1);
            })"""
        )
        assert len(alphas) == len(expected)
        for alpha, share in zip(alphas, expected):
            assert alpha == pytest.approx(0.6 * abs(share or 0), abs=0.005)
        assert (0 in alphas) == any(not share for share in expected)


def test_pushes_and_their_quotient(shown, run):
    """What the page computes of advantages and weights, against the numbers that it was given."""
    page = shown(run)
    sides = page.run("responseOf(state.group, 0).sides")
    grpo = sides["grpo"]["advantage"] * sides["grpo"]["weight"]
    dr_grpo = sides["dr_grpo"]["advantage"] * sides["dr_grpo"]["weight"]
    assert grpo > dr_grpo > 0
    assert page.run("push(responseOf(state.group, 0), 'grpo')") == pytest.approx(grpo)
    assert page.run("quotient(responseOf(state.group, 0))") == pytest.approx(grpo / dr_grpo)
    page.choose("where", "step 1, training")
    page.run("document.querySelector('#groups button:nth-child(2)').click()")
    assert page.run("quotient(responseOf(state.group, 0))") is None
    assert "no advantage" in text(page, "#response .why > table tr:last-child")


def test_the_token_under_the_pointer(shown, run):
    page = shown(run)
    page.move_to("#response .tokens [data-t='2']")
    facts = text(page, "#response .token-facts")
    assert "token 3 of" in facts and "log-prob -0.5, p 0.607; entropy 0.5" in facts
    assert "ratio 1.000, not clipped" in facts and "advantage × weight: GRPO +" in facts
    assert len(texts(page, "#response .token-facts tr")) == 6  # a head and five ids
    page.run("document.querySelector('#response .tokens').focus()")
    page.press("ArrowRight")
    assert "token 4 of" in text(page, "#response .token-facts")
    page.choose("colour", "ratio")
    assert texts(page, "#response .clipped") == ["■ stop <|endoftext|>"]


def test_why_it_was_paid(shown, run):
    page = shown(run)
    page.run("document.querySelector('#strips .strip:nth-child(2)').click()")
    why = text(page, "#response .why")
    assert "20-(18-3), which is 5; one right answer: 20+(18/3)" in why and "the format holds" in why
    assert texts(page, "#response .why details tr.own td:first-child") == ["dr_grpo"]
    assert len(texts(page, "#response .why details tr")) == 1 + len(REWARDS)  # below a head


def test_filters_and_search(shown, run):
    page = shown(run)
    page.run("byId('only-truncated').click()")
    assert len(texts(page, "#strips .strip")) == 1
    assert texts(page, "#response .limit") == ["✂ cut at the length limit"]
    page.run("byId('only-truncated').click(); byId('only-wrong').click()")
    assert all("✗" in strip for strip in texts(page, "#strips .strip"))
    page.run("byId('only-wrong').click()")
    page.choose("search", "SIGHT")
    assert len(texts(page, "#strips .strip")) == 1 and len(texts(page, "#groups button")) == 1
    page.choose("search", "nowhere")
    assert text(page, "#group-question") == "No response passes the filters."
    page.choose("search", "")
    assert len(texts(page, "#strips .strip")) == 4


def test_no_advantage_is_a_filter(shown, tmp_path):
    folder = make_run(tmp_path / "run", {1: [GROUP]})
    lines = [json.loads(x) for x in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    for record in lines[0]["responses"][2:]:
        record["advantage"] = 0.0
    made_run.write(tmp_path / "run" / "rollouts.jsonl", lines)
    page = shown(folder)
    page.run("byId('only-flat').click()")
    assert len(texts(page, "#strips .strip")) == 2


def test_keys(shown, run):
    page = shown(run)
    at = "[...document.querySelectorAll('#strips .strip')].findIndex((e) => e.ariaCurrent)"
    assert page.run(at) == 0
    page.press("j")
    page.press("j")
    assert page.run(at) == 2
    page.press("k")
    assert page.run(at) == 1
    for _ in range(3):
        page.press("j")
    assert page.run("listedGroups().indexOf(state.group)") == 1  # on to the next group
    page.press("k")
    assert page.run("listedGroups().indexOf(state.group)") == 0 and page.run(at) == 3
    page.press("/")
    assert page.run("document.activeElement.id") == "search"
    page.press("Escape")
    page.press("?")
    assert page.run("byId('help').open")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_shown_as_text(shown, tmp_path, name):
    hostile = HOSTILE[name]
    folder = make_run(tmp_path / "run", {1: [[response(hostile), response(RIGHT, 1.0)]]})
    lines = [json.loads(x) for x in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    made_run.write(tmp_path / "run" / "rollouts.jsonl", [{**lines[0], "question": hostile}])
    page = shown(folder)
    page.choose("where", "step 1, training")
    page.run("document.querySelector('#strips .strip:nth-child(2)').click()")
    assert page.run("window.hacked") is None
    # No element but the page's own, and none in another direction.
    assert page.run("document.querySelectorAll('img, script:not(#data)').length") == 1
    assert page.run("document.querySelectorAll('#response svg, #response b').length") == 0
    # All of it is there: what cannot be seen is written out.
    written = page.run(
        f"(() => {{ const e = element('p'); appendText(e, {json.dumps(hostile)});"
        "return e.textContent; })()"
    )
    assert written.isprintable() or "\u0301" in written
    tokens = "".join(texts(page, "#response .tokens .token:not(.action)"))
    assert tokens == written == text(page, "#group-question")


def test_unseen_characters_have_names(shown, run):
    page = shown(run)
    for character, name in {
        "\0": "␀",
        "\x1b": "␛",
        "\u202e": "<U+202E>",
        "\u200f": "<U+200F>",
        chr(0xD83D): "<U+D83D>",
        "\u2028": "<U+2028>",
        "\U0001f600": "\U0001f600",
        "é": "é",
        "\ufffd": "\ufffd",
    }.items():
        script = f"(() => {{ const e = element('p'); appendText(e, {json.dumps(character)}); return e.textContent; }})()"
        assert page.run(script) == name


def test_a_megabyte_without_spaces_stays_in_its_place(shown, tmp_path):
    long = response("x" * 1_000_000, cut_into=1000)
    folder = make_run(tmp_path / "run", {1: [[long, response(RIGHT, 1.0)]]})
    (tmp_path / "run" / "tokens.jsonl").unlink()
    page = shown(folder)
    page.choose("where", "step 1, training")
    page.run("document.querySelector('#strips .strip:nth-child(2)').click()")
    assert "980000 more characters are not in this page" in text(page, "#response .tokens")
    for width in (1280, 390):
        page.look(width, 800)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_both_schemes(shown, run, width, dark, tmp_path):
    page = shown(run)
    page.look(width, 900, dark)
    assert page.run("document.documentElement.scrollWidth <= innerWidth")
    back, ink = page.run(
        "(() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]; })()"
    )
    assert back == ("rgb(22, 22, 22)" if dark else "rgb(255, 255, 255)") and ink != back
    page.picture(tmp_path / "shot.png")
    assert (tmp_path / "shot.png").read_bytes().startswith(b"\x89PNG")


def test_several_runs_lie_over_each_other(shown, run, tmp_path):
    other = make_run(tmp_path / "other", {1: [EQUAL]}, loss="grpo")
    page = shown(run, other)
    assert texts(page, "#curves-legend span") == [" 1 run", " 2 other"]
    assert "2 held out 0.7" in texts(page, "#panels .readout")[0]
    page.choose("run", "1")
    assert texts(page, "#where option")[1:] == [
        *["step 0, held out", "step 1, training", "step 40, held out"]
    ]


def test_an_earlier_run_and_what_a_page_leaves_out(shown, tmp_path):
    folder = make_run(tmp_path / "run", {1: [GROUP]})
    (tmp_path / "run" / "tokens.jsonl").unlink()
    page = shown(folder)
    assert page.run("byId('before').hidden") and text(page, "#response .tokens").startswith(
        "18/3=6"
    )
    assert "not in this page" in text(page, "#response > p:nth-of-type(2)")
    assert texts(page, "#left-out li") == ["Nothing that the run has logged."]


def test_a_page_with_little_room_shows_strips_at_least(shown, tmp_path):
    texts_of_steps = {
        step: [[response(f"{step} " * 300, float(i == 3)) for i in range(4)]] * 2
        for step in range(1, 41)
    }
    folder = make_run(tmp_path / "run", texts_of_steps)
    page = shown(folder, megabytes=0.3)
    assert "tokens of" in text(page, "#left-out li")
    # A group opens at a response that the page has, though a better paid one may be missing.
    partly = "data.groups.find((group) => group.shown && group.shown.includes(null))"
    page.run(f"openGroup({partly}); showGroup()")
    assert page.run("state.group.shown[state.k] !== null")
    assert "no text here" in "".join(texts(page, "#strips .strip"))
    step = page.run("data.groups.find((group) => !group.shown).step")
    page.choose("where", f"step {step}, training")
    page.run("openGroup(listedGroups().find((group) => !group.shown)); showList()")
    assert len(texts(page, "#strips .strip")) == 4
    assert "see rollouts.jsonl" in text(page, "#response")
