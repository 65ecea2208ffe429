"""The control plane that this user talks to."""

from __future__ import annotations

from fairlead_agent.cli.doctor.check import Check, Finding


class ControlPlaneReachable(Check):
    """Commands need an address and a token."""

    name = "control plane"
    question = "Does the control plane answer?"

    def run(self) -> Finding:
        """Ask."""
        from fairlead_agent.cli.api_client import client_files, find_client
        from fairlead_agent.cli.errors import CliError, UnreachableError

        try:
            client = find_client(None, None)
        except CliError:
            return Finding("skipped", "none is known here", "start one with `fairlead up`")
        try:
            health = client.get("/api/v1/health")
            client.get("/api/v1/nodes")
        except UnreachableError as error:
            if client.source == str(client_files()[0]):
                return Finding("skipped", "the fleet of this folder is not up", "start it with `fairlead up`")
            return Finding("problem", error.message, "start it, or mend FAIRLEAD_URL")
        except CliError as error:
            return Finding("problem", error.message, "mend FAIRLEAD_URL and FAIRLEAD_TOKEN")
        if not health["bus_connected"]:
            return Finding("problem", f"{client.url} has lost its broker", "start the broker again")
        return Finding("ok", f"{client.url}, site {health['site']}, {health['nodes_online']} nodes online")
