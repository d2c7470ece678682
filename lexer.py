r"""Mathematical text to tokens: styling taken away, one spelling for each symbol, then one regular expression.

LaTeX and plain typing may mix (`\sqrt{2}`, `sqrt(2)`, `√2`). Runs of letters become words, units or single variables.
"""
import re
import unicodedata

from units import CARDINALS, NUMBER_WORDS, PLAIN_UNITS

MOST_CHARACTERS = 4000  # once symbols are spelled out


class Unfit(ValueError):
    """The text is no answer that this grammar knows."""


# ---------------------------------------------------------------- one spelling for each symbol

SIGNS = {
    "*": "∗", "/": "÷∕⁄", "-": "−–—‐‑", "'": "′’", "''": "″", "|": "∣", " ": "\u00a0\u2009\u202f`$~", "": "\u200b\ufeff",
    ",": "，", "(": "（", ")": "）", ":": "：", ";": "；", ".": "。", "%": "％",
    r"\sqrt ": "√", r"\sqrt[3]": "∛", r"\pi ": "π", r"\infty ": "∞", r"\times ": "×", r"\cdot ": "·⋅∙", r"\pm ": "±",
    r"\mp ": "∓", r"\le ": "≤⩽", r"\ge ": "≥⩾", r"\ne ": "≠", r"\approx ": "≈", r"\cup ": "∪", r"\cap ": "∩", r"\in ": "∈",
    r"\emptyset ": "∅", r"\degree ": "°º", r"\lfloor ": "⌊", r"\rfloor ": "⌋", r"\lceil ": "⌈", r"\rceil ": "⌉",
    r"\langle ": "⟨", r"\rangle ": "⟩", r"\mathbb{R}": "ℝ", r"\setminus ": "∖", r"\implies ": "⇒",
    r"\text{ cents}": "¢", r"\pounds ": "£", r"\euro ": "€", r"\yen ": "¥"}  # a plain $ only says "mathematics"
UNICODE = str.maketrans({sign: latex for latex, signs in SIGNS.items() for sign in signs})
SMALL_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
GREEK = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi "
         "psi omega").split()
TEXT = r"text|textbf|textit|textrm|textnormal|textsf|texttt|mathrm|mathsf|mathit|mbox|hbox|rm|operatorname\*?|emph"
END = r"(?![A-Za-z])"  # of a command's name
STYLING = [(re.compile(pattern), new) for pattern, new in (  # in this order
    (r"\\\$", r"\\dollar "),
    (r",\s*\\!\s*(?=\d{3}(?!\d))|\{,\}\s*(?:\\!)?\s*(?=\d{3}(?!\d))", ""),  # a thousands separator, written as one
    (r"\{,\}", "."), (r"\\!", ""), (r"\\[,;: ]", " "),
    # what only concerns looks
    (r"\\(?:left|right|middle|[bB]igg?[lrm]?)" + END + r"\s*\.?", ""),
    (r"\\(?:hspace|vspace|phantom|hphantom|label|(?:text)?color)\*?\{[^{}]*\}", " "),
    (r"\\(begin|end)\{(?:aligned|align|equation|gather|gathered|split)\*?\}", " "),
    (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|quad|qquad|thinspace|enspace|hfill|break|bf|it|rm|boldmath"
     r"|noindent|nonumber|phantom|tiny|small|large|Large|LARGE|huge|Huge)" + END, " "),
    # one name for each thing
    (r"\{\s*(\\(?:cdot|times))\s*\}|(?<![A-Za-z])\{\s*([-=+,])\s*\}", r"\1\2 "), (r"\\Bbb" + END, r"\\mathbb"),
    (r"\\(?:[dtc]frac|nicefrac|sfrac)" + END, r"\\frac"), (r"(?<![\\A-Za-z])[dt]?frac(?=\s*\{)", r"\\frac"),
    (r"\\[dt]binom" + END, r"\\binom"), (r"\\(?:geq(?:slant)?|ge)" + END + "|>=", r"\\ge "), (r"\\gt" + END, ">"),
    (r"\\(?:leq(?:slant)?|le)" + END + "|<=", r"\\le "), (r"\\lt" + END, "<"), (r"\\(?:neq|not\s*=)|!=", r"\\ne "),
    (r"\\frac\s*\{\s*\\(?:%s)\{([^{}]*)\}\s*\}\s*\{\s*\\(?:%s)\{([^{}]*)\}\s*\}" % (TEXT, TEXT), r"\\text{ \1/\2}"),
    (r"\^\s*(?:\{\s*(?:\\circ|\\degree|o)\s*\}|(?:\\circ|\\degree)" + END + ")", r"\\degree "),
    (r"\{\s*(\\overline\{\d+\})\s*\}", r"\1"),
    (r"(?<![A-Za-z\\{])([A-F][0-9A-F]*\d[0-9A-F]*)_\{?(1[1-6])\}?", r"\\text{\1}_{\2}"),
    (r"\\%", "%"), (r"\\([()\[\]])", " "), (r"\\_", "_"), (r"\\&", "&"), (r"\\#", " "),
    # as people type
    (r"(?:\\mathrm\{C\}|(?<![A-Za-z\\])C)\s*_\{?(\d+)\}?\s*\^\{?(\d+)\}?", r"\\binom{\1}{\2}"),
    (r"(?<=\d) +(?:in )?base +(\d+)", r"_{\1}"), (r"(?<=\d)\s+to\s+(?=\d)", ":"),
    (r"(?<=[)\]}])\s*U\s*(?=[(\[{\\])", r"\\cup "), (r"\*\*", "^"), (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),
    (r"\b(?:np|math|numpy|sympy)\.", ""))]
THOUSANDS = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])"
                       r"|(?<![\d.,/^] )(?<![\d.,/^])[1-9]\d{0,2}(?: \d{3})+(?! ?[\d/,^]| ?\\frac)")


def clean(text: str, thousands: bool = True) -> str:
    """Styling taken away, one spelling for each symbol; thousands separators joined outside brackets if asked to."""
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: ("^%s" if len(m[0]) == 1 else "^{%s}") % m[0].translate(SMALL_DIGITS), text)
    text = re.sub("[₀-₉]+", lambda m: "_{" + m[0].translate(SMALL_DIGITS) + "}", text)
    text = re.sub("[！-～]", lambda m: chr(ord(m[0]) - 0xfee0), text)  # full-width forms
    text = re.sub("[¼½¾⅐-⅞]", lambda m: r"\frac{%s}{%s}" % tuple(unicodedata.normalize("NFKC", m[0]).split("⁄")), text)
    text = text.replace(r"\$", r"\dollar ").translate(UNICODE)
    if len(text) > MOST_CHARACTERS:
        raise Unfit("too long")
    text = re.sub("[Α-Ωα-ωϕϵ]", greek, text)
    text = re.sub(r"\\\\\s*\[-?[0-9.]+\s*[a-z]{2}\]", r"\\\\", text)  # the height of a matrix row
    text = text.replace("\\\\", "\\newrow " if "\\begin" in text else "\\")  # elsewhere somebody escaped twice
    if thousands:
        text = re.sub(r"(?<=\d),\s*\\[,;: ]\s*(?=\d{3}(?!\d))", "", text)
    for pattern, new in STYLING:
        text = pattern.sub(new, text)
    text = unpunctuated(text)
    if "..." in text:
        raise Unfit("an ellipsis")
    return joined_thousands(text) if thousands else text


def greek(letter: re.Match) -> str:
    *_, before, last = unicodedata.name(letter[0]).lower().split()  # "greek small letter pi", "greek phi symbol"
    return f"\\{before if last == 'symbol' else last} "


def joined_thousands(text: str) -> str:
    """1,234 as 1234; in brackets a comma always separates."""
    for match in reversed(list(THOUSANDS.finditer(text))):
        before = text[:match.start()]
        inside = any(before.count(a) > before.count(b) for a, b in ("()", "[]")) or "\\{" in before
        if "," not in match[0] or not inside:
            text = before + re.sub("[, ]", "", match[0]) + text[match.end():]
    return text


def unpunctuated(text: str) -> str:
    """Without the full stop or comma at its end; an ellipsis says that more follows, and stays."""
    text = text.strip()
    return text if text.endswith("..") else text.rstrip(".,;:").strip()


# ---------------------------------------------------------------- tokens

TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|\\(?:%s)\s*\{(?P<text>(?:[^{}]|\{[^{}]*\})*)\}" % TEXT +
    r"|\\begin\s*\{(?P<begin>[a-z]+\*?)\}|\\end\s*\{(?P<end>[a-z]+\*?)\}"
    r"|(?P<num>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+(?![0-9A-Za-z.]))?)"
    r"|\\(?P<cmd>[A-Za-z]+|[{}|])"
    r"|(?P<id>[A-Za-z]+)"
    r"|(?P<sym>[-+*/^_=<>(){}\[\],;:!%'|&])")
SAME_COMMAND = {"cdotp": "cdot", "ast": "cdot", "div": "/", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|",
                "lbrace": "{set", "{": "{set", "rbrace": "}set", "}": "}set", "land": "and", "lor": "or", "colon": ":",
                "asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "arctg": "arctan",
                "cosec": "csc", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")", "varnothing": "emptyset",
                "backslash": "setminus", "degrees": "degree", "deg": "degree", "infinity": "infty", "inf": "infty",
                "oo": "infty", "Infinity": "infty", "union": "cup", "bigcup": "cup", "bigcap": "cap",
                "thickapprox": "approx", "simeq": "approx", "varphi": "phi", "varepsilon": "epsilon", "percent": "%"}
FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log",
             "lg", "exp", "cis", "abs", "floor", "ceil", "cbrt", "gcd", "lcm", "max", "min"}
PLAIN_WORDS = FUNCTIONS | set(GREEK) | {"sqrt", "asin", "acos", "atan", "infty", "infinity", "inf", "oo", "Infinity", "or",
                                        "and", "cup", "union", "times", "percent", "degree", "degrees", "deg", "binom", "in"}
SHORT_WORDS = set("is we by get so yes not the odd sum all any nan non and but for try one two six ten".split())  # no products of letters
OPERATORS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~", "in": "in", "to": None,
             "equiv": None, "implies": None, "sim": None}  # None: known, and not part of an answer that can be compared
UNKNOWN = set("""sum prod int iint oint lim limsup liminf pmod bmod mod forall exists ldots dots cdots therefore because
    Rightarrow rightarrow iff hline newline href url input include def newcommand write read parallel perp nabla partial
    vmatrix not neg lnot tag""".split())
DECORATION = set("""mathbf boldsymbol vec hat bar overline tilde dot ddot mathcal mathbb mathfrak bm pmb overrightarrow widehat
    underline ensuremath mathscr""".split())
DOLLARS = {"dollar": "$", "mathdollar": "$", "textdollar": "$", "pounds": "£", "euro": "€", "yen": "¥"}


def tokens(text: str) -> list[tuple[str, str]]:
    """(kind, value) pairs of a cleaned text; Unfit at a character that is in no answer.

    Kinds: num, id (one letter), text (a word), cmd (a command or known word, without its backslash), sym, begin, end.
    """
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise Unfit(f"cannot read {text[at]!r}")
        kind, value, at = match.lastgroup, match[match.lastgroup], match.end()
        if kind == "id":
            found += letters(value, found[-1] if found else None)
        elif kind == "text":
            found += words(value)
        elif kind == "cmd":
            value = SAME_COMMAND.get(value, value)
            if value in UNKNOWN:
                raise Unfit(f"\\{value}")
            found.append(("sym", value) if value in "/|()[]:%" else ("cmd", value))
        elif kind != "space":
            found.append((kind, value))
    return found


def letters(run: str, previous: tuple | None) -> list[tuple[str, str]]:
    """A run of plain letters as tokens: a known word, a unit after a number, single variables, or a word."""
    low, after = run.lower(), previous and (previous[0] in ("num", "text") or previous[1] in (")", "}"))
    if after and (run in PLAIN_UNITS or run == "in"):
        return [("text", run)]
    if low in ("or", "and"):
        return [("cmd", low)]
    if run in PLAIN_WORDS:
        return [("cmd", SAME_COMMAND.get(run, run))]
    for word in ("sqrt", "arcsin", "arccos", "arctan", "sin", "cos", "tan", "ln", "log", "pi"):
        if run.startswith(word) and len(run) - len(word) == 1:  # sinx, pir
            return [("cmd", word), ("id", run[len(word):])]
    if run.endswith("pi") and len(run) == 3:
        return [("id", run[0]), ("cmd", "pi")]
    if low in CARDINALS:
        return [("num", CARDINALS[low])]
    if len(run) <= 3 and low not in NUMBER_WORDS and low not in SHORT_WORDS:
        return [("id", letter) for letter in run]
    return [("text", run)]


def words(value: str) -> list[tuple[str, str]]:
    """What stands in \\text{}: words, a connective, a function's name, a sign, or mathematics."""
    bare = value.strip(" .,:;")
    if not value.strip():
        return []
    if bare.lower() in ("or", "and"):
        return [("cmd", bare.lower())]
    if SAME_COMMAND.get(bare, bare) in FUNCTIONS - {"min"}:  # min is a minute
        return [("cmd", SAME_COMMAND.get(bare, bare))]
    if bare in ("i", "e", "d"):
        return [("id", bare)]
    if bare in ("%", "percent", "per cent"):
        return [("sym", "%")]
    if bare == "to":
        return [("sym", ":")]
    if bare.lower() == "infinity":
        return [("cmd", "infty")]
    if bare in ("degree", "degrees"):
        return [("cmd", "degree")]
    if bare.lower() in CARDINALS:
        return [("num", CARDINALS[bare.lower()])]
    digits_in_a_base = re.fullmatch(r"[0-9A-Z]*[A-Z][0-9A-Z]*", bare)
    if re.search(r"\\[a-z]|\d", value) and not digits_in_a_base and "^" not in value:  # m^2 is a unit
        return tokens(value)
    parts = [part for part in re.split(r"([,;]|\b(?:and|or)\b)", value) if part.strip()]
    return [("sym", part) if part in ",;" else ("cmd", part) if part in ("and", "or") else ("text", part) for part in parts]
