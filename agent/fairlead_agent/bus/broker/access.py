"""Who may say and read what: the rules that both brokers enforce.

A node writes below ``node/<itself>`` and into every inbox; it reads every node's state, desired state and its own
inbox. Control-plane accounts read and write everything of the site. The user name is the node id.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairlead_agent.bus.patterns import matches

#: Stands for the user name in a rule, as in mosquitto's ACL file.
USER = "%u"


def node_rules(site: str) -> list[tuple[str, str]]:
    """(access, pattern) for every node; access is 'read' or 'write'. ``site`` may be '+'."""
    root = f"fairlead/1/{site}"
    return [
        ("write", f"{root}/node/{USER}/#"),
        ("write", f"{root}/inbox/+"),
        ("read", f"{root}/node/#"),
        ("read", f"{root}/desired/+"),
        ("read", f"{root}/inbox/{USER}"),
    ]


def control_pattern(site: str) -> str:
    """What control-plane accounts read and write."""
    return f"fairlead/1/{site}/#"


def allowed(user: str, control: bool, access: str, topic: str, site: str) -> bool:
    """True when ``user`` may ``access`` ('read' or 'write') ``topic``."""
    if control and matches(control_pattern(site), topic):
        return True
    # A user name with a wildcard would widen the rules.
    if not user or any(mark in user for mark in "+#/"):
        return False
    return any(rule == access and matches(pattern.replace(USER, user), topic) for rule, pattern in node_rules(site))


def acl_file(site: str, control_users: Iterable[str]) -> str:
    """The rules in the syntax of mosquitto's ``acl_file``."""
    lines = [line for user in control_users for line in (f"user {user}", f"topic readwrite {control_pattern(site)}")]
    lines += [f"pattern {access} {pattern}" for access, pattern in node_rules(site)]
    return "\n".join(lines) + "\n"
