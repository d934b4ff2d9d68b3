"""Charts of a report as SVG. Colours and text sizes are classes of report.css, so that dark mode reaches them."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from agent.record.report.contents import Cost, Curve, Rate, RoundRow, TaskRow

SERIES = 6  # classes of lines, s0 to s5
PURPOSES = ("held-out", "practice", "branches", "gate", "certificates", "films")


def interval(before: Rate | None, after: Rate | None, names: Sequence[str] = ("before", "after")) -> Markup:
    """Success before and after on one axis from 0 to 100 %, each with its 95 % interval. names: of both, in words."""
    width, height, left = 220, 34, 6
    x = _scale(0, 1, left, width - left)
    parts = [_line(x(tick), 2, x(tick), height - 2, "grid") for tick in (0, 0.5, 1)]
    said = []
    for kind, name, rate, y in (("before", names[0], before, 11), ("after", names[-1], after, 23)):
        if rate and rate["n"]:
            low, high = rate["ci95"]
            parts.append(_line(x(low), y, x(high), y, f"whisker {kind}"))
            parts.append(_circle(x(rate["rate"]), y, 4.5, f"dot {kind}"))
            said.append(f"{name} {_percent(rate['rate'])}, 95 % interval {_percent(low)} to {_percent(high)}")
    return _svg(width, height, parts, "; ".join(said))


def difference(gain: float, ci95: Sequence[float], most: float = 50) -> Markup:
    """A difference in points with its 95 % interval, on an axis from -most to +most, which clips both."""
    width, height, left = 220, 24, 6
    x = _scale(-most, most, left, width - left)

    def at(value: float) -> float:
        return x(min(max(value, -most), most))

    kind = "after" if ci95[0] > 0 else "after refused" if ci95[1] < 0 else "before"
    parts = [_line(at(tick), 2, at(tick), height - 2, "grid") for tick in (-most, 0, most)]
    parts.append(_line(at(ci95[0]), 12, at(ci95[1]), 12, f"whisker {kind}"))
    parts.append(_circle(at(gain), 12, 4.5, f"dot {kind}"))
    said = f"{gain:+.1f} points, 95 % interval {ci95[0]:+.1f} to {ci95[1]:+.1f}"
    return _svg(width, height, parts, said)


def rounds(task: str, row: TaskRow | None, some: Sequence[RoundRow]) -> Markup:
    """Success of one task by round: held-out before and after, and at each gate the incumbent and the candidate."""
    width, height, left, right, top, bottom = 320, 210, 46, 10, 12, 40
    y = _scale(0, 1, height - bottom, top)
    places = ["before", *(round_.number for round_ in some), "after"]
    x = _scale(-0.5, len(places) - 0.5, left, width - right)
    parts, said = [], []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(left, y(tick), width - right, y(tick), "grid"))
        parts.append(_text(left - 5, y(tick) + 4, f"{tick:.0%}".replace("%", " %"), "end"))
    for i, place in enumerate(places):
        parts.append(_text(x(i), height - bottom + 16, str(place) if isinstance(place, int) else place, "middle"))
    parts.append(_text((left + width - right) / 2, height - 6, "round", "middle"))
    for i, (name, rate) in ((0, ("before", row and row.before)), (len(places) - 1, ("after", row and row.after))):
        parts += _mark(x(i), y, rate, name)
        said += [f"held-out {name}: {_percent(rate['rate'])}"] if rate and rate["n"] else []
    for i, round_ in enumerate(some, 1):
        refused = "" if round_.state == "accepted" else " refused"
        practice = round_.practice.get(task)
        if practice:
            parts.append(_line(x(i) - 22, y(practice["rate"]), x(i) + 22, y(practice["rate"]), "practice"))
            said.append(f"round {round_.number}: practice {_percent(practice['rate'])}")
        for shift, name, rates in ((-9, "before", round_.before), (9, f"after{refused}", round_.after)):
            rate = rates.get(task)
            parts += _mark(x(i) + shift, y, rate, name)
            if rate and rate["n"]:
                who = "incumbent" if shift < 0 else f"{round_.state} candidate"
                said.append(f"round {round_.number}: {who} {_percent(rate['rate'])}")
    return _svg(width, height, parts, f"{task}. " + "; ".join(said))


def _mark(x: float, y, rate: Rate | None, kind: str) -> list[Markup]:
    if not rate or not rate["n"]:
        return []
    low, high = rate["ci95"]
    return [_line(x, y(low), x, y(high), f"whisker {kind}"), _circle(x, y(rate["rate"]), 5, f"dot {kind}")]


def costs(some: Sequence[Cost]) -> Markup:
    """Environment steps of each round, by purpose, as stacked bars."""
    width, bar, left = 640, 26, 74
    height = len(some) * (bar + 10) + 22
    most = max((sum(cost.steps.values()) for cost in some), default=0) or 1
    x = _scale(0, most, left, width - 60)
    parts, said = [], []
    for i, cost in enumerate(some):
        top, begin = i * (bar + 10) + 4, 0
        parts.append(_text(left - 8, top + bar / 2 + 4, f"round {cost.round}", "end"))
        for name in PURPOSES:
            steps = cost.steps.get(name, 0)
            if steps:
                parts.append(
                    _rect(x(begin), top, x(begin + steps) - x(begin), bar, f"part {_class(name)}", f"{name}: {steps:,}")
                )
                said.append(f"round {cost.round} {name} {steps:,}")
            begin += steps
        parts.append(_text(x(begin) + 6, top + bar / 2 + 4, f"{begin:,}", "start"))
    parts.append(_text(left, height - 4, "environment steps", "start"))
    return _svg(width, height, parts, "environment steps: " + "; ".join(said))


def reliability(bins: Sequence[Sequence[float]]) -> Markup:
    """How often success followed a verdict: each bin's mean verdict against its share of successes; the diagonal is a
    calibrated critic. The area of a dot is the bin's count."""
    size, left, bottom = 260, 44, 40
    x, y = _scale(0, 1, left, size - 10), _scale(0, 1, size - bottom, 10)
    parts, said = [], []
    for tick in (0, 0.5, 1):
        parts += [_line(x(tick), y(0), x(tick), y(1), "grid"), _line(x(0), y(tick), x(1), y(tick), "grid")]
        parts += [
            _text(x(tick), size - bottom + 16, f"{tick:g}", "middle"),
            _text(left - 6, y(tick) + 4, f"{tick:g}", "end"),
        ]
    parts.append(_line(x(0), y(0), x(1), y(1), "diagonal"))
    most = max((n for *_, n in bins), default=1)
    for verdict, share, n in bins:
        parts.append(_circle(x(verdict), y(share), 4 + 8 * (n / most) ** 0.5, "dot after"))
        said.append(f"verdict {verdict:.2f}: success {_percent(share)} of {n:.0f}")
    parts.append(_text((left + size) / 2, size - 6, "verdict", "middle"))
    parts.append(
        _text(12, (size - bottom) / 2, "share of successes", "middle", f"rotate(-90 12 {(size - bottom) / 2})")
    )
    return _svg(size, size, parts, "; ".join(said))


def curves(task: str, some: Sequence[Curve]) -> Markup:
    """Success over environment steps: held-out success with its 95 % interval as dots, practice as lines."""
    width, height, left, right, top, bottom = 400, 240, 46, 14, 12, 40
    most = max((steps for curve in some for steps, _ in (*curve.heldout, *curve.practice)), default=0) or 1
    x, y = _scale(0, most, left, width - right), _scale(0, 1, height - bottom, top)
    parts, said = [], []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(left, y(tick), width - right, y(tick), "grid"))
        parts.append(_text(left - 5, y(tick) + 4, f"{tick:.0%}".replace("%", " %"), "end"))
    parts += [
        _text(x(tick), height - bottom + 16, f"{tick:,}", "end" if tick > 0.9 * most else "middle")
        for tick in _ticks(most)
    ]
    parts.append(_text((left + width - right) / 2, height - 6, "environment steps", "middle"))
    for i, curve in _series(some):
        ends = [(steps, rate["rate"]) for steps, rate in curve.heldout]
        for kind, places in (("line", curve.practice), ("line dashed", ends)):
            points = " ".join(f"{x(steps)},{y(share)}" for steps, share in places)
            if len(places) > 1:
                parts.append(Markup('<polyline points="{}" class="{} s{}"/>').format(points, kind, i))
        for steps, rate in curve.heldout:
            if rate.get("ci95"):
                parts.append(_line(x(steps), y(rate["ci95"][0]), x(steps), y(rate["ci95"][1]), f"whisker s{i}"))
            parts.append(_circle(x(steps), y(rate["rate"]), 4.5, f"dot s{i}"))
            said.append(f"{curve.name}: {_percent(rate['rate'])} after {steps:,} steps")
    return _svg(width, height, parts, f"{task}. " + "; ".join(said))


def curve_legend(some: Sequence[Curve]) -> Markup:
    return legend({f"s{i}": curve.name for i, curve in _series(some)})


def _series(some: Sequence[Curve]) -> list[tuple[int, Curve]]:
    """Each curve with the number of its colour: those of one name, such as the seeds of an arm, share it."""
    names = list(dict.fromkeys(curve.name for curve in some))
    return [(names.index(curve.name) % SERIES, curve) for curve in some]


def _ticks(most: int) -> list[int]:
    """Whole and round, from 0 to at most `most`, some four."""
    step = 10 ** max(0, len(str(most)) - 1)
    step = next(each for each in (step // 5, step // 2, step, 2 * step, 5 * step) if each and most / each <= 5)
    return list(range(0, most + 1, step))


def legend(names: Mapping[str, str]) -> Markup:
    """Class of a mark -> what it is."""
    parts = []
    for kind, words in names.items():
        inside = _line(2, 8, 22, 8, kind) if kind == "practice" else _circle(12, 8, 5, f"dot {kind}")
        if kind.startswith("part "):
            inside = _rect(4, 2, 14, 12, kind, "")
        mark = Markup('<svg class="key" viewBox="0 0 24 16" aria-hidden="true">{}</svg>').format(inside)
        parts.append(Markup("<span>{}{}</span>").format(mark, words))
    return Markup('<p class="legend">{}</p>').format(Markup("").join(parts))


def cost_legend() -> Markup:
    return legend({f"part {_class(name)}": name for name in PURPOSES})


def _class(name: str) -> str:
    return f"of-{name}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _scale(low: float, high: float, begin: float, end: float):
    return lambda value: round(begin + (value - low) / (high - low) * (end - begin), 1)


def _svg(width: int, height: int, parts: Sequence[Markup], label: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">{}</svg>').format(
        width, height, width, label, Markup("").join(parts)
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(x1, y1, x2, y2, kind)


def _circle(x: float, y: float, r: float, kind: str) -> Markup:
    return Markup('<circle cx="{}" cy="{}" r="{:.1f}" class="{}"/>').format(x, y, r, kind)


def _rect(x: float, y: float, width: float, height: float, kind: str, title: str) -> Markup:
    inside = Markup("<title>{}</title>").format(title) if title else ""
    return Markup('<rect x="{}" y="{}" width="{:.1f}" height="{}" class="{}">{}</rect>').format(
        x, y, max(width, 0.5), height, kind, inside
    )


def _text(x: float, y: float, words: str, anchor: str, transform: str = "") -> Markup:
    turned = Markup(' transform="{}"').format(transform) if transform else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>').format(x, y, anchor, turned, words)
