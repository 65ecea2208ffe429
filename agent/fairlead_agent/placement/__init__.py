"""Placement is negotiated: stewards call, nodes bid, the authority issues epochs, holders renew.

Everything here is pure. Time (seconds of a clock that does not stop while the device sleeps) and ids come in as
arguments; what is to be done comes out as a list of :mod:`effects <fairlead_agent.placement.effects>`.
"""

from fairlead_agent.placement.authority import AuthorityRules, LeaseRow
from fairlead_agent.placement.bidder import Bidder
from fairlead_agent.placement.calibration import Calibration
from fairlead_agent.placement.config_digest import config_digest
from fairlead_agent.placement.effects import (
    Activate,
    Announce,
    Effect,
    Evaluate,
    Extend,
    Prepare,
    Record,
    Send,
    Stop,
)
from fairlead_agent.placement.explain import Line, changes, explain
from fairlead_agent.placement.guarantee import GuaranteeError, check
from fairlead_agent.placement.lease import AUTHORITY, HeldLease, LeaseTable
from fairlead_agent.placement.ledger import Claim, Ledger
from fairlead_agent.placement.rendezvous import steward_of
from fairlead_agent.placement.resources import Resources
from fairlead_agent.placement.settings import PlacementSettings
from fairlead_agent.placement.steward import Steward

__all__ = [
    "AUTHORITY",
    "Activate",
    "Announce",
    "AuthorityRules",
    "Bidder",
    "Calibration",
    "Claim",
    "Effect",
    "Evaluate",
    "Extend",
    "GuaranteeError",
    "HeldLease",
    "LeaseRow",
    "LeaseTable",
    "Ledger",
    "Line",
    "PlacementSettings",
    "Prepare",
    "Record",
    "Resources",
    "Send",
    "Steward",
    "Stop",
    "changes",
    "check",
    "config_digest",
    "explain",
    "steward_of",
]
