"""The numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .rates import Values

_BAR = 24
_LAYERS_SHOWN = 40

Format = Callable[[float], str]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} GiB"


def _joules(value: float) -> str:
    return f"{value:.3g} J" if value >= 1 else f"{1000 * value:.3g} mJ"


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


#: name -> (what it is called, how it is written), in the order in which they are shown.
ROWS: Mapping[str, tuple[str, Format]] = {
    "answer_tokens_per_s": ("tokens of answers a second", _number),
    "prompt_tokens_per_s": ("tokens of prompts a second", _number),
    "decode_tokens_per_s": ("tokens a second of decoding", _number),
    "active_sequences": ("requests that generate", _number),
    "waiting_sequences": ("requests that wait", _number),
    "predicted_neurons_per_token": ("predicted neurons a token", _number),
    "computed_neurons_per_token": ("computed gates a token", _number),
    "active_neurons_per_token": ("active neurons a token", _number),
    "active_share": ("active of computed", _percent),
    "predictor_s_per_token": ("predictors a token", _seconds),
    "found_fixed_share": ("found in the fixed region", _percent),
    "found_hot_share": ("found in the hot region", _percent),
    "found_cold_share": ("found in the cold region", _percent),
    "found_storage_share": ("read from storage", _percent),
    "reads_per_token": ("reads a token", _number),
    "read_bytes_per_token": ("bytes read a token", _bytes),
    "read_bytes_per_s": ("bytes a second of reading", _bytes),
    "read_s_per_token": ("reads in flight a token", _seconds),
    "read_overlap_share": ("of that computing went on", _percent),
    "joules_per_answer_token": ("whole device, a token of an answer", _joules),
    "joules_per_prompt_token": ("whole device, a token of a prompt", _joules),
    "draft_acceptance": ("guesses that stood", _percent),
    "prefix_cache_share": ("of prompts known before", _percent),
    "session_tokens": ("tokens brought back from storage", _number),
    "kv_pages_used": ("pages of keys and values in use", _number),
    "kv_pages_cached": ("pages kept for later prompts", _number),
    "kv_pages": ("pages in all", _number),
    "memory_bytes": ("memory", _bytes),
}


def view(title: str, values: Values, layers: Mapping[str, Sequence[float]], note: str = "") -> RenderableType:
    """Return a table of the numbers that there are, a note below it, and a bar for each layer."""
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    table.add_column()
    table.add_column(justify="right")
    for name, (words, written) in ROWS.items():
        if name in values:
            table.add_row(words, written(values[name]))
    notes = [Text(note, style="dim")] if note else []
    return Group(table, *notes, *_bars(layers.get("active", ())))


def _bars(shares: Sequence[float]) -> list[Text]:
    most = max(shares, default=0.0)
    if not most:
        return []
    lines = [Text("active neurons by layer", style="bold")]
    for layer, share in enumerate(shares[:_LAYERS_SHOWN]):
        lines.append(Text(f"{layer:>4} {'█' * round(_BAR * share / most):<{_BAR}} {_percent(share)}"))
    if len(shares) > _LAYERS_SHOWN:
        lines.append(Text(f"     and {len(shares) - _LAYERS_SHOWN} more"))
    return lines
