"""Predicts what an instance does on a node, from the collection's size and the tier's latency.

A search scans codes in main memory and then reads a few exact vectors from the tier, all of a query's in one batch:
T = T_http + T_codes(n, d) + L_tier + r c_read. Many queries are in flight, so that throughput is bound by the
processor's part, T_http + T_codes + r c_cpu, and by the reads a second that the tier completes.
"""

from __future__ import annotations

from dataclasses import dataclass

from fairlead_agent.plugin import Estimate, NodeFacts, Quantiles

from .settings import Settings, model_folder

#: Where each variant keeps vectors at first: kinds of tiers.
VARIANTS = {"dram": "dram", "tiered-memory-node": "memory", "tiered-file": "file"}
#: Interpreter, numpy, web server, SQLite and head room, before any vector is loaded.
BASE_BYTES = 96 * 2**20
#: What an embedding model takes beside its weights: tokenizer, states of a batch.
EMBEDDING_BYTES = 64 * 2**20
#: What importing them and replaying an empty log takes.
BASE_STARTUP_S = 1.5
#: Reading and checking stored vectors at start.
REPLAY_BYTES_PER_S = 100e6
#: Codes, graph and tables in main memory, as a share of raw float32 bytes: with vectors beside them, and without.
CODES_SHARE = 0.08
GRAPH_SHARE = 0.17
#: Share of the tier's bytes beside the vectors themselves.
TIER_SHARE = 0.06
#: Processor time of one request in the web server, JSON and the gateway's hop.
HTTP_S = 1.2e-3
#: Processor time of one search of 60,000 vectors of 784 dimensions at recall 0.95 on one core, and how it grows.
SEARCH_S, SEARCH_VECTORS, SEARCH_DIM, SEARCH_GROWTH = 6e-5, 60_000, 784, 0.35
#: Exact vectors that a search reads.
READS = 15
SPREAD = 0.8


@dataclass(frozen=True, slots=True)
class TierSpeed:
    """How a tier answers small reads.

    Attributes:
        latency_s: of a batch of READS reads.
        read_s: what each further read in flight adds: 1 / the reads a second at depth.
        processor_s: processor time of one read, at the client.
    """

    latency_s: float
    read_s: float
    processor_s: float


#: Assumed where nobody has probed: plain DRAM, TCP to a memory node near by, and a solid-state disk.
ASSUMED = {
    "dram": TierSpeed(1e-6, 1e-7, 1e-7),
    "memory": TierSpeed(1e-4, 2e-6, 2e-6),
    "file": TierSpeed(3e-4, 1.3e-5, 3e-6),
}


def estimate(settings: Settings, variant: str, facts: NodeFacts) -> Estimate:
    """Predict one instance of a variant on this node."""
    tier = VARIANTS[variant]
    speed = tier_speed(tier, facts)
    cores = max(0.1, min(settings.threads or facts.processor.cores, facts.processor.cores_free))
    slowness = 1 / facts.processor.speed_factor
    processor_s = (HTTP_S + search_s(settings)) * slowness + READS * speed.processor_s
    per_second = min(cores / processor_s, 1 / (READS * speed.read_s))
    watts = facts.watts_per_core
    return Estimate(
        latency_s=Quantiles.around(processor_s + speed.latency_s, SPREAD),
        throughput_per_s=Quantiles.around(per_second, SPREAD),
        throughput_unit="query",
        memory_bytes=memory_bytes(settings, tier),
        memory_minimum_bytes=memory_bytes(settings, _lowest(settings, tier)),
        cores=cores,
        energy_j=Quantiles.around(watts * processor_s, SPREAD) if watts is not None else None,
        startup_s=Quantiles.around(startup_s(settings, slowness), SPREAD),
        reason=_reason(settings, tier, speed),
    )


def search_s(settings: Settings) -> float:
    """Processor time of one search on one core."""
    size = (settings.vectors_per_shard() / SEARCH_VECTORS) ** SEARCH_GROWTH
    return SEARCH_S * max(0.05, size) * max(0.1, settings.expected.dim / SEARCH_DIM)


def memory_bytes(settings: Settings, tier: str) -> dict[str, int]:
    """Bytes by tier of the node with the expected vectors in place; those on a memory node are that node's."""
    count, expected = settings.vectors_per_shard(), settings.expected
    raw = count * expected.dim * 4
    vectors = int(count * expected.vector_bytes() * (1 + TIER_SHARE))
    # The log and the checkpoint hold each vector as well, wherever searches read it from.
    stored = 2 * count * (expected.vector_bytes() + expected.text_bytes)
    dram = base_bytes(settings) + int(raw * (GRAPH_SHARE if tier == "dram" else CODES_SHARE))
    if tier == "dram":
        return {"dram": dram + vectors, "storage": stored}
    return {"dram": dram, "storage": stored + (vectors if tier == "file" else 0)}


def base_bytes(settings: Settings) -> int:
    """Main memory beside the collections: the process, and the embedding model where it is installed."""
    folder = None if settings.embedding is None else model_folder(settings.embedding)
    weights = folder / "model.safetensors" if folder else None
    return BASE_BYTES + (weights.stat().st_size + EMBEDDING_BYTES if weights and weights.is_file() else 0)


def startup_s(settings: Settings, slowness: float) -> float:
    """Seconds until it serves, with the expected vectors in the store."""
    stored = settings.vectors_per_shard() * settings.expected.vector_bytes()
    return (BASE_STARTUP_S + stored / REPLAY_BYTES_PER_S) * slowness


def tier_speed(tier: str, facts: NodeFacts) -> TierSpeed:
    """What the node's probe found of a tier, or what is assumed of its kind."""
    said = facts.software.get(f"retrieval_{tier}", "")
    try:
        latency_s, read_s, processor_s = map(float, said.split())
    except ValueError:
        return ASSUMED[tier]
    return TierSpeed(latency_s, read_s, processor_s)


def _lowest(settings: Settings, tier: str) -> str:
    """The tier that a smaller budget moves vectors to."""
    if tier != "dram":
        return tier
    return "memory" if settings.memory_nodes else "file"


def _reason(settings: Settings, tier: str, speed: TierSpeed) -> str:
    expected = settings.expected
    where = {"dram": "main memory", "memory": "a memory node", "file": "a file"}[tier]
    return (
        f"{settings.vectors_per_shard():,} vectors of {expected.dim} {expected.element}, read from {where}: "
        f"{READS} reads a search in {speed.latency_s * 1e6:.0f} us"
    )
