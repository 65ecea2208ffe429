"""All tables, on one page."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Float, Integer, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

#: SQLite counts rows only in an INTEGER primary key; Postgres wants a BIGINT.
RowNumber = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """The declarative base."""


class WorkloadRow(Base):
    """Desired state, one row a name. A deleted workload keeps its row, so that its generation only grows."""

    __tablename__ = "workloads"

    site: Mapped[str] = mapped_column(String(63), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    generation: Mapped[int] = mapped_column(Integer)
    deleted: Mapped[bool] = mapped_column(Boolean, default=False)
    spec: Mapped[str] = mapped_column(Text, doc="JSON of the workload as it was applied.")
    signed: Mapped[str] = mapped_column(Text, doc="JSON of the SignedWorkload that is retained on the bus.")
    updated_at: Mapped[float] = mapped_column(Float)


class LeaseTableRow(Base):
    """One epoch counter a key (site, workload, replica)."""

    __tablename__ = "leases"

    site: Mapped[str] = mapped_column(String(63), primary_key=True)
    workload: Mapped[str] = mapped_column(String(63), primary_key=True)
    replica: Mapped[int] = mapped_column(Integer, primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, default=0)
    node: Mapped[str | None] = mapped_column(String(63), nullable=True)
    row: Mapped[str] = mapped_column(Text, doc="JSON of the placement rules' LeaseRow.")


class EventRow(Base):
    """What happened, in order."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=True)
    time: Mapped[float] = mapped_column(Float, index=True)
    type: Mapped[str] = mapped_column(String(64), index=True)
    subject: Mapped[str] = mapped_column(String(256), index=True)
    data: Mapped[dict[str, object]] = mapped_column(JSON)


class TokenRow(Base):
    """An access token: only its SHA-256 is stored."""

    __tablename__ = "tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[float] = mapped_column(Float)
    revoked: Mapped[bool] = mapped_column(Boolean, default=False)
