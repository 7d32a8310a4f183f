"""One self-contained HTML page of a run of real workers: a verdict per promise, charts, and what was done to them.

Pure functions from values to text: no network, no script, no chart library. Colours are Okabe and Ito's, which
colour-blind people can tell apart; every mark is also told by its shape or its words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Sample:
    """How many jobs were in each state at one instant, in seconds since the start."""

    at_s: float
    pending: int
    running: int
    success: int
    failed: int


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of one job: `end_s` is None while it is not known to have ended.

    `outcome` is success, retry, failed, lost (its lease), killed (its worker died) or running.
    """

    job_id: str
    attempt: int
    worker: str
    start_s: float
    end_s: float | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Kill:
    """A `kill -9` of a worker: when, in seconds since the start, and the jobs that it held."""

    at_s: float
    worker: str
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A fault from one instant to another, in seconds since the start: of one worker, or (empty) of the store.

    `kind` is kill, pause, cut or store.
    """

    at_s: float
    until_s: float
    kind: str
    worker: str
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a run showed of one promise: `evidence` gives the figures."""

    promise: str
    sentence: str
    held: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the page shows; times in seconds since the start, latencies in seconds.

    The last ones are shown if they are given: `faults` are rows of name, number and sentence, `window` is the stretch
    of time that the lanes show, `witness` a text that shows what was broken.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    samples: tuple[Sample, ...]
    runs: tuple[Run, ...]
    kills: tuple[Kill, ...]
    latencies_s: tuple[float, ...]
    marks: tuple[Mark, ...] = ()
    faults: tuple[tuple[str, int, str], ...] = ()
    recoveries_s: tuple[float, ...] = ()
    window: tuple[float, float] | None = None
    witness: str = ""


WIDTH, LEFT, RIGHT = 940, 92, 20
OUTCOMES = {
    "success": "ended in success",
    "retry": "failed, will be retried",
    "failed": "failed for good",
    "lost": "lost its lease",
    "killed": "cut off by kill -9",
    "running": "still running",
}


def render(figures: Figures) -> str:
    """The page as HTML text."""
    good = all(finding.held for finding in figures.findings)
    span = max([1.0, *(s.at_s for s in figures.samples), *(r.end_s or r.start_s for r in figures.runs)])
    facts = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in figures.facts)
    rows = "".join(
        f"<tr><td class='{'ok' if f.held else 'bad'}'>{'✓ held' if f.held else '✗ BROKEN'}</td>"
        f"<td><b>{escape(f.promise)}</b></td><td>{escape(f.sentence)}</td><td>{escape(f.evidence)}</td></tr>"
        for f in figures.findings
    )
    start_s, end_s = figures.window or (0.0, span)
    seen = f", from {start_s:.0f} to {end_s:.0f} s" if figures.window else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(figures.title)}</title><style>{_STYLE}</style></head><body><main>
<h1>{escape(figures.title)}</h1><p class="sub">{escape(figures.subtitle)}</p>
<p class="banner {"ok" if good else "bad"}">{"Every promise was kept." if good else "A promise was broken."}</p>
<div class="facts">{facts}</div>
<table><thead><tr><th>verdict</th><th></th><th>promise</th><th>what was seen</th></tr></thead>
<tbody>{rows}</tbody></table>
{_witness(figures.witness)}{_faults(figures.faults)}
<h2>Jobs by state over time</h2>{depth_chart(figures.samples, figures.kills, span, marks=figures.marks)}
<h2>What each worker ran{seen}</h2>
{lanes_chart(figures.runs, figures.kills, end_s, start_s=start_s, marks=figures.marks)}
<h2>Time from enqueue to the end of a job</h2>{latency_chart(figures.latencies_s)}
{_recoveries(figures.recoveries_s)}</main></body></html>
"""


def _witness(text: str) -> str:
    return f"<h2>What was broken first</h2><pre>{escape(text)}</pre>" if text else ""


def _faults(faults: Sequence[tuple[str, int, str]]) -> str:
    if not faults:
        return ""
    rows = "".join(
        f"<tr><td><b>{escape(name)}</b></td><td class='number'>{n}</td><td>{escape(sentence)}</td></tr>"
        for name, n, sentence in faults
    )
    head = "<tr><th>fault</th><th>times</th><th>what was done</th></tr>"
    return f"<h2>What was done to it</h2><table><thead>{head}</thead><tbody>{rows}</tbody></table>"


def _recoveries(seconds: Sequence[float]) -> str:
    if not seconds:
        return ""
    chart = latency_chart(seconds, "seconds from the death of a worker to the next delivery")
    return f"<h2>Time until what a dead worker held was delivered again</h2>{chart}"


def depth_chart(samples: Sequence[Sample], kills: Sequence[Kill], span_s: float, *, marks: Sequence[Mark] = ()) -> str:
    """Stacked jobs by state over time: finished below, then running, then pending; kills as dashed lines."""
    height, top, bottom = 260, 26, 40
    total = max([1, *(s.pending + s.running + s.success + s.failed for s in samples)])
    x = _scale(0, span_s, LEFT, WIDTH - RIGHT)
    y = _scale(0, total, height - bottom, top)
    layers = []
    base = [0] * len(samples)
    for name in ("success", "failed", "running", "pending"):
        upper = [low + getattr(s, name) for low, s in zip(base, samples, strict=True)]
        if samples and upper != base:
            points = _steps([(x(s.at_s), y(v)) for s, v in zip(samples, upper, strict=True)])
            points += _steps([(x(s.at_s), y(v)) for s, v in zip(samples, base, strict=True)])[::-1]
            layers.append(f"<polygon class='{name}' points='{_points(points)}'><title>{name}</title></polygon>")
        base = upper
    legend = _legend([("pending", "pending"), ("running", "running"), ("success", "success"), ("failed", "failed")])
    return _svg(
        height,
        _y_axis(_ticks(total), y, "jobs") + "".join(layers) + _time_axis(span_s, x, height - bottom),
        _bands(marks, x, top - 8, height - bottom) + _kill_marks(kills, x, top, height - bottom),
        legend,
    )


def lanes_chart(
    runs: Sequence[Run],
    kills: Sequence[Kill],
    span_s: float,
    *,
    start_s: float = 0.0,
    marks: Sequence[Mark] = (),
) -> str:
    """One lane per worker, split where it ran several jobs at once; a killed run is hatched and ends in a cross.

    Shown is the time from `start_s` to `span_s`; faults of the store are bands over all lanes.
    """
    runs = [run for run in runs if run.start_s <= span_s and (run.end_s is None or run.end_s >= start_s)]
    marks = [mark for mark in marks if mark.at_s <= span_s and mark.until_s >= start_s]
    known = {run.worker for run in runs} | {kill.worker for kill in kills} | {mark.worker for mark in marks}
    workers = sorted(known - {""}, key=lambda name: (len(name), name))
    x = _scale(start_s, span_s, LEFT, WIDTH - RIGHT)
    top, row, gap = 26, 18, 10
    bars, labels, guides = [], [], []
    at = top
    for worker in workers:
        slots: list[float] = []
        first = at
        for run in sorted((r for r in runs if r.worker == worker), key=lambda r: r.start_s):
            slot = next((i for i, free in enumerate(slots) if free <= run.start_s + 1e-9), len(slots))
            end = span_s if run.end_s is None else run.end_s
            slots[slot : slot + 1] = [end]
            x0, y0 = x(max(run.start_s, start_s)), first + slot * row
            x1 = max(x(min(end, span_s)), x0 + 1.5)
            text = f"{run.job_id}, attempt {run.attempt}: {OUTCOMES[run.outcome]}, {end - run.start_s:.2f} s"
            more = " again" if run.attempt > 1 else ""
            bars.append(
                f"<rect class='bar {run.outcome}{more}' x='{x0:.1f}' y='{y0}' width='{x1 - x0:.1f}' height='{row - 4}'"
                f" rx='2'><title>{escape(text)}</title></rect>"
            )
            if run.attempt > 1:
                bars.append(f"<text class='again' x='{x0 + 3:.1f}' y='{y0 + row - 8}'>{run.attempt}</text>")
            if run.outcome == "killed" and end <= span_s:
                bars.append(_cross(x1, y0 + (row - 4) / 2))
        at = first + max(1, len(slots)) * row + gap
        middle = (first + at - gap) / 2
        bars += [_lane_mark(mark, x, first, at - gap, start_s, span_s) for mark in marks if mark.worker == worker]
        labels.append(f"<text class='lane' x='{LEFT - 8}' y='{middle + 1:.1f}'>{escape(worker[-14:])}</text>")
        guides.append(f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{at - gap / 2}' y2='{at - gap / 2}'/>")
    height = at + 40
    legend = [
        ("success", "success"),
        ("retry", "retried"),
        ("failed", "failed"),
        ("killed", "killed"),
        ("again", "2: second delivery"),
    ]
    legend += [(kind, words) for kind, words in _MARKED.items() if any(mark.kind == kind for mark in marks)]
    return _svg(
        height,
        "".join(guides + labels) + _time_axis(span_s, x, at, start_s=start_s),
        _bands(marks, x, top - 12, at) + "".join(bars) + _kill_marks(kills, x, top - 4, at),
        _legend(legend),
    )


_MARKED = {
    "pause": "stopped, then continued",
    "store": "the store in trouble",
    "cut": "a connection cut",
    "kill": "kill -9",
}


def _lane_mark(mark: Mark, x: _Scale, top: float, bottom: float, start_s: float, span_s: float) -> str:
    x0, x1 = x(max(mark.at_s, start_s)), x(min(mark.until_s, span_s))
    title = f"<title>{escape(mark.text)} at {mark.at_s:.2f} s</title>"
    if mark.kind == "kill":
        return f"<path class='mark kill' d='M{x0:.1f} {top - 3:.1f}l-4 -6h8z'>{title}</path>"
    return (
        f"<rect class='mark {mark.kind}' x='{x0:.1f}' y='{top - 2}' width='{max(x1 - x0, 2):.1f}'"
        f" height='{bottom - top:.1f}'>{title}</rect>"
    )


def _bands(marks: Sequence[Mark], x: _Scale, top: float, bottom: float) -> str:
    """What was done to the store, or to a connection that is nobody's."""
    low, high = LEFT, WIDTH - RIGHT
    bands = []
    for mark in marks:
        if mark.worker:
            continue
        x0, x1 = max(low, x(mark.at_s)), min(high, x(mark.until_s))
        title = f"<title>{escape(mark.text)} at {mark.at_s:.2f} s</title>"
        size = f"x='{x0:.1f}' width='{max(x1 - x0, 1.0):.1f}'"
        if mark.kind == "cut":
            bands.append(f"<rect class='mark cut' {size} y='{bottom - 5:.1f}' height='5'>{title}</rect>")
        else:
            bands.append(f"<rect class='mark store' {size} y='{top}' height='{bottom - top:.1f}'>{title}</rect>")
    return "".join(bands)


def latency_chart(latencies_s: Sequence[float], axis_name: str = "seconds from enqueue to end") -> str:
    """How many jobs took how long, in twenty bins, with the median and the 95th percentile."""
    height, top, bottom = 220, 26, 40
    if not latencies_s:
        return "<p>No job has ended.</p>"
    ordered = sorted(latencies_s)
    high = max(ordered[-1], 0.001)
    bins = [0] * 20
    for value in ordered:
        bins[min(19, int(value / high * 20))] += 1
    x = _scale(0, high, LEFT, WIDTH - RIGHT)
    y = _scale(0, max(bins), height - bottom, top)
    bars = "".join(
        f"<rect class='success' x='{x(i * high / 20) + 1:.1f}' y='{y(n):.1f}'"
        f" width='{(WIDTH - LEFT - RIGHT) / 20 - 2:.1f}'"
        f" height='{height - bottom - y(n):.1f}'><title>{n} jobs: {i * high / 20:.2f} to {(i + 1) * high / 20:.2f} s"
        "</title></rect>"
        for i, n in enumerate(bins)
        if n
    )
    marks = ""
    for level, (name, share) in enumerate((("median", 0.5), ("95 %", 0.95))):
        value = ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
        anchor = "end" if x(value) > WIDTH - 130 else "start"
        shift = -4 if anchor == "end" else 4
        marks += (
            f"<line class='mark' x1='{x(value):.1f}' x2='{x(value):.1f}' y1='{top - 10}' y2='{height - bottom}'/>"
            f"<text style='text-anchor:{anchor}' x='{x(value) + shift:.1f}' y='{top - 2 + 14 * level}'>"
            f"{name} {value:.2f} s</text>"
        )
    axis = _y_axis(_ticks(max(bins)), y, "jobs") + _time_axis(high, x, height - bottom, axis_name)
    return _svg(height, axis + bars, marks, "")


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    return _Scale(low, (end - start) / (high - low or 1), start)


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    factor: float
    start: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) * self.factor


def _ticks(high: float, most: int = 6) -> list[float]:
    """Round numbers from 0 to `high`: multiples of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(high / most)) if high > 0 else 1.0
    step = next(power * m for m in (1, 2, 5, 10) if power * m * most >= high)
    if high >= 1 and most > 1 and float(high).is_integer() and step < 1:
        step = 1.0
    return [i * step for i in range(int(high / step + 1e-9) + 1)]


def _steps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = []
    for point in points:
        if out:
            out.append((point[0], out[-1][1]))
        out.append(point)
    return out


def _points(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _y_axis(ticks: list[float], y: _Scale, name: str) -> str:
    lines = "".join(
        f"<line class='grid' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y(t):.1f}' y2='{y(t):.1f}'/>"
        f"<text class='lane' x='{LEFT - 8}' y='{y(t) + 4:.1f}'>{t:g}</text>"
        for t in ticks
    )
    return f"{lines}<text class='unit' x='{LEFT - 8}' y='14'>{escape(name)}</text>"


def _time_axis(
    span_s: float, x: _Scale, y: float, name: str = "seconds since the start", *, start_s: float = 0.0
) -> str:
    step = [*_ticks(span_s - start_s, 10), 1.0, 1.0][1]
    first = math.ceil(start_s / step - 1e-9)
    ticks = "".join(
        f"<line class='axis' x1='{x(t):.1f}' x2='{x(t):.1f}' y1='{y}' y2='{y + 4}'/>"
        f"<text class='tick' x='{x(t):.1f}' y='{y + 17}'>{t:g}</text>"
        for t in [i * step for i in range(first, int(span_s / step + 1e-9) + 1)]
    )
    line = f"<line class='axis' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y}' y2='{y}'/>"
    return f"{line}{ticks}<text class='tick' x='{(LEFT + WIDTH - RIGHT) / 2:.0f}' y='{y + 34}'>{escape(name)}</text>"


def _kill_marks(kills: Sequence[Kill], x: _Scale, top: float, bottom: float) -> str:
    words = len(kills) <= 4
    return "".join(
        f"<line class='kill' x1='{x(k.at_s):.1f}' x2='{x(k.at_s):.1f}' y1='{top - 8}' y2='{bottom}'>"
        f"<title>kill -9 of {escape(k.worker)} at {k.at_s:.2f} s, holding "
        f"{escape(', '.join(k.held) or 'nothing')}</title>"
        "</line>"
        + (
            f"<text class='kill' x='{x(k.at_s) + 4:.1f}' y='{top - 1}'>kill -9 {escape(k.worker)}</text>"
            if words
            else ""
        )
        for k in kills
    )


def _cross(x: float, y: float) -> str:
    return f"<path class='cross' d='M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10'/>"


def _legend(items: list[tuple[str, str]]) -> str:
    spans = "".join(f"<span><i class='{kind}'></i>{escape(name)}</span>" for kind, name in items)
    return f"<div class='legend'>{spans}</div>"


def _svg(height: float, back: str, front: str, legend: str) -> str:
    return (
        f"<figure>{legend}<svg viewBox='0 0 {WIDTH} {height}' role='img'><defs><pattern id='hatch' width='6' height='6'"
        " patternUnits='userSpaceOnUse' patternTransform='rotate(45)'><rect width='6' height='6' class='hatchback'/>"
        f"<rect width='2.5' height='6' class='hatchline'/></pattern></defs>{back}{front}</svg></figure>"
    )


_STYLE = """
:root{--ink:#1b1f24;--soft:#5c6670;--line:#d9dee3;--paper:#fff;--panel:#f6f8fa;
--pending:#56B4E9;--running:#E69F00;--success:#009E73;--failed:#D55E00;--retry:#CC79A7;--again:#0072B2}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa4ae;--line:#333a42;--paper:#14181c;--panel:#1c2127}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:980px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 2px}
h2{font-size:18px;margin:34px 0 6px}.sub{color:var(--soft);margin:0 0 16px}
.banner{font-weight:600;padding:10px 14px;border-radius:6px;border-left:6px solid}
.banner.ok{border-color:var(--success);background:color-mix(in srgb,var(--success) 12%,transparent)}
.banner.bad{border-color:var(--failed);background:color-mix(in srgb,var(--failed) 14%,transparent)}
.facts{display:flex;flex-wrap:wrap;gap:10px;margin:16px 0}
.facts div{background:var(--panel);border-radius:6px;padding:8px 16px;min-width:104px}
.facts b{display:block;font-size:21px}.facts span{color:var(--soft);font-size:13px}
table{border-collapse:collapse;width:100%;font-size:14px}th{text-align:left;color:var(--soft);font-weight:500}
td,th{padding:6px 10px 6px 0;border-bottom:1px solid var(--line);vertical-align:top}
td.ok{color:var(--success);font-weight:600;white-space:nowrap}td.bad{color:var(--failed);font-weight:700;white-space:nowrap}
figure{margin:0;background:var(--panel);border-radius:8px;padding:10px 8px}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font-size:12px}.lane,.unit{text-anchor:end}.tick{text-anchor:middle}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.mark{stroke:var(--ink);stroke-dasharray:2 3}
line.kill{stroke:var(--failed);stroke-width:1.5;stroke-dasharray:5 4}text.kill{fill:var(--failed);font-weight:600}
.cross{stroke:var(--failed);stroke-width:2.5;fill:none}
.pending{fill:var(--pending);background:var(--pending)}.running{fill:var(--running);background:var(--running)}
.success{fill:var(--success);background:var(--success)}.failed{fill:var(--failed);background:var(--failed)}.lost{fill:var(--soft);background:var(--soft)}
.retry{fill:var(--retry);background:var(--retry)}rect.killed{fill:url(#hatch);stroke:var(--failed)}
i.killed{background:repeating-linear-gradient(45deg,var(--failed) 0 2px,transparent 2px 5px);
outline:1px solid var(--failed)}
.hatchback{fill:var(--panel)}.hatchline{fill:var(--failed)}rect.again{stroke:var(--again);stroke-width:2}
i.again{outline:2px solid var(--again);background:transparent}svg text.again{fill:#fff;font-weight:700;font-size:11px}
.mark.kill{fill:var(--failed);stroke:none}i.kill{background:var(--failed)}
.mark.pause{fill:var(--soft);fill-opacity:.28;stroke:none}i.pause{background:var(--soft);opacity:.5}
.mark.cut{fill:var(--again);fill-opacity:.8;stroke:none}i.cut{background:var(--again)}
.mark.store{fill:var(--running);fill-opacity:.3;stroke:none}i.store{background:var(--running);opacity:.5}
pre{background:var(--panel);border-radius:8px;padding:12px;overflow-x:auto;font-size:12.5px}td.number{text-align:right}
.legend{display:flex;gap:18px;flex-wrap:wrap;font-size:13px;color:var(--soft);padding:0 0 4px 92px}
.legend i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}
"""
