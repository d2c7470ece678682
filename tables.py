"""The figures of eval.py as text: a row for each benchmark and one for their mean."""
import behaviour


def shown(found: dict, name: str, digits: int = 3, interval: bool = False) -> str:
    """A figure as a cell, with its interval if that is wanted and known; "-" where there is none."""
    low, high = found.get(name + "_ci", (None, None)) if interval else (None, None)
    if found.get(name) is None:
        return "-"
    return f"{found[name]:.{digits}f}" + ("" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]")


def grid(rows: list[list[str]]) -> str:
    """Cells as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def with_mean(found: dict[str, dict]) -> dict[str, dict]:
    """The benchmarks and, of several, their mean: each counts once, whatever its size; None where one has no figure."""
    if len(found) == 1:
        return found
    columns = {name: [f.get(name) for f in found.values()] for name in next(iter(found.values()))
               if not name.endswith("_ci") and name not in ("problems", "k", "too_long")}
    mean = {name: None if None in values else sum(values) / len(values) for name, values in columns.items()}
    return {**found, "mean": mean}


def table(found: dict[str, dict], source: str = "") -> str:
    """The figures as text, a row a benchmark; `source` says where the `published` ones come from."""
    k, rows = next(iter(found.values()))["k"], with_mean(found)
    columns = [("pass@1" if k == 1 else f"avg@{k}", "pass@1", 3, True)]
    columns += [(name, name, 3, True) for name in (f"pass@{k}", f"maj@{k}") if k > 1]
    columns += [("tokens", "length", 1, False), ("right", "length_right", 1, False), ("wrong", "length_wrong", 1, False),
                ("truncated", "truncated", 3, False)] + [("published", "published", 3, False)] * bool(source)
    lines = [f"{k} response{'s' * (k > 1)} a problem; 95 % intervals by problem; right, wrong: their mean tokens",
             grid([["", "problems", *(head for head, *_ in columns)]] +
                  [[name, shown(f, "problems", 0), *(shown(f, *how) for _, *how in columns)] for name, f in rows.items()])]
    lines += [f"published: {source}"] if source else []
    lines += [f"{name}: {f['too_long']} of {f['problems']} prompts do not fit the context beside the response: wrong, and "
              "in no length, truncated share or behaviour" for name, f in found.items() if f["too_long"]]
    sizes = [name for name in next(iter(found.values())) if name.startswith("pass@") and not name.endswith("_ci")]
    if len(sizes) > 2:
        lines += ["", grid([["", *sizes]] + [[name, *(shown(f, size) for size in sizes)] for name, f in rows.items()])]
    names = [name for name in behaviour.RULES if name in next(iter(found.values()))]
    lines += ["", "behaviours by rule: mean count a response (share of responses with any)",
              grid([["", *names, "efficiency", "of right"]] +
                   [[name, *(f"{shown(f, b, 2)} ({shown(f, b + '_share', 2)})" for b in names),
                     shown(f, "efficiency"), shown(f, "efficiency_right")] for name, f in rows.items()])] if names else []
    return "\n".join(lines)
