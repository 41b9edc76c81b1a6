"""Pictures of measurements as plain SVG."""

import html
import math

WIDTH, HEIGHT = 860, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 50
COLOURS = ("#2563a8", "#c2571a", "#3b7d3a", "#8a3a8f", "#7a6a00")


def ticks(low, high, about=5):
    """Round figures from `low` to `high`."""
    rough = (high - low) / about
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value):
    return f"{value:g}" if abs(value) < 10_000 else f"{value:,.0f}"


def lines(path, title, x_label, y_label, series):
    """Writes a picture; `series` is {name: [(x, y), …]}. The y axis begins at 0 unless something is below it."""
    points = [point for line in series.values() for point in line] or [(0, 0)]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(0, *(y for _, y in points)), max(y for _, y in points) * 1.05
    x_high, y_high = (x_high if x_high > x_low else x_low + 1), (y_high if y_high > y_low else y_low + 1)

    def at(x, y):
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f}", f"{up:.1f}"

    def text(x, y, words, anchor="middle", more=""):
        return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{html.escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 20, title, "start", ' font-size="15"'),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label),
        text(16, (TOP + HEIGHT - BOTTOM) / 2, y_label, more=f' transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})"'),
    ]
    for value in ticks(y_low, y_high):
        (left, y), (right, _) = at(x_low, value), at(x_high, value)
        parts.append(f'<path d="M{left} {y}H{right}" stroke="#ddd"/>')
        parts.append(text(LEFT - 6, float(y) + 4, label(value), "end"))
    for value in ticks(x_low, x_high, 8):
        x, y = at(value, y_low)
        parts.append(text(x, float(y) + 18, label(value)))
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        path_of = " ".join(",".join(at(x, y)) for x, y in line)
        parts.append(f'<polyline points="{path_of}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(text(WIDTH - RIGHT - 130 * (len(series) - 1 - number), TOP - 10, name, "end", f' style="fill:{colour}"'))
    with open(path, "w") as file:
        file.write("\n".join([*parts, "</svg>", ""]))
