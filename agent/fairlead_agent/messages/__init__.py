"""The words that devices say to each other: pure data, no I/O, no clock, no random number.

Every message travels as an :class:`~fairlead_agent.messages.envelope.Envelope` (CloudEvents field names) whose
``data`` is one of the bodies of this package. Receivers ignore unknown fields; within version 1 only additive
changes are made, and the JSON Schemas in the repository are held against these models by a test.
"""

from fairlead_agent.messages.base import Body, Frozen
from fairlead_agent.messages.envelope import (
    MAX_MESSAGE_BYTES,
    Envelope,
    MessageError,
    bodies,
    decode,
    encode,
)
from fairlead_agent.messages.estimate import Estimate, Quantiles, Refusal
from fairlead_agent.messages.graph import GraphEntry, GraphUpdate
from fairlead_agent.messages.instance import InstanceReport, InstanceState, NodeInstances
from fairlead_agent.messages.lease import (
    Grant,
    GrantDenied,
    GrantRequest,
    LeaseKey,
    LeaseQuery,
    LeaseRef,
    LeaseState,
    LeaseStates,
    Release,
    ReleaseAck,
    Renewal,
    RenewalReply,
    RenewalResult,
)
from fairlead_agent.messages.negotiation import Accept, Award, Bid, Call, Cancel, Offer, Refuse, ReplyAck
from fairlead_agent.messages.node import NodeStatus, RebirthRequest
from fairlead_agent.messages.placement import BidOutcome, PlacementRecord, SlotPlacement
from fairlead_agent.messages.stream import (
    StreamAbort,
    StreamChunk,
    StreamCredit,
    StreamEnd,
    StreamHead,
    StreamRequest,
)
from fairlead_agent.messages.workload import (
    Constraints,
    Objectives,
    PlacementPolicy,
    SignedWorkload,
    Workload,
)

__all__ = [
    "MAX_MESSAGE_BYTES",
    "Accept",
    "Award",
    "Bid",
    "BidOutcome",
    "Body",
    "Call",
    "Cancel",
    "Constraints",
    "Envelope",
    "Estimate",
    "Frozen",
    "Grant",
    "GrantDenied",
    "GrantRequest",
    "GraphEntry",
    "GraphUpdate",
    "InstanceReport",
    "InstanceState",
    "LeaseKey",
    "LeaseQuery",
    "LeaseRef",
    "LeaseState",
    "LeaseStates",
    "MessageError",
    "NodeInstances",
    "NodeStatus",
    "Objectives",
    "Offer",
    "PlacementPolicy",
    "PlacementRecord",
    "Quantiles",
    "RebirthRequest",
    "Refusal",
    "Refuse",
    "Release",
    "ReleaseAck",
    "Renewal",
    "RenewalReply",
    "RenewalResult",
    "ReplyAck",
    "SignedWorkload",
    "SlotPlacement",
    "StreamAbort",
    "StreamChunk",
    "StreamCredit",
    "StreamEnd",
    "StreamHead",
    "StreamRequest",
    "Workload",
    "bodies",
    "decode",
    "encode",
]
