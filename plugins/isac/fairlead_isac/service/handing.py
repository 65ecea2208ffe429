"""Requests go to the cell that senses them best: who that is, handing over, and finding a request again."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from fairlead_agent.plugin import Peer

from ..errors import IsacError, NotFound, RadioUnavailable
from ..requests.request import SensingRequest
from ..settings import Settings
from .sight import View, area_seen, views

TIMEOUT_S = 5.0
PATH = "/sensing/requests"
#: The asked cell keeps what would take another one no less than this part of its air time.
WORTH = 0.9


class Others(Protocol):
    """The other cells."""

    def reached(self) -> dict[str, Peer]:
        """Those that have an address, by name."""
        ...


@dataclass(frozen=True, slots=True)
class Placed:
    """The answer to who asked: as JSON, and whether it is met."""

    body: dict[str, Any]
    met: bool


class Handing:
    """Places requests among cells.

    Args:
        cell: this one.
        replica: that it is.
        settings_of: the workload's settings at a replica's site.
        others: the other cells.
        here: asks this cell.
        note: hears who was chosen and why.
        unix: Unix seconds.
        transport: of httpx, for tests.
    """

    def __init__(
        self,
        cell: str,
        replica: int,
        settings_of: Callable[[int], Settings],
        others: Others,
        here: Callable[[SensingRequest], Placed],
        note: Callable[[str, dict[str, Any]], None],
        unix: Callable[[], float],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.cell, self._replica, self._settings_of = cell, replica, settings_of
        self._others, self._here, self._note, self._unix = others, here, note, unix
        self._transport = transport
        self._numbers = itertools.count(1)

    def place(self, request: SensingRequest) -> Placed:
        """Have a request sensed by the best cell, by all that see it, or here.

        Cells are asked in the order of the air time that it would take; one that refuses or does not answer is passed
        over. Where all refuse, the answer is that of the first one that did answer.

        Raises:
            IsacError: a target that no cell knows, or an area that none sees.
        """
        if request.cells == "here":
            return self._here(request)
        peers = self._others.reached()
        replicas = [self._replica, *(peer.replica for peer in peers.values())]
        seeing, blind = views(request, replicas, self._settings_of)
        if not seeing:
            return self._refused(request, blind)
        return self._offered(request, self._kept(seeing), peers, dict(blind))

    def _offered(
        self, request: SensingRequest, seeing: list[View], peers: dict[str, Peer], passed: dict[str, str]
    ) -> Placed:
        several = request.cells == "all" and len(seeing) > 1
        request = request.model_copy(update={"track": self._track(request) if several else request.track})
        joined = self._joined(request, seeing[1:], peers, passed) if several else dict[str, str]()
        answers = list[Placed]()
        for view in seeing[:1] if several else seeing:
            why = self._why(view, seeing, passed)
            asked = request.model_copy(update={"chosen": why, "joined": tuple(joined.values())})
            answer = self._ask(asked, view, peers, passed)
            if answer is not None and answer.met:
                self._note(why, {"request": answer.body["id"], "cell": view.cell, "with": joined})
                return Placed({**answer.body, "with": joined, "passed": passed}, True)
            answers += [] if answer is None else [answer]
        self._end(joined, peers)
        if not answers:
            raise RadioUnavailable(f"no cell answers: {_listed(passed)}")
        return Placed({**answers[0].body, "with": {}, "passed": passed}, False)

    def elsewhere(self, name: str) -> Peer | None:
        """The cell whose request it is; None: this one.

        Raises:
            NotFound: that cell is not there.
        """
        cell = name.partition("@")[2]
        if not cell or cell == self.cell:
            return None
        peer = self._others.reached().get(cell)
        if peer is None:
            raise NotFound(f"sensing request {name!r} is one of cell {cell!r}, which is not there now")
        return peer

    def known(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Requests of the other cells as JSON, and why those of some are not told."""
        found, silent = list[dict[str, Any]](), dict[str, str]()
        for cell, peer in sorted(self._others.reached().items()):
            try:
                with httpx.Client(transport=self._transport, timeout=TIMEOUT_S) as http:
                    answer = http.get(f"{peer.address}{PATH}?cells=here", headers=headers_of(peer))
                found += answer.raise_for_status().json()["requests"]
            except (httpx.HTTPError, ValueError, KeyError) as error:
                silent[cell] = f"it does not answer: {type(error).__name__}"
        return found, silent

    def end(self, names: tuple[str, ...]) -> None:
        """End requests of other cells; what cannot be reached is left to end by its time."""
        self._end({name.partition("@")[2]: name for name in names}, self._others.reached())

    # --- one cell ----------------------------------------------------------------------------------------------

    def _kept(self, seeing: list[View]) -> list[View]:
        """This cell goes first where the best takes hardly less."""
        own = next((view for view in seeing if view.cell == self.cell), None)
        if own is None or seeing[0].air_share < WORTH * own.air_share:
            return seeing
        return [own, *(view for view in seeing if view is not own)]

    def _why(self, view: View, seeing: list[View], passed: dict[str, str]) -> str:
        others = ", ".join(f"{100 * each.air_share:.2g} % of {each.cell}'s" for each in seeing if each is not view)
        said = f"{view.cell} takes {100 * view.air_share:.2g} % of its air time for it"
        said += f", it would be {others}" if others else ""
        said += "".join(f"; not {cell}: {why}" for cell, why in passed.items())
        return said[:500]

    def _joined(
        self, request: SensingRequest, views: list[View], peers: dict[str, Peer], passed: dict[str, str]
    ) -> dict[str, str]:
        """Requests of the other cells that see it, by cell."""
        found = dict[str, str]()
        for view in views:
            asked = request.model_copy(update={"chosen": "it sees it, too"})
            answer = self._ask(asked, view, peers, passed)
            if answer is not None and answer.met:
                found[view.cell] = answer.body["id"]
        return found

    def _track(self, request: SensingRequest) -> str:
        return request.track or f"{self.cell}.{self._unix():.0f}.{next(self._numbers)}"

    def _ask(
        self, request: SensingRequest, view: View, peers: dict[str, Peer], passed: dict[str, str]
    ) -> Placed | None:
        """The cell's answer; None where it gives none. Why it does not sense it is added to ``passed``."""
        area = None if request.target is not None else view.area
        request = request.model_copy(update={"cells": "here", "area": area})
        answer, why = self._own(request) if view.cell == self.cell else self._post(request, peers[view.cell])
        if answer is not None and not answer.met:
            why = "; ".join(answer.body["reasons"])
        if why:
            passed[view.cell] = why
        return answer

    def _own(self, request: SensingRequest) -> tuple[Placed | None, str]:
        try:
            return self._here(request), ""
        except RadioUnavailable as error:
            return None, str(error)

    def _post(self, request: SensingRequest, peer: Peer) -> tuple[Placed | None, str]:
        body = request.model_dump(mode="json", by_alias=True, exclude_none=True)
        try:
            with httpx.Client(transport=self._transport, timeout=TIMEOUT_S) as http:
                answer = http.post(f"{peer.address}{PATH}", json=body, headers=headers_of(peer))
            if answer.status_code in (201, 409):
                found: dict[str, Any] = answer.json()
                return Placed(found, bool(found["met"])), ""
            return None, f"it answers {answer.status_code}"
        except (httpx.HTTPError, ValueError, KeyError) as error:
            return None, f"it does not answer: {type(error).__name__}"

    def _end(self, joined: dict[str, str], peers: dict[str, Peer]) -> None:
        for cell, name in joined.items():
            if cell in peers:
                try:
                    with httpx.Client(transport=self._transport, timeout=TIMEOUT_S) as http:
                        http.delete(f"{peers[cell].address}{PATH}/{name}", headers=headers_of(peers[cell]))
                except httpx.HTTPError as error:
                    self._note(f"{name} was not ended: {type(error).__name__}", {"request": name})

    def _refused(self, request: SensingRequest, blind: dict[str, str]) -> Placed:
        """No cell can: this one says for each requirement why not, where it sees it at all."""
        area = area_seen(request, self._settings_of(self._replica), self._replica)
        if area is None:
            raise IsacError(f"no cell can sense it: {_listed(blind)}; accepted: what some cell can")
        update = {"cells": "here", "area": None if request.target is not None else area}
        answer = self._here(request.model_copy(update={**update, "chosen": f"no cell can: {_listed(blind)}"[:500]}))
        return Placed({**answer.body, "with": {}, "passed": blind}, answer.met)


def headers_of(peer: Peer) -> dict[str, str]:
    """What a worker host checks a caller's knowledge of its lease by."""
    return {"Fairlead-Epoch": str(peer.epoch)}


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(f"{cell}: {why}" for cell, why in reasons.items())
