"""What the counters mean. Pure. What an instance does not report is absent, never zero."""

from __future__ import annotations

from .reading import Reading

Values = dict[str, float]


def rates(reading: Reading, seconds: float | None) -> Values:
    """Return what happened in a reading's time span, by name.

    Args:
        reading: counters of the span: since an earlier reading, or since the instance's start.
        seconds: length of the span; None where it is not known, and nothing per second can be said.
    """
    found = {**_speed(reading, seconds), **_neurons(reading), **_reads(reading), **_energy(reading)}
    found |= {**_shares(reading), **_state(reading)}
    return {name: value for name, value in found.items() if value is not None}


def by_layer(reading: Reading) -> dict[str, list[float]]:
    """Return shares by layer: `active` of the neurons whose gates were computed, `predicted` of all, where known."""
    computed, active = reading.samples.get("neurons_computed", {}), reading.samples.get("neurons_active", {})
    layers = sorted(computed, key=int)
    shares = {"active": [_ratio(active.get(layer), computed[layer]) or 0.0 for layer in layers]}
    predicted = reading.samples.get("neurons_predicted")
    if predicted:
        # With a predictor the gates of the predicted neurons are computed, of the others none.
        shares["computed_of_predicted"] = [_ratio(computed[layer], predicted.get(layer)) or 0.0 for layer in layers]
    return shares


def energy_note(reading: Reading) -> str:
    """Say where joules come from, or why there are none; "" where the instance says neither."""
    source, reason = reading.label("energy_source"), reading.label("energy_unmeasured")
    return f"joules by {source}" if source else f"joules are not measured: {reason}" if reason else ""


def _speed(reading: Reading, seconds: float | None) -> dict[str, float | None]:
    answers, prompts = reading.of("tokens", "completion"), reading.of("tokens", "prompt")
    decoded = reading.of("token_seconds_count")
    return {
        "answer_tokens_per_s": _ratio(answers, seconds),
        "prompt_tokens_per_s": _ratio(prompts, seconds),
        "decode_tokens_per_s": _ratio(decoded, reading.of("compute_seconds", "decode")) if decoded else None,
        "answer_tokens": answers,
        "prompt_tokens": prompts,
        "requests": reading.sum("requests"),
    }


def _neurons(reading: Reading) -> dict[str, float | None]:
    tokens = _tokens(reading)
    active, computed = reading.sum("neurons_active"), reading.sum("neurons_computed")
    return {
        "active_neurons_per_token": _ratio(active, tokens),
        "computed_neurons_per_token": _ratio(computed, tokens),
        "predicted_neurons_per_token": _ratio(reading.sum("neurons_predicted"), tokens),
        "active_share": _ratio(active, computed),
        "predictor_s_per_token": _ratio(reading.sum("predictor_seconds"), tokens),
    }


def _reads(reading: Reading) -> dict[str, float | None]:
    tokens, found = _tokens(reading), reading.samples.get("neurons_found", {})
    total, in_flight = sum(found.values()), reading.sum("read_seconds")
    stalled = _ratio(reading.sum("read_stalled_seconds"), in_flight)
    return {
        **{f"found_{place}_share": _ratio(count, total) for place, count in found.items()},
        "reads_per_token": _ratio(reading.sum("reads"), tokens),
        "read_bytes_per_token": _ratio(reading.sum("read_bytes"), tokens),
        "read_bytes_per_s": _ratio(reading.sum("read_bytes"), in_flight),
        "read_s_per_token": _ratio(in_flight, tokens),
        "read_overlap_share": None if stalled is None else 1 - stalled,
    }


def _energy(reading: Reading) -> dict[str, float | None]:
    """The whole device's energy while the engine computed: other processes are in it."""
    return {
        f"joules_per_{kind}_token": _ratio(reading.of("energy_joules", phase), reading.of("energy_tokens", phase))
        for kind, phase in (("answer", "decode"), ("prompt", "prefill"))
    }


def _shares(reading: Reading) -> dict[str, float | None]:
    known, computed = reading.sum("prefix_cache_tokens"), reading.of("tokens", "prompt")
    accepted = reading.of("draft_tokens", "accepted")
    return {
        "prefix_cache_share": _ratio(known, None if known is None or computed is None else known + computed),
        "draft_acceptance": _ratio(accepted, reading.sum("draft_tokens")),
        "session_tokens": reading.sum("session_tokens"),
    }


def _state(reading: Reading) -> dict[str, float | None]:
    return {
        "active_sequences": reading.of("sequences", "active"),
        "waiting_sequences": reading.of("sequences", "waiting"),
        "kv_pages_used": reading.of("kv_pages", "used"),
        "kv_pages_cached": reading.of("kv_pages", "cached"),
        "kv_pages": reading.sum("kv_pages"),
        "memory_bytes": reading.sum("memory_bytes"),
    }


def _tokens(reading: Reading) -> float | None:
    """All tokens that went through the model; a token's neurons count whether it was read or written."""
    prompts, decoded = reading.of("tokens", "prompt"), reading.of("token_seconds_count")
    return None if prompts is None or decoded is None else prompts + decoded


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole else None
