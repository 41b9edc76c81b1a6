"""Plots of what the benches keep, as plain SVG: `plot.py ratios RESULT.json OUT.svg` draws our ratio to the best peer for each work.

`lines` draws figures that grow with something, which growth/ uses.
"""

import html
import json
import math
import pathlib
import sys

INK, FAINT, BETTER, WORSE = "#24292f", "#d0d7de", "#2da44e", "#bf8700"
SERIES = ("#0969da", "#bf3989", "#2da44e", "#bf8700")


class Drawing:
    """An SVG of so many pixels, white below, so that it reads on a dark page, too."""

    def __init__(self, width, height, title):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="system-ui,sans-serif" font-size="12">',
            f"<title>{html.escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
        ]
        self.text(16, 24, title, size=15)

    def text(self, x, y, words, anchor="start", size=12, fill=INK):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{fill}">{html.escape(words)}</text>')

    def line(self, x1, y1, x2, y2, stroke=FAINT, dash=""):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" stroke-dasharray="{dash}"/>')

    def bar(self, x, y, width, height, fill):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}" fill="{fill}"/>')

    def path(self, points, stroke):
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{joined}" fill="none" stroke="{stroke}" stroke-width="2"/>')
        self.parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{stroke}"/>' for x, y in points]

    def save(self, path):
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(path).write_text("\n".join([*self.parts, "</svg>"]) + "\n")


def bars(title, rows, path, edge=2.0):
    """One bar for each (label, ratio, note); 1 is the best peer, what is beyond `edge` is cut there."""
    left, top, step, width = 390, 50, 22, 380
    drawing = Drawing(left + width + 150, top + step * len(rows) + 30, title)
    bottom = top + step * len(rows)
    for tick in (0, 0.5, 1, 1.5, 2):
        x = left + width * tick / edge
        drawing.line(x, top - 4, x, bottom, INK if tick == 1 else FAINT, "4 3" if tick == 1 else "")
        drawing.text(x, bottom + 16, f"{tick:g}", "middle", fill=INK)
    for at, (label, ratio, note) in enumerate(rows):
        y = top + step * at
        end = left + width * min(ratio, edge) / edge
        drawing.text(left - 8, y + 14, label, "end")
        drawing.bar(left, y + 3, end - left, 14, BETTER if ratio <= 1 else WORSE)
        drawing.text(end + 6, y + 14, f"{ratio:.2f} × {note}")
    drawing.save(path)


def lines(title, series, unit, path, across="streams"):
    """One line for each {name: [(x, y), …]}, with x on a logarithmic scale and y from zero."""
    left, top, width, height = 80, 50, 520, 240
    every = [point for points in series.values() for point in points]
    low, high = (pick(math.log10(x) for x, _ in every) for pick in (min, max))
    most = nice(max(y for _, y in every) or 1)
    drawing = Drawing(left + width + 40, top + height + 60 + 18 * len(series), title)

    def place(x, y):
        return left + width * (math.log10(x) - low) / ((high - low) or 1), top + height * (1 - y / most)

    for part in range(5):
        value = most * part / 4
        y = place(10**low, value)[1]
        drawing.line(left, y, left + width, y)
        drawing.text(left - 8, y + 4, f"{value:,.4g}", "end")
    written = -math.inf
    for x in sorted({x for x, _ in every}):
        at = place(x, 0)[0]
        if at - written > 36:
            drawing.text(at, top + height + 18, short(x), "middle", size=11)
            written = at
    drawing.text(left + width, top + height + 36, across, "end")
    drawing.text(left, top - 8, unit)
    for at, (name, points) in enumerate(series.items()):
        stroke = SERIES[at % len(SERIES)]
        drawing.path([place(x, y) for x, y in points], stroke)
        drawing.text(left, top + height + 44 + 18 * at, f"■ {name}", fill=stroke)
    drawing.save(path)


def nice(value):
    """The next number above that is easy to read."""
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10) if step * power >= value)


def short(count):
    return f"{count / 1000:g}k" if count >= 1000 else f"{count:g}"


def ratios(source, path):
    kept = json.loads(pathlib.Path(source).read_text())
    rows = []
    for name, work in kept["works"].items():
        ours = work["by_proxy"].get("sidebeat", {})
        if "to_best" in ours:
            rows.append((f"{name}: {work['about'].split(':')[0]}", ours["to_best"], work["best_peer"]))
    bars("sidebeat to the best of " + ", ".join(name for name in kept["about"]["versions"] if name != "sidebeat") + ": less is better", rows, path)


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "ratios":
        sys.exit(__doc__)
    ratios(*sys.argv[2:])
