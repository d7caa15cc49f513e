"""What a run says: ratios first, then the figures they come from."""

from collections.abc import Sequence

from benchmarks.serving.rows import LIMIT, LONE, Row, Table

SMALL, LARGE, MANY = "640x480", "12MP", 16
OURS = "catseye"


def ratios(rows: Sequence[Row]) -> list[tuple[str, float, float, bool]]:
    """(what, measured, wanted, whether more is better) for each target; only what was measured."""
    table = Table(rows)
    ours = table.rate(OURS, "int8", SMALL, MANY)
    limit = table.rate(LIMIT, "int8", SMALL, MANY)
    keras, int8 = table.best("keras", SMALL, MANY), table.best("int8", SMALL, MANY)
    plain, scaled = table.best("int8", LARGE, MANY, "plain"), table.best("int8", LARGE, MANY)
    alone = table.p50(OURS, "int8", SMALL, 1)
    large = table.rate(OURS, "int8", LARGE, MANY)
    found = [
        (f"16 connections, 640x480, beside the best Keras peer ({keras[0]})", _over(ours, keras[1]), 5.0, True),
        (f"16 connections, 640x480, beside the best int8 peer ({int8[0]})", _over(ours, int8[1]), 2.0, True),
        ("16 connections, 640x480, beside the in-process limit", _over(ours, limit), 0.85, True),
        ("64 connections beside 16", _over(table.rate(OURS, "int8", SMALL, 64), ours), 0.9, True),
        ("256 connections beside 16", _over(table.rate(OURS, "int8", SMALL, 256), ours), 0.9, True),
        (
            "one connection, p50 beside decode and inference in one thread",
            _over(alone, table.p50(LIMIT, "int8", SMALL, 1)),
            1.15,
            False,
        ),
        (
            "one connection, p50 beside the same with every processor in the network",
            _over(alone, table.p50(LONE, "int8", SMALL, 1)),
            0.0,
            False,
        ),
        (f"12 megapixels beside the best int8 peer, plain decode ({plain[0]})", _over(large, plain[1]), 4.0, True),
        (f"12 megapixels beside the best int8 peer with our decode ({scaled[0]})", _over(large, scaled[1]), 0.0, True),
        (
            f"TensorFlow runtime, 16 connections, beside the best Keras peer ({keras[0]})",
            _over(table.rate(OURS, "keras", SMALL, MANY), keras[1]),
            1.3,
            True,
        ),
    ]
    found += [
        ("start to ready with a cached plan, seconds", row.seconds, 3.0, False)
        for row in rows
        if (row.phase, row.contestant, row.network) == ("start", OURS, "int8")
    ]
    found += [
        ("resident memory of the serving process, MB", row.largest_mb, 350.0, False)
        for row in rows
        if (row.phase, row.contestant, row.network) == ("memory", OURS, "int8")
    ]
    return [each for each in found if each[1]]


def report(rows: Sequence[Row], machine: str) -> str:
    """The run as text (Markdown), ratios first."""
    parts = [f"On {machine}. Medians over rounds of one run; the contestants took turns."]
    parts.append(_markdown(("ratio", "measured", "wanted"), [_verdict(*each) for each in ratios(rows)]))
    parts.append(_rates(rows))
    paced = [row for row in rows if row.phase == "paced"]
    if paced:
        parts.append("Arrivals at a fixed rate, in milliseconds from when each was due (640x480):")
        lines = [
            (_name(row), f"{row.share:.0%}", f"{row.offered:.1f}", f"{row.p50:.1f}", f"{row.p99:.1f}", str(row.errors))
            for row in paced
        ]
        parts.append(_markdown(("server", "of its peak", "offered/s", "p50", "p99", "errors"), lines))
    return "\n\n".join(parts) + "\n"


def _rates(rows: Sequence[Row]) -> str:
    table = Table(rows)
    cases = list(dict.fromkeys((row.photograph, row.connections) for row in rows if row.phase == "turn"))
    turns = [row for row in rows if row.phase == "turn"]
    who = list(dict.fromkeys((row.contestant, row.network, row.decode, row.settings) for row in turns))
    headings = [
        "server",
        *(f"{photograph}, {count}" for photograph, count in cases),
        "p50 at 1",
        "start s",
        "MB",
        "errors",
    ]
    lines = []
    for contestant, network, decode, settings in who:
        own = [row for row in rows if (row.contestant, row.network, row.decode) == (contestant, network, decode)]
        start = next((f"{row.seconds:.1f}" for row in own if row.phase == "start"), "")
        memory = next((f"{row.largest_mb:.0f} ({row.all_mb:.0f})" for row in own if row.phase == "memory"), "")
        rates = [table.rate(contestant, network, *case, decode) for case in cases]
        alone = table.p50(contestant, network, SMALL, 1, decode)
        title = f"{contestant}, {network}" + (", plain decode" if decode == "plain" else "")
        lines.append(
            (
                title + (f" ({settings})" if settings else ""),
                *(f"{rate:.1f}" if rate else "" for rate in rates),
                f"{alone:.1f}" if alone else "",
                start,
                memory,
                str(sum(row.errors for row in own if row.phase == "turn")),
            )
        )
    return "Images a second by photograph and connections:\n\n" + _markdown(headings, lines)


def _verdict(what: str, measured: float, wanted: float, more: bool) -> tuple[str, str, str]:
    if not wanted:
        return what, f"{measured:.2f}", "reported"
    met = measured >= wanted if more else measured <= wanted
    return what, f"{measured:.2f}", f"{'at least' if more else 'at most'} {wanted:g}: {'met' if met else '**missed**'}"


def _markdown(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|".join(["---", *["---:"] * (len(headings) - 1)])
    return "\n".join(
        ["| " + " | ".join(headings) + " |", f"|{rule}|", *("| " + " | ".join(line) + " |" for line in lines)]
    )


def _name(row: Row) -> str:
    return f"{row.contestant}, {row.network}"


def _over(figure: float, yardstick: float) -> float:
    return figure / yardstick if yardstick else 0.0
