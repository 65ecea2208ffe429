"""What the control plane shows of its site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fairlead_agent.daemon.site_view import SiteView
from fairlead_agent.graph import instance_id
from fairlead_agent.messages import InstanceReport, InstanceState, LeaseKey, PlacementRecord, Workload
from fairlead_agent.placement.explain import explain, text
from fairlead_cloud.api.views import ExplainView, LeaseView, NodeView, WorkloadView
from fairlead_cloud.chronicle import Chronicle
from fairlead_cloud.leases import LeaseBook
from fairlead_cloud.store import StoredWorkload


class SiteReport:
    """Reads view, leases and desired state, and puts them in the API's form.

    Also the gateway's index: the instances of each workload, built anew only after something changed.
    """

    def __init__(self, view: SiteView, leases: LeaseBook, known: Mapping[str, Workload], chronicle: Chronicle) -> None:
        self._view, self._leases, self._known, self._chronicle = view, leases, known, chronicle
        self._by_workload: dict[str, list[tuple[str, InstanceReport]]] | None = None
        self._openai: list[str] | None = None
        view.on_status(lambda _: self.changed())
        view.on_instances(lambda _: self.changed())

    def changed(self) -> None:
        """Nodes, instances or desired state have changed."""
        self._by_workload = self._openai = None

    # --- for the gateway -------------------------------------------------------------------------------------------

    def instances_of(self, workload: str) -> Iterable[tuple[str, InstanceReport]]:
        """The workload's instances by the online nodes' own word, each with its node."""
        if self._by_workload is None:
            self._by_workload = self._index()
        return self._by_workload.get(workload, ())

    def holds(self, key: LeaseKey, epoch: int, node: str) -> bool:
        """Whether ``node`` holds the live lease of ``key`` at exactly ``epoch``."""
        return self._leases.holds(key, epoch, node)

    def openai_workloads(self) -> list[str]:
        """The workloads whose plugin answers OpenAI's API, by the nodes' own word."""
        if self._openai is None:
            plugins = {plugin for status in self._view.statuses.values() for plugin in status.openai_plugins}
            self._openai = sorted(name for name, workload in self._known.items() if workload.plugin in plugins)
        return self._openai

    def _index(self) -> dict[str, list[tuple[str, InstanceReport]]]:
        online = {status.node: status.incarnation for status in self._view.online()}
        found: dict[str, list[tuple[str, InstanceReport]]] = {}
        for report in self._view.instances.values():
            if online.get(report.node) == report.incarnation:
                for instance in report.instances:
                    found.setdefault(instance.key.workload, []).append((report.node, instance))
        return found

    # --- for the API -----------------------------------------------------------------------------------------------

    def workload(self, stored: StoredWorkload) -> WorkloadView:
        """A wanted workload and how it stands."""
        assert stored.desired.workload is not None
        name = stored.desired.name
        record = self._view.record(name)
        instances = tuple(report for _, report in self.instances_of(name))
        return WorkloadView(
            name=name,
            generation=stored.desired.generation,
            updated_at=stored.updated_at,
            workload=stored.desired.workload,
            steward=record.steward if record is not None else None,
            slots=record.slots if record is not None else (),
            instances=instances,
            ready=len({report.key.replica for report in instances if report.state is InstanceState.READY}),
            told=self._told(name),
        )

    def _told(self, workload: str) -> dict[int, dict[str, float]]:
        """What plugins say of the workload's instances; of a replica that moves, the one that serves speaks."""
        found: dict[int, dict[str, float]] = {}
        for node, report in sorted(self.instances_of(workload), key=lambda each: each[1].state is InstanceState.READY):
            told = self._view.graph.told(instance_id(node, workload, report.key.replica))
            if told:
                found[report.key.replica] = told
        return found

    def nodes(self) -> list[NodeView]:
        """All nodes."""
        return [
            NodeView(
                status=status,
                instances=self._view.instances[node].instances if node in self._view.instances else (),
                facts=self._view.graph.facts(node),
            )
            for node, status in sorted(self._view.statuses.items())
        ]

    def graph(self) -> dict[str, Any]:
        """The resource graph as cytoscape.js elements."""
        return self._view.graph.to_mapping()

    def placements(self) -> list[PlacementRecord]:
        """The latest decision on every wanted workload."""
        found = [self._view.record(name) for name in sorted(self._known)]
        return [record for record in found if record is not None]

    def leases(self) -> list[LeaseView]:
        """The authority's rows."""
        rows = sorted(self._leases.rows.values(), key=lambda row: (row.key.workload, row.key.replica))
        return [
            LeaseView(
                workload=row.key.workload,
                replica=row.key.replica,
                epoch=row.epoch,
                node=None if row.released else row.node,
                remaining_s=self._leases.remaining_s(row),
            )
            for row in rows
        ]

    def explain(self, name: str) -> ExplainView:
        """Why a workload stands where it stands."""
        record = self._view.record(name)
        if record is None:
            lines = (f"{name}: no steward has decided on it yet",)
        else:
            lines = tuple(text(explain(record, self._chronicle.previous(name))).splitlines())
        return ExplainView(workload=name, record=record, lines=lines)
