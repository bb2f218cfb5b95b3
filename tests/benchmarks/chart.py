"""A bar chart as SVG: one panel per case, one bar per server, its length the CPU cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 860
_LABEL, _VALUE = 190, 190
_BAR, _GAP, _TITLE, _PANEL_GAP = 18, 5, 26, 22
_MARGIN = 16
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}.v{fill:#57606a}"
    ".o{fill:#2f6fdd}.r{fill:#8250df}.x{fill:#9aa5b1}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.v{fill:#9da7b1}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """`cost` decides the length; `value` is printed behind the bar; `kind` is "ours", "reference" or "other"."""

    label: str
    cost: float
    value: str
    kind: str = "other"


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    bars: Sequence[Bar]


def svg(panels: Sequence[Panel]) -> str:
    """A whole SVG document. Bars are scaled within their panel; shorter is better."""
    parts: list[str] = []
    top = _MARGIN
    for panel in panels:
        parts.append(f'<text class="t" x="{_MARGIN}" y="{top + 14}">{escape(panel.title)}</text>')
        top += _TITLE
        longest = max((bar.cost for bar in panel.bars), default=0.0)
        for bar in panel.bars:
            parts.append(_bar(bar, top, longest))
            top += _BAR + _GAP
        top += _PANEL_GAP
    height = top - (_PANEL_GAP if panels else 0) + _MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _bar(bar: Bar, top: int, longest: float) -> str:
    room = WIDTH - 2 * _MARGIN - _LABEL - _VALUE
    length = max(1.0, room * bar.cost / longest) if longest else 1.0
    left = _MARGIN + _LABEL
    colour = {"ours": "o", "reference": "r"}.get(bar.kind, "x")
    baseline = top + 14
    return (
        f'<text x="{left - 8}" y="{baseline}" text-anchor="end">{escape(bar.label)}</text>'
        f'<rect class="{colour}" x="{left}" y="{top}" width="{length:.1f}" height="{_BAR}" rx="2"/>'
        f'<text class="v" x="{left + length + 6:.1f}" y="{baseline}">{escape(bar.value)}</text>'
    )
