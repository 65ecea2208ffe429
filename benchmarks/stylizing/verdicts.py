"""Whether our variants are where it was promised, by the figures of all methods."""

from __future__ import annotations

import numpy as np

from benchmarks.results_file import Row, not_measured

Curve = dict[float, tuple[float, float, float]]
Figures = dict[str, Curve]

MICROAST_STYLE = 0.465
EDGE = (
    "edge: style loss <= MicroAST's (0.465) with SSIM >= 0.50 or content loss <= 2.3, so that it dominates MicroAST "
    "and Magenta on both axes"
)
UNDOMINATED = "no row of the table dominates edge"
QUALITY = "quality dominates every row on style loss at equal content loss"


def verdicts(figures: Figures) -> list[Row]:
    """A row a promise and variant; a variant or a peer that is not here is said to be missing."""
    peers = {name: curve for name, curve in figures.items() if name not in ("edge", "quality")}
    rows = (
        [] if "Magenta" in peers else [not_measured("edge", "Magenta", "", EDGE, "no interpreter of Magenta's files")]
    )
    rows += _edge(figures["edge"], peers) if "edge" in figures else [not_measured("edge", "losses", "", EDGE, _NONE)]
    if "quality" in figures:
        return rows + _quality(figures["quality"], peers)
    return [*rows, not_measured("quality", "style loss at equal content loss", "", QUALITY, _NONE)]


_NONE = "no weights of this variant ship"


def _edge(curve: Curve, peers: Figures) -> list[Row]:
    """At the strength with the least content loss whose style loss is low enough; at full strength where none is."""
    highest = min(MICROAST_STYLE, peers["MicroAST"][1.0][2])
    good = [strength for strength, figure in curve.items() if figure[2] <= highest]
    strength = min(good, key=lambda each: curve[each][1], default=1.0)
    similarity, content, style = curve[strength]
    rows = [
        Row("edge", "style loss", "", style, peers["MicroAST"][1.0][2], limit=f"<= {highest:.3f}", target=EDGE,
            holds=bool(good) and (similarity >= 0.5 or content <= 2.3),
            note=f"strength {strength:g}: SSIM {similarity:.3f}, content loss {content:.2f}")
    ]  # fmt: skip
    for name in ("MicroAST", "Magenta"):
        if name in peers:
            _, other_content, other_style = peers[name][1.0]
            note = f"content loss {content:.2f} to {other_content:.2f}, style loss {style:.3f} to {other_style:.3f}"
            rows.append(Row("edge", f"dominates {name} on both axes", "", style, other_style, target=EDGE,
                            holds=content <= other_content and style <= other_style, note=note))  # fmt: skip
    better = [name for name, other in peers.items() if other[1.0][1] <= content and other[1.0][2] <= style]
    note = f"dominated by {', '.join(better)}" if better else None
    rows.append(Row("edge", "methods that dominate it", "", float(len(better)), limit="<= 0", target=UNDOMINATED,
                    holds=not better, note=note))  # fmt: skip
    return rows


def _quality(curve: Curve, peers: Figures) -> list[Row]:
    """Style loss where our curve has a peer's content loss, beside the peer's, at full strength."""
    points = np.array(sorted((figure[1], figure[2]) for figure in curve.values()))
    rows = []
    for name, other in peers.items():
        _, content, style = other[1.0]
        ours = float(np.interp(content, points[:, 0], points[:, 1]))
        # Beyond our curve we reach our own last point with less content loss: that dominates as well.
        reached = bool(content >= points[0, 0])
        note = f"at content loss {content:.2f}" + ("" if reached else ", less than ours at any strength")
        rows.append(Row("quality", f"style loss at the content loss of {name}", "", ours, style, ratio=style / ours,
                        target=QUALITY, holds=reached and ours <= style, note=note))  # fmt: skip
    return rows
