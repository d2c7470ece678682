"""What a response does on its way to the answer: behaviours, and where the first right answer is.

    reflection    the 15 keywords of the Dr. GRPO paper (arXiv 2503.20783), and what they are in
                  Chinese; its second test, a language model, is left out
    verification, backtracking, subgoals, backward
                  the four of Cognitive Behaviors (arXiv 2503.01307), which has a language model
                  count them
    switches      thoughts that leave the one before for another idea (arXiv 2501.18585)
    first_right   the end of the first right answer, for outcome efficiency (arXiv 2412.21187)

A rule sees wording, not thought: what is done without being said is not counted, and what is said
without being done is. So the counts compare models and steps of training; they are no census of
reasoning. The rules know English prose and the shorthand of the embedded base, which writes its
verdict behind a result ("4+16=20 no") and then tries again.

Every pattern is bounded and every scan goes once over the text, so the cost is linear in its
length.
"""

import re

from grader import last_boxed
from tasks import Problem, check

KEYWORDS = (
    "recheck",
    "rethink",
    "reassess",
    "reevaluate",
    "re-evaluate",
    "reevaluation",
    "re-examine",
    "reexamine",
    "reconsider",
    "reanalyze",
    "double-check",
    "check again",
    "think again",
    "verify again",
    "go over the steps",
)
MOST_CANDIDATES = 50  # different answers that are graded in one response, from its start
LONGEST = 100  # characters of a stated answer, in a box or out of one


# ---------------------------------------------------------------- the rules

WE = (
    r"\b(?:let me|let's|let us|"
    r"(?:i|we)(?:'ll| should| need to| must| have to| can| could| will)?)"
)
# What the embedded base judges: a result, or a person's statement.
VERDICT = r"(?:=[0-9]{1,3}|says (?:true|false))"
# Where one goes back to in thought
TO_EARLIER_WORK = (
    r" to (?:where|when|what)\b| to \([0-9]| to (?:(?:the|my|our|that|this) )?(?:[a-z]{1,12} ){0,2}"
    r"(?:step|start|beginning|problem|question|equation|expression|statement|definition|case"
    r"|assumption|calculation|computation|condition|constraint|clue|formula|approach|method|idea"
    r"|drawing board)s?\b"
)
NUMBER = r"-?[0-9]+(?:\.[0-9]+)?"

# What the keywords are in Chinese: 重新检查 is recheck, 再想想 is think again.
IN_CHINESE = (
    "重新(?:检查|检验|核对|思考|考虑|评估|审视|审题|分析|验证|验算|计算)",
    "再(?:次|一次|仔细)?(?:检查|检验|核对|思考|考虑|验证|验算|想一?想|想一下|算一[遍次])",
    "复查|反思|回顾(?:一下)?(?:步骤|解题|过程)",
)
# Anywhere, inside words too, as the paper's own count has it: "rechecking" is "recheck".
REFLECTION = (*KEYWORDS, *IN_CHINESE)

VERIFICATION = (
    rf"{WE} (?:just |now |quickly |also )?(?:re-?|double[- ])?(?:check|verify|confirm)\b",
    # A thing is checked; without one, "check" may be a bank's and "verified" somebody else's.
    r"\bcheck(?:ing)? "
    r"(?:that|if|whether|this|it|our|my|the (?:answer|result|solution|calculation|work))\b",
    r"\b(?:to verify|verifying|verification)\b",
    # The answer goes back into the question; into another equation it goes on with the solution.
    r"\b(?:plug|substitut)(?:e|ging|ing)? [^.\n]{0,40}\bback (?:in|into|to) (?:the )?"
    r"(?:original|given|question|problem)\b",
    # A result is held against what was wanted.
    rf"= ?{NUMBER}(?:,| \(|,? which is| is) ?"
    r"(?:too|wrong|not (?:[0-9$]|the target|equal|right|correct|enough|what))",
    rf"{VERDICT} (?:yes|no)(?=\s|<|$)",
)

BACKTRACKING = (
    # It is said of oneself, not of a traveller; and who goes back to the store does not think.
    rf"{WE} (?:start over|start again|back-?track|try again|undo)\b",
    rf"{WE} go back(?=[.,;:!?\n]|$| (?:over|a step|one step)\b"
    rf"| and (?:re|check|verify|look|see|fix|correct|think|solve|count|try|use)|{TO_EARLIER_WORK})",
    r"\bback-?tracking\b",
    r"\bdead end\b",
    r"\b(?:this|that|it) "
    r"(?:does not|doesn't|did not|didn't|won't|will not|cannot|can't) (?:seem to )?(?:work|help)\b",
    r"\bwait\b[^.\n]{0,40}\b"
    r"(?:wrong|mistake|error|incorrect|not (?:right|correct)|isn't (?:right|correct))\b",
    r"\bi (?:have )?made (?:a|an) (?:\w{1,15} )?(?:mistake|error)\b",
    # After the verdict comes another try, not the end of the thinking.
    rf"{VERDICT} no\s+(?=[a-z0-9])",
)

SUBGOALS = (
    r"^\W{0,4}step [0-9]{1,2}\b",
    # An announced piece of work: "then" alone orders events of the question as often as work on it.
    r"\b(?:first|next|then|now),? "
    r"(?:(?:we|i)(?:'ll| will| need to| have to| must| should| can)?|let's|let us|let me) "
    r"(?:find|compute|calculate|determine|solve|show|prove|express|simplify|work out)\b",
    r"\b(?:the|our|my) (?:first|next|second|last|final) (?:step|goal|subgoal|task) is to\b",
    r"\bbreak(?:ing)? "
    r"(?:it|this|that|the (?:problem|question|task))(?: down| up)? (?:in|into)\b",
)

BACKWARD = (
    r"\bwork(?:ing)? backwards?\b",
    r"\bstart(?:ing)? (?:from|with|at) the (?:target|goal|answer|end|desired|conclusion)\b",
    # From what is wanted to what it takes.
    rf"\bto (?:get|reach|make|obtain) (?:the target|\$?{NUMBER}\$?)"
    r"[^.\n]{0,30}\b(?:i|we)(?:'d| would)? need\b",
    r"\bit (?:suffices|is enough|is sufficient) to (?:show|prove|find)\b",
)

SWITCHES = (
    # Only where a sentence or line begins; "But wait, " and the like may come first.
    r"(?:\n|[.!?:] )\W{0,4}(?:(?:but|wait|hmm|so|or|okay|well|maybe|perhaps),? ){0,2}"
    r"(?:alternatively\b|another (?:approach|way|method|idea|option|possibility)\b|"
    r"(?:let me|let's|i could|i should|we could|we should) (?:try|consider)\b|instead, )",
)

# Alternatives of one behaviour; each match is one occurrence. `\W{0,4}` lets bullets and bold marks
# stand in front.
RULES = {
    "reflection": REFLECTION,
    "verification": VERIFICATION,
    "backtracking": BACKTRACKING,
    "subgoals": SUBGOALS,
    "backward": BACKWARD,
    "switches": SWITCHES,
}


def pattern_of(rules: tuple[str, ...]) -> re.Pattern:
    """One pattern that matches what any of these rules does, in capitals or not."""
    return re.compile("|".join(rules), re.IGNORECASE | re.MULTILINE)


PATTERNS = {name: pattern_of(rules) for name, rules in RULES.items()}

# What a Countdown expression is made of.
RUN = re.compile(r"[-0-9+*/() ×÷−]+")
STATED = re.compile(
    rf"\banswer(?:\*\*)?(?: is|:| =)[:*\s]{{0,4}}([^\n]{{1,{LONGEST}}}?)(?=\.\s|</|\.?$)|"
    rf"<answer>([^<]{{1,{LONGEST}}})</answer>",
    re.IGNORECASE | re.MULTILINE,
)
# What a line comes to.
LAST = re.compile(r"= ?([^=\n]{1,100}?)(?: (?:yes|no))?(?=</think>|$)", re.MULTILINE)
BOX = re.compile(r"\\(?:boxed|fbox) ?\{")


# ---------------------------------------------------------------- counts


def count(text: str, problem: Problem | None = None) -> dict[str, int]:
    """How often each behaviour occurs.

    A Countdown problem's target, written out as an expression, chains backward.
    """
    text = text.strip()
    text = text.removeprefix("<think>").strip()  # a first thought switches from nothing
    found = {}
    for name, pattern in PATTERNS.items():
        found[name] = matches(pattern, text)
    if problem is not None and problem.task == "countdown":
        target = problem.facts["target"]
        written_out = re.compile(rf"^\W{{0,4}}{target} ?= ?[(0-9]", re.MULTILINE)
        found["backward"] += matches(written_out, text)
    return found


def matches(pattern: re.Pattern, text: str) -> int:
    """How often a pattern matches, without overlaps."""
    return sum(1 for _ in pattern.finditer(text))


# ---------------------------------------------------------------- the first right answer


def first_right(text: str, problem: Problem) -> int:
    """Characters up to the end of the first right answer of a right response.

    All of its characters, where no rule finds one.
    """
    for end, answer in candidates(text, problem):
        right, _, _ = check(answer, problem)
        if right:
            return end
    return len(text)


def candidates(text: str, problem: Problem) -> list[tuple[int, str]]:
    """(end, answer) of what stands in `text` as an answer, in order.

    They are different, and at most MOST_CANDIDATES. Countdown: whole expressions over the given
    numbers. Else boxes, "answer is X", the answer block, and what a line comes to ("= X"), which
    may be an intermediate value that happens to be right.
    """
    if problem.task == "countdown":
        found = expressions(text, problem.facts["numbers"])
    else:
        found = boxes(text) + statements(text)
    first_end = {}
    for end, answer in sorted(found):
        first_end.setdefault(bare(answer), end)
    different = [(end, answer) for answer, end in first_end.items()]
    return different[:MOST_CANDIDATES]


def expressions(text: str, numbers: tuple[int, ...]) -> list[tuple[int, str]]:
    """(end, expression) of every expression that uses the given numbers, each once."""
    given = sorted(numbers)
    found = []
    for run in RUN.finditer(text):
        expression = run[0].strip(" +*/−-")
        if len(expression) > LONGEST:
            continue
        used = map(int, re.findall(r"[0-9]+", expression))
        if sorted(used) == given:
            found.append((run.end(), expression))
    return found


def boxes(text: str) -> list[tuple[int, str]]:
    """(end, content) of every box that closes before the next one begins."""
    starts = [box.start() for box in BOX.finditer(text)]
    found = []
    for start, following in zip(starts, [*starts[1:], len(text)]):
        end = min(following, start + 3 * LONGEST)
        answer = last_boxed(text[start:end])
        if answer:
            closing = text.index(answer, start) + len(answer)
            found.append((closing + 1, answer))  # + 1: the end is behind the brace
    return found


def statements(text: str) -> list[tuple[int, str]]:
    """(end, answer) of every answer that is stated, and of what every line comes to."""
    found = []
    for pattern in (STATED, LAST):
        for match in pattern.finditer(text):
            group = match.lastindex
            found.append((match.end(group), match[group]))
    return found


def bare(answer: str) -> str:
    """An answer without the marks of mathematics and the full stop around it."""
    answer = answer.strip(" $*.,")
    answer = answer.removesuffix("\\)").removesuffix("\\]")
    answer = answer.removeprefix("\\(").removeprefix("\\[")
    return answer.strip()
