r"""Mathematical text to tokens: styling taken away, one spelling for each symbol, then one regular expression.

LaTeX and plain typing may mix (`\\sqrt{2}`, `sqrt(2)`, `√2`). Runs of letters become words, units or single variables.
"""
import re
import unicodedata

from units import CARDINALS, NUMBER_WORDS, PLAIN_UNITS


MOST_CHARACTERS = 4000  # once symbols are spelled out


class Unfit(ValueError):
    """The text is no answer that this grammar knows."""


UNICODE = str.maketrans({
    "√": r"\sqrt ", "∛": r"\sqrt[3]", "π": r"\pi ", "∞": r"\infty ", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "−": "-", "–": "-", "—": "-", "‐": "-", "±": r"\pm ",
    "∓": r"\mp ", "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "°": r"\degree ", "º": r"\degree ", "′": "'", "’": "'", "″": "''",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ", "∣": "|",
    "ℝ": r"\mathbb{R}", "∖": r"\setminus ", "，": ",", "（": "(", "）": ")", "：": ":", "；": ";", "。": ".", "％": "%",
    "¢": r"\text{ cents}", "£": r"\pounds ", "€": r"\euro ", "¥": r"\yen ", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    "\u200b": "", "\ufeff": "", "`": " ", "$": " ", "~": " ", "⇒": r"\implies "})
GREEK = ("alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi "
         "psi omega").split()
RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")
TEXT = r"text|textbf|textit|textrm|textnormal|textsf|texttt|mathrm|mathsf|mathit|mbox|hbox|rm|operatorname\*?|emph"
STYLING = [(re.compile(pattern), new) for pattern, new in (
    (r"\\\$", r"\\dollar "),
    (r",\s*\\!\s*(?=\d{3}(?!\d))|\{,\}\s*(?:\\!)?\s*(?=\d{3}(?!\d))", ""),  # a written thousands separator
    (r"\{,\}", "."), (r"\\!", ""), (r"\\[,;: ]", " "),
    (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?", ""),
    (r"\\(?:hspace|vspace|phantom|hphantom|label|(?:text)?color)\*?\{[^{}]*\}", " "),
    (r"\\(begin|end)\{(?:aligned|align|equation|gather|gathered|split)\*?\}", " "),
    (r"\{\s*(\\(?:cdot|times))\s*\}|(?<![A-Za-z])\{\s*([-=+,])\s*\}", r"\1\2 "), (r"\\Bbb(?![A-Za-z])", r"\\mathbb"),
    (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|quad|qquad|thinspace|enspace|hfill|break|bf|it|rm|boldmath"
     r"|noindent|nonumber|phantom|tiny|small|large|Large|LARGE|huge|Huge)(?![A-Za-z])", " "),
    (r"\\[dtc]frac(?![A-Za-z])|\\nicefrac(?![A-Za-z])|\\sfrac(?![A-Za-z])", r"\\frac"),
    (r"(?<![\\A-Za-z])[dt]?frac(?=\s*\{)", r"\\frac"), (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
    (r"\\(?:geq(?:slant)?|ge|gt)(?![A-Za-z])", lambda m: r"\ge " if m[0] != r"\gt" else ">"),
    (r"\\(?:leq(?:slant)?|le|lt)(?![A-Za-z])", lambda m: r"\le " if m[0] != r"\lt" else "<"),
    (r"\\(?:neq|not\s*=)|!=", r"\\ne "), (r">=", r"\\ge "), (r"<=", r"\\le "),
    (r"\\frac\s*\{\s*\\(?:%s)\{([^{}]*)\}\s*\}\s*\{\s*\\(?:%s)\{([^{}]*)\}\s*\}" % (TEXT, TEXT), r"\\text{ \1/\2}"),
    (r"\^\s*(?:\{\s*(?:\\circ|\\degree|o)\s*\}|(?:\\circ|\\degree)(?![A-Za-z]))", r"\\degree "),
    (r"\\%", "%"), (r"\\([()\[\]])", " "), (r"\\_", "_"), (r"\\&", "&"), (r"\\#", " "),
    (r"(?<=\d) +(?:in )?base +(\d+)", r"_{\1}"),
    (r"(?<=[)\]}])\s*U\s*(?=[(\[{\\])", r"\\cup "), (r"(?<=\d)\s+to\s+(?=\d)", ":"),
    (r"\*\*", "^"), (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),
    (r"\b(?:np|math|numpy|sympy)\.", ""),
)]
THOUSANDS = re.compile(r"(?<![\d,.])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])|(?<![\d.,/^] )(?<![\d.,/^])[1-9]\d{0,2}(?: \d{3})+(?! ?[\d/,^]| ?\\frac)")
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
                "arcsin": "arcsin", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot",
                "lbrack": "[", "rbrack": "]", "varnothing": "emptyset", "backslash": "setminus", "degrees": "degree", "deg": "degree",
                "infinity": "infty", "inf": "infty", "oo": "infty", "Infinity": "infty", "varphi": "phi", "cup": "cup",
                "union": "cup", "thickapprox": "approx", "simeq": "approx", "cosec": "csc", "lg": "lg", "C": "C",
                "varepsilon": "epsilon", "lparen": "(", "rparen": ")", "euro": "euro", "percent": "%", "times": "times"}
FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log",
             "lg", "exp", "cis", "abs", "floor", "ceil", "cbrt", "gcd", "lcm", "max", "min"}
PLAIN_WORDS = FUNCTIONS | set(GREEK) | {"sqrt", "asin", "acos", "atan", "infty", "infinity", "inf", "oo", "Infinity", "or", "and",
                                        "cup", "union", "times", "percent", "degree", "degrees", "deg", "binom", "in"}
OPERATORS = {"=": "=", "<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "approx": "~", "in": "in", "to": None,
             "equiv": None, "implies": None, "sim": None}
UNKNOWN = {"sum", "prod", "int", "iint", "oint", "lim", "limsup", "liminf", "pmod", "bmod", "mod", "forall", "exists", "ldots",
           "dots", "cdots", "therefore", "because", "Rightarrow", "rightarrow", "iff", "hline", "newline", "href", "url",
           "input", "include", "def", "newcommand", "write", "read", "parallel", "perp", "nabla", "partial", "vmatrix", "not", "neg", "lnot", "tag"}
DECORATION = {"mathbf", "boldsymbol", "vec", "hat", "bar", "overline", "tilde", "dot", "ddot", "mathcal", "mathbb", "mathfrak",
              "bm", "pmb", "overrightarrow", "widehat", "underline", "ensuremath", "mathscr"}
DOLLARS = {"dollar": "$", "mathdollar": "$", "textdollar": "$", "pounds": "£", "euro": "€", "yen": "¥"}


def clean(text: str, thousands: bool = True) -> str:
    """Styling taken away, one spelling for each symbol; thousands separators joined outside brackets if asked to."""
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda m: ("^%s" if len(m[0]) == 1 else "^{%s}") % m[0].translate(RAISED), text)
    text = re.sub("[₀-₉]+", lambda m: "_{" + m[0].translate(RAISED) + "}", text)
    text = re.sub("[！-～]", lambda m: chr(ord(m[0]) - 0xfee0), text)  # full-width forms
    text = re.sub("[¼½¾⅐-⅞]", lambda m: r"\frac{%s}{%s}" % tuple(unicodedata.normalize("NFKC", m[0]).split("⁄")), text)
    text = text.replace(r"\$", r"\dollar ").translate(UNICODE)  # a plain $ is a mathematics mark
    if len(text) > MOST_CHARACTERS:
        raise Unfit("too long")
    text = re.sub("[Α-Ωα-ωϕϵ]", lambda m: "\\" + unicodedata.name(m[0]).split()[-2 if "SYMBOL" in unicodedata.name(m[0])
                                                                      else -1].lower() + " ", text)
    text = re.sub(r"\\\\\s*\[-?[0-9.]+\s*[a-z]{2}\]", r"\\\\", text)  # \\\\[4pt]
    text = text.replace("\\\\", "\\newrow " if "\\begin" in text else "\\")  # elsewhere somebody escaped twice
    if thousands:
        text = re.sub(r"(?<=\d),\s*\\[,;: ]\s*(?=\d{3}(?!\d))", "", text)
    for pattern, new in STYLING:
        text = pattern.sub(new, text)
    text = unpunctuated(text)
    if "..." in text:
        raise Unfit("an ellipsis")
    if thousands and (found := list(THOUSANDS.finditer(text))):
        for match in reversed(found):  # in brackets a comma always separates
            before = text[:match.start()]
            if "," not in match[0] or all(before.count(a) <= before.count(b) for a, b in ("()", "[]")) and "\\{" not in before:
                text = before + re.sub("[, ]", "", match[0]) + text[match.end():]
    return text


def unpunctuated(text: str) -> str:
    """Without the full stop or comma at its end; an ellipsis says that more follows, and stays."""
    text = text.strip()
    return text if text.endswith("..") else text.rstrip(".,;:").strip()


def letters(run: str, previous) -> list[tuple[str, str]]:
    """A run of plain letters as tokens: a known word, a unit after a number, single variables, or a word."""
    after = previous and (previous[0] in ("num", "text") or previous[1] in (")", "}"))
    if after and (run in PLAIN_UNITS or run == "in"):
        return [("text", run)]
    if run in PLAIN_WORDS or run.lower() in ("or", "and"):
        return [("cmd", SAME_COMMAND.get(run, run.lower() if run.lower() in ("or", "and") else run))]
    for word in ("sqrt", "arcsin", "arccos", "arctan", "sin", "cos", "tan", "ln", "log", "pi"):
        if run.startswith(word) and len(run) - len(word) == 1:  # sinx, pir
            return [("cmd", word), ("id", run[len(word):])]
    if run.endswith("pi") and len(run) == 3:
        return [("id", run[0]), ("cmd", "pi")]
    if run.lower() in CARDINALS:
        return [("num", CARDINALS[run.lower()])]
    if len(run) <= 3 and run.lower() not in NUMBER_WORDS and not (len(run) == 3 and run.lower() in STOPPED):
        return [("id", letter) for letter in run]
    return [("text", run)]


STOPPED = {"yes", "not", "the", "odd", "sum", "all", "any", "nan", "non", "and", "but", "for", "try", "one", "two", "six", "ten"}


def tokens(text: str) -> list[tuple[str, str]]:
    """(kind, value) pairs of a cleaned text; Unfit at a character that is in no answer."""
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise Unfit(f"cannot read {text[at]!r}")
        kind, value, at = match.lastgroup, match[match.lastgroup], match.end()
        if kind == "id":
            found += letters(value, found[-1] if found else None)
        elif kind == "cmd":
            value = SAME_COMMAND.get(value, value)
            if value in UNKNOWN:
                raise Unfit(f"\\{value}")
            found.append(("sym", value) if value in "/|()[]:%" else ("cmd", value))
        elif kind == "text" and value.strip().lower() in ("or", "and", ", or", ", and"):
            found.append(("cmd", value.strip(", ").lower()))
        elif kind == "text" and value.strip() in FUNCTIONS - {"min"} | {"i", "e", "d"}:
            found.append(("cmd" if value.strip() in FUNCTIONS else "id", value.strip()))
        elif kind == "text" and value.strip(" .,:;") in ("%", "percent", "per cent", "degrees", "degree"):
            found.append(("sym", "%") if "e" not in value or "per" in value else ("cmd", "degree"))
        elif kind == "text" and re.search(r"\\[a-z]|\d", value) and not re.fullmatch(r"\s*[0-9A-Z]*[A-Z][0-9A-Z]*\s*", value) \
                and "^" not in value:
            found += tokens(value)  # mathematics in words; A5 is a number in base eleven, m^2 a unit
        elif kind == "text" and (parts := re.split(r"([,;]|\b(?:and|or)\b)", value))[1:]:
            for part in parts:  # words in a row
                found += [("sym", part) if part in ",;" else ("cmd", part) if part in ("and", "or") else ("text", part)] \
                    if part.strip() else []
        elif kind == "text" and value.strip().lower() in CARDINALS:
            found.append(("num", CARDINALS[value.strip().lower()]))
        elif kind == "text" and not value.strip():
            continue
        elif kind != "space":
            found.append((kind, value))
    return found
