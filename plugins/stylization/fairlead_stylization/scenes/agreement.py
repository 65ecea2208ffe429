"""Painted charts are changed until views that nobody has asked for yet agree, with as much fine detail as wanted.

Views are linear in the charts, what a warped view differs by from another one is linear in both, and so is what a mean
of 3 x 3 pixels takes away. A step goes down the slope of the differences, and up that of the style where views have
less of it than pictures have (`nearer`), less as much of the slope of the detail's energy as keeps that: detail goes
where it agrees, to coarser strokes and to places that views show alike.

A few views can be made to agree at their own pixels while all others do not. So each step looks at other views than the
last one, and how much detail there is, is measured in views that no step makes agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fairlead_kernels.splatting import add_shares

from ..quality.similarity import high_frequency_energy, low_frequencies
from .camera import Camera
from .consistency import Warp, warp
from .nearer import Lead, Nearer
from .pattern import Pattern
from .scene import Scene
from .splatting import Splats, splat

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
#: Views along a way around the scene, how far apart in their order those lie that shall agree, and such ways. A step
#: looks at a part of one: at so many neighbours, and again at as many, as far from each other as others shall agree.
VIEWS, APART, PHASES, BESIDE = 24, (1, 6), 3, 3
#: Steps, at least and at most: after the first ones it is enough that views agree `ENOUGH` times as badly as plain
#: ones. Those that are looked at agree better than others do.
LEAST_STEPS, STEPS, ENOUGH = 36, 76, 0.75
#: Differences count in full where views agree worse than this, of the plain scene's, and not at all below the other.
_FULL, _NOTHING = 0.9, 0.6
#: Pixels of these views' longer side, at most: all views and warps are in memory at once.
_LARGEST = 384
#: Of the step that each pixel of the atlas would take for itself, how much of the last one is kept on, and how much of
#: a step towards the style is taken.
_STEP, _KEPT_ON, _STYLE = 0.7, 0.9, 0.1
#: Steps towards the style become larger by this, up to as many times, while views have less of it than pictures have,
#: or agree well and still have more than `_STYLED` times the pictures' loss where a place is shown by more than this
#: share of the views (`_ALIKE`), so that all are led alike; they become smaller otherwise.
_FASTER, _SLOWEST, _FASTEST = 1.25, 0.1, 3.0
_AGREES, _STYLED, _ALIKE = 0.95, 0.25, 0.5
#: How often steps towards the style are made smoother, by means of 3 x 3 pixels of the atlas.
_SMOOTH = 3
#: Shares of a disc's colour below this are none.
_TRIFLE = 1e-3
#: Pixels that views show less than this share of the middle one of take smaller steps.
_RARE = 0.3
#: Steps between two looks at the views that are not made to agree.
_LOOK = 3
#: Plain views that agree better than this are taken to agree so well: [0, 1].
_LEAST_ERROR = 1e-3
#: How much more a pair of views that agree well, or share little, may count than others.
_MOST_PAIR = 3.0


@dataclass(frozen=True, slots=True)
class Held:
    """Views that are not made to agree: what they are to show.

    Attributes:
        views: of the scene.
        drawn: float32 [height, width, 3] each, what the stylizer makes of them.
        detail: mean high-frequency energy that they shall have.
    """

    views: Sequence[Splats]
    drawn: Sequence[F32]
    detail: float


@dataclass(frozen=True, slots=True)
class _Phase:
    """Views that shall agree, and warps between pairs of them by their indices, for each distance in their order."""

    views: list[Splats]
    warps: list[dict[tuple[int, int], Warp]]


class _Paint:
    """From the atlas's pixels [pixels, channels] to discs [discs, channels] and back."""

    def __init__(self, pattern: Pattern) -> None:
        (width, height), (columns, rows) = pattern.size, pattern.grid
        self.shape, self.discs = (rows * height, columns * width), len(pattern.places)
        self.pixels = self.shape[0] * self.shape[1]
        corners = pattern.corners()
        place = np.stack([y * (columns * width) + x for y, x, _ in corners])
        weight = np.stack([weight for _, _, weight in corners])
        disc = np.broadcast_to(np.arange(self.discs, dtype=np.int32)[None, :, None], place.shape)
        # Most discs have almost all of their colour from one chart.
        kept = weight > _TRIFLE
        self._place, self._disc, self._weight = place[kept].astype(np.int32), disc[kept], weight[kept]

    def colours(self, atlas: F32) -> F32:
        """As `Pattern.colours`."""
        found = np.zeros((self.discs, atlas.shape[1]), np.float32)
        add_shares(self._disc, self._place, self._weight, atlas, found)
        return found

    def painted(self, values: F32) -> F32:
        """Slopes by the atlas's pixels from those by discs: the transpose of `colours`."""
        found = np.zeros((self.pixels, values.shape[1]), np.float32)
        add_shares(self._place, self._disc, self._weight, values, found)
        return found

    def rate(self, views: Sequence[Splats], share: float) -> F32:
        """Steps [pixels, 1] for slopes that all views send back: less where many pixels show a place."""
        shown = np.sum([np.bincount(view.discs, view.weights, self.discs) for view in views], axis=0)
        often = self.painted(shown[:, None].astype(np.float32))
        return np.float32(share) / (often + np.float32(_RARE * np.median(often[often > 0])))


def agreeing(
    pattern: Pattern, scene: Scene, colours: F32, held: Held | None = None, nearer: Nearer | None = None
) -> F32:
    """Colours [discs, 3] by which a scene's views agree, as well as the plain scene's do if that can be had.

    Args:
        pattern: what changes are painted on, so that discs beside each other change alike.
        scene: its surfaces and background, with plain colours.
        colours: float32 [discs, 3] to begin with.
        held: views that tell how much detail there is; None: there shall be as much as now.
        nearer: leads those views towards the style.
    """
    phases = [phase for phase in _phases(scene, pattern.size) if any(phase.warps)]
    if not phases:
        return colours
    return _Agreement(_Paint(pattern), scene, phases, held, nearer).of(colours)


class _Agreement:
    """What steps go by."""

    def __init__(
        self, paint: _Paint, scene: Scene, phases: list[_Phase], held: Held | None, nearer: Nearer | None
    ) -> None:
        self._paint, self._scene, self._phases, self._held = paint, scene, phases, held
        self._rate = paint.rate([view for phase in phases for view in phase.views], _STEP * len(phases))
        self._plain = np.mean([self._errors(phase, scene.colours) for phase in phases], axis=0)
        self._plain = np.maximum(self._plain, _LEAST_ERROR)
        self._lead: Lead | None = None
        self._alike = False
        if nearer is not None and held is not None:
            plain = [view.render(scene.colours, scene.background) for view in held.views]
            self._lead = nearer.lead(held.drawn, plain)
            # A mean over views: what one of them alone asks for would differ from what others show.
            often = paint.rate(held.views, 1.0)
            self._held_rate = _STYLE * _LOOK * np.minimum(often, np.float32(1 / len(held.views)))
            shown = np.sum([np.bincount(view.discs, minlength=len(scene.points)) > 0 for view in held.views], axis=0)
            self._alike = bool(shown[shown > 0].mean() > _ALIKE * len(held.views))
        self._pull = 1.0

    def of(self, colours: F32) -> F32:
        wanted = [self._energies(phase, colours).sum() for phase in self._phases]
        moving = np.zeros((self._paint.pixels, 3), np.float32)
        found: list[NDArray[np.float64]] = []
        counts, share = np.ones(len(APART)), 1.0
        for step in range(STEPS):
            at = step % len(self._phases)
            phase = self._phases[at]
            energy, apart, fine, errors = self._slopes(phase, colours, counts)
            found.append(errors / self._plain)
            worst = np.nanmean(found[-len(self._phases) :], axis=0)
            if step >= LEAST_STEPS and np.nanmax(worst) <= ENOUGH:
                break
            counts = self._counts(worst)
            moving = np.float32(_KEPT_ON) * moving + self._rate * apart
            if self._held is not None and step % _LOOK == 0:
                shown = [view.render(colours, self._scene.background) for view in self._held.views]
                # Half the way: the next look is soon.
                share *= (self._held.detail / max(_detail(shown), 1e-12)) ** 0.5 if step else 1.0
                moving -= self._towards_style(shown, float(np.nanmax(worst)))
            length = float((fine * self._rate * fine).sum())
            if length <= 1e-12:
                break
            # As much as keeps the energy; what is missing of it is put right, and not gone on with.
            moving -= np.float32(float((fine * moving).sum()) / length) * self._rate * fine
            missing = np.float32((share * wanted[at] - energy) / (2 * length))
            colours = np.clip(colours - self._paint.colours(moving - missing * self._rate * fine), 0, 1)
        return colours.astype(np.float32)

    def _counts(self, worst: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much differences of views so far apart count: in ratios to the plain scene's, the worst one the most."""
        most = max(float(np.nanmax(worst)), 1e-9)
        counts = np.nan_to_num((worst / most / self._plain) ** 2)
        return counts / max(counts.max(), 1e-9) * np.clip((most - _NOTHING) / (_FULL - _NOTHING), 0, 1)

    def _towards_style(self, shown: list[F32], worst: float) -> F32:
        """A step of the atlas [pixels, 3] that leads views towards the style; ``worst``: how badly views agree."""
        if self._lead is None or self._held is None:
            return np.zeros((self._paint.pixels, 3), np.float32)
        steps, loss = self._lead.steps(shown)
        more = loss > 1 or (self._alike and worst < _AGREES and loss > _STYLED)
        self._pull = float(np.clip(self._pull * (_FASTER if more else 1 / _FASTER), _SLOWEST, _FASTEST))
        flat = [step.reshape(-1, 3) for step in steps]
        step = self._held_rate * self._paint.painted(_discs(self._held.views, flat, self._paint.discs))
        smooth = step.reshape(*self._paint.shape, 3)
        # What is fine in it is right at a few views' own pixels alone.
        for _ in range(0 if self._alike else _SMOOTH):
            smooth = low_frequencies(smooth)
        return np.float32(self._pull) * smooth.reshape(step.shape)

    def _errors(self, phase: _Phase, colours: F32) -> NDArray[np.float64]:
        """Mean warped RMSE of pairs so far apart, [APART]."""
        flat = [view.render(colours, self._scene.background).reshape(-1, 3) for view in phase.views]
        return np.array([_mean([_rms(_wrong(flat, pair, warps[pair])) for pair in warps]) for warps in phase.warps])

    def _energies(self, phase: _Phase, colours: F32) -> NDArray[np.float64]:
        """Of each view's detail."""
        views = [view.render(colours, self._scene.background) for view in phase.views]
        return np.array([np.square(view - low_frequencies(view), dtype=np.float64).sum() for view in views])

    def _slopes(
        self, phase: _Phase, colours: F32, counts: NDArray[np.float64]
    ) -> tuple[float, F32, F32, NDArray[np.float64]]:
        """Energy of detail; slopes by the atlas of what differs and of half that energy; errors [APART]."""
        drawn = [view.render(colours, self._scene.background) for view in phase.views]
        flat = [view.reshape(-1, 3) for view in drawn]
        slopes = [np.zeros_like(view) for view in flat]
        errors = []
        for count, warps in zip(counts, phase.warps, strict=True):
            wrong = {pair: _wrong(flat, pair, warps[pair]) for pair in warps}
            rms = {pair: max(_rms(values), 1e-6) for pair, values in wrong.items()}
            errors.append(_mean(list(rms.values())))
            shared = _mean([len(values) for values in wrong.values()])
            for pair, values in wrong.items():
                # Errors are told as a mean over pairs, each a root over what it shares.
                weight = min(errors[-1] / rms[pair] * shared / len(values), _MOST_PAIR)
                values *= np.float32(count * weight)
                slopes[pair[1]][warps[pair].there] -= values
                warps[pair].give_back(values, slopes[pair[0]])
        fine = [view - low_frequencies(view) for view in drawn]
        energy = float(sum(np.square(part, dtype=np.float64).sum() for part in fine))
        # What takes away a mean is, but for the borders, its own transpose.
        fine = [(part - low_frequencies(part)).reshape(-1, 3) for part in fine]
        back = [self._paint.painted(_discs(phase.views, parts, self._paint.discs)) for parts in (slopes, fine)]
        return energy, back[0], back[1], np.array(errors)


def cameras_between(scene: Scene, size: tuple[int, int], phase: int = 0) -> list[Camera]:
    """Cameras all along the way around a scene, between those of other phases, and none where its detail is measured.

    Args:
        scene: that is looked at.
        size: (width, height) in pixels; views larger than `_LARGEST` are made smaller.
        phase: which of the sets, below `PHASES`.
    """
    less = min(1.0, _LARGEST / max(size))
    size = (round(size[0] * less), round(size[1] * less))
    return scene.views(4 * PHASES * VIEWS, size)[1 + 4 * phase :: 4 * PHASES]


def _phases(scene: Scene, size: tuple[int, int]) -> list[_Phase]:
    around = [cameras_between(scene, size, phase) for phase in range(PHASES)]
    return [_phase(scene, cameras, part) for part in range(0, APART[1], BESIDE) for cameras in around]


def _phase(scene: Scene, cameras: list[Camera], part: int) -> _Phase:
    """Some neighbours, from the given one on, and others, as far from each other as views shall agree."""
    order = [at + beside for at in range(part, VIEWS, APART[1]) for beside in range(BESIDE)]
    views = [splat(scene, cameras[at]) for at in order]
    found: list[dict[tuple[int, int], Warp]] = []
    for apart in APART:
        found.append({})
        for first, at in enumerate(order):
            # Scenes without cameras are seen from all around: the first view follows the last one.
            after = at + apart if scene.cameras else (at + apart) % VIEWS
            if after not in order:
                continue
            second = order.index(after)
            between = warp((cameras[at], cameras[after]), (views[first].depth, views[second].depth))
            if len(between.there):
                found[-1][first, second] = between
    return _Phase(views, found)


def _wrong(flat: list[F32], pair: tuple[int, int], between: Warp) -> F32:
    """What the first view differs by from the second one where both show the same: [n, 3]."""
    return between.taken(flat[pair[0]]) - flat[pair[1]][between.there]


def _rms(values: F32) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _detail(views: Sequence[F32]) -> float:
    return _mean([high_frequency_energy(view) for view in views])


def _discs(views: Sequence[Splats], slopes: Sequence[F32], discs: int) -> F32:
    """Slopes by discs' colours [discs, 3] from those by views' pixels: the transpose of rendering."""
    found = np.zeros((discs, 3), np.float32)
    for view, slope in zip(views, slopes, strict=True):
        view.give_back(slope, found)
    return found
