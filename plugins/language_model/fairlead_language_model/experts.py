"""How a mixture-of-experts model chooses among feed-forward networks."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_EXPERTS = 4096


class Experts(BaseModel):
    """Settings of mixture-of-experts layers, under the field names of Hugging Face's configurations.

    A softmax over the router's logits weighs the experts; the `num_experts_per_tok` largest are computed, their weights
    rescaled to the sum 1 where `norm_topk_prob` is set. `sigmoid_scores` weigh them by sigmoids instead, and with
    `router_before_attention` the router looks at the layer's state before its attention (SmallThinker). A shared expert
    (its size is 0 where there is none) is always computed, weighed by the sigmoid of its own gate (Qwen2-MoE).
    `sparse_layers` has one flag a layer, whether it has experts or one dense network; empty means that all have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    num_experts: int = Field(gt=0, le=MOST_EXPERTS)
    num_experts_per_tok: int = Field(gt=0)
    moe_intermediate_size: int = Field(gt=0, le=1 << 22)
    norm_topk_prob: bool = True
    shared_expert_intermediate_size: int = Field(default=0, ge=0, le=1 << 22)
    sparse_layers: tuple[bool, ...] = ()
    sigmoid_scores: bool = False
    router_before_attention: bool = False

    @model_validator(mode="after")
    def _not_more_than_there_are(self) -> Experts:
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(f"num_experts_per_tok must be at most num_experts {self.num_experts}")
        return self

    def in_layer(self, layer: int) -> bool:
        """Return whether a layer has experts."""
        return not self.sparse_layers or self.sparse_layers[layer]

    @property
    def active_neurons(self) -> int:
        """Neurons of one layer that are computed for a token: of the chosen experts and of the shared one."""
        return self.num_experts_per_tok * self.moe_intermediate_size + self.shared_expert_intermediate_size

    @property
    def neurons(self) -> int:
        """Neurons of one layer: of all its experts, then of the shared one."""
        return self.num_experts * self.moe_intermediate_size + self.shared_expert_intermediate_size
