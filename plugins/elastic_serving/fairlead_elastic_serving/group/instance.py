"""What one instance has for its part in groups: its engine's loop and model, pieces, stage, and ways to the others."""

from __future__ import annotations

from collections.abc import Callable

from ..engine.loop import Loop
from ..engine.served_model import ServedModel
from ..errors import ElasticServingError
from ..model.attention import PagedAttention
from .attention import GroupAttention, PieceAttention
from .forecast import Arrivals, Forecast, Pace
from .post import Post
from .remote import RemoteAttention
from .row_store import RowStore
from .settings import GroupSettings
from .stage_quotas import StageQuotas
from .stage_service import StageService
from .telemetry import GroupTelemetry
from .transfers import Transfers


class Instance:
    """Parts that belong to the generation thread.

    Attributes:
        me: its name.
        model: what is served.
        loop: of the engine.
        post: reaches the others.
        settings: of groups.
        clock: in seconds.
        layers: of the model.
        paged: attention where it is alone.
        store: pieces that stand here.
        transfers: their tokens, on their way.
        remote: attention that others compute.
        attention: where it is not alone.
        service: its stage.
        quotas: of pages, between stages.
        telemetry: what was measured.
        forecast: what came of late, and how fast it grows.

    Args:
        wait_for_answer: lets time pass while others compute attention; None: waits for messages.
        rested: hears since when it has waited for them.

    Raises:
        ElasticServingError: the model's keys and values are not in plain pages.
    """

    def __init__(
        self,
        me: str,
        model: ServedModel,
        loop: Loop,
        post: Post,
        settings: GroupSettings,
        clock: Callable[[], float],
        wait_for_answer: Callable[[], None] | None,
        rested: Callable[[float], None],
    ) -> None:
        paged = model.stage.attention
        if not isinstance(paged, PagedAttention):
            raise ElasticServingError("keys and values are compressed: accepted: models whose keys and values are not")
        self.me, self.model, self.loop, self.post, self.settings, self.clock = me, model, loop, post, settings, clock
        self.layers = model.config.num_hidden_layers
        self.paged = paged
        self.store = RowStore(model.tables, model.config.num_key_value_heads)
        self.transfers = Transfers(paged, self.store)
        pieces = PieceAttention(paged, self.store)
        self.remote = RemoteAttention(post, pieces, settings.timing.prepare_s, wait_for_answer, rested, clock)
        self.attention = GroupAttention(me, pieces, self.remote)
        self.service = StageService(model.stage, self.store, post, clock)
        self.quotas = StageQuotas(model.loaded.arena, self.store, post)
        self.telemetry = GroupTelemetry()
        self.forecast = Forecast(Arrivals(), Pace())
