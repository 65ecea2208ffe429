"""The control plane's database: desired state, leases, events and access tokens."""

from fairlead_cloud.store.database import Database, DatabaseError
from fairlead_cloud.store.events import Event, EventLog
from fairlead_cloud.store.leases import EpochConflict, LeaseStore
from fairlead_cloud.store.tokens import Role, TokenStore
from fairlead_cloud.store.workloads import StoredWorkload, WorkloadStore

__all__ = [
    "Database",
    "DatabaseError",
    "EpochConflict",
    "Event",
    "EventLog",
    "LeaseStore",
    "Role",
    "StoredWorkload",
    "TokenStore",
    "WorkloadStore",
]
