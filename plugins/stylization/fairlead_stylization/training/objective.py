"""The objective: what a batch of results costs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..losses.patches import attention_content_loss, patch_style_loss
from ..losses.statistics import content_loss, identity_loss, style_loss
from ..networks.vgg import Vgg19

#: Added to a pair's style loss before stylization, by which it is divided after.
SMALL = 0.5

#: Make the slim network's style losses as large as the full one's (measured between photographs and paintings).
SLIM_SCALES = {"relu1_1": 0.2035, "relu2_1": 0.21, "relu3_1": 0.585}


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms, and the layers that they look at.

    The paper's own: content 5 at relu4_1 and relu5_1, style 6 at relu1_1 to relu5_1, patches 0.5 and attention 5e4 at
    relu4_1. Here the full network reaches relu3_1 and a slim one the rest, so the layers are shared between `near`
    and `deep`. Terms of weight 0 are not computed. A pair's style loss counts in relation to what it was without
    any stylization, else a few pairs of extreme pictures would be most of it. `itself`: styles pass through the layers
    unchanged, and should come out so.
    """

    content: float = 1.0
    style: float = 30.0
    deep_content: float = 0.5
    deep_style: float = 1.0
    patches: float = 0.1
    attention: float = 2e3
    identity: float = 1.0
    itself: float = 10.0
    distilled: float = 0.2

    @property
    def near_only(self) -> bool:
        """Whether no term looks at the deep layers."""
        return not (self.deep_content or self.deep_style or self.patches or self.attention or self.identity)


@dataclass
class Targets:
    """A batch's contents, and the activations of its contents and styles."""

    content: Tensor
    near_content: dict[str, Tensor]
    near_style: dict[str, Tensor]
    deep_content: dict[str, Tensor]
    deep_style: dict[str, Tensor]

    def rolled(self) -> Targets:
        """The same contents with their neighbours' styles."""
        near, deep = (
            {layer: value.roll(1, 0) for layer, value in kept.items()} for kept in (self.near_style, self.deep_style)
        )
        return replace(self, near_style=near, deep_style=deep)

    def with_itself(self, same: Tensor) -> Targets:
        """Where `same` [B] is 1, the content's own activations for the style's."""
        chosen = same[:, None, None, None] > 0
        # The content's activations at the style's layers are those of one pass over both.
        near = {layer: torch.where(chosen, self.near_content[layer], value) for layer, value in self.near_style.items()}
        deep = {layer: torch.where(chosen, self.deep_content[layer], value) for layer, value in self.deep_style.items()}
        return replace(self, near_style=near, deep_style=deep)


@dataclass
class Objective:
    """Terms of the loss over the activations of two networks.

    Attributes:
        near: the full VGG-19.
        deep: the slim one, or None where `near` reaches relu5_1.
        content_layers, style_layers, deep_layers: of `near` and `deep`.
        scales: of the deep layers, found at the first call.
        rehearsing: the slim network stands in for the full one, at a tenth of its time.
    """

    near: Vgg19
    deep: Vgg19 | None
    weights: LossWeights
    content_layers: tuple[str, ...] = ("relu3_1",)
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1")
    deep_layers: tuple[str, ...] = ("relu4_1", "relu5_1")
    scales: dict[str, float] = field(default_factory=dict)
    rehearsing: bool = False

    def activations(self, picture: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Activations at the content's and the style's layers, and at the deep layers (of usual size 1)."""
        layers = {*self.content_layers, *self.style_layers}
        if not self.rehearsing or self.deep is None:
            near = self._run(self.near, picture, layers)
            if self.weights.near_only:
                return near, {}
            return near, self._deep(self._run(self.deep or self.near, picture, set(self.deep_layers)))
        found = self._run(self.deep, picture, layers | set(self.deep_layers))
        return {layer: found[layer] * SLIM_SCALES[layer] for layer in layers}, self._deep(found)

    def _deep(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        """The deep layers, divided by their usual sizes, which are found at the first call."""
        for layer in self.deep_layers:
            if layer not in self.scales:
                self.scales[layer] = 1 / max(float(found[layer].detach().float().square().mean().sqrt()), 1e-6)
        return {layer: found[layer].float() * self.scales[layer] for layer in self.deep_layers}

    def _run(self, network: Vgg19, picture: Tensor, taps: set[str]) -> dict[str, Tensor]:
        kind = network.colours.weight.dtype
        return network(picture.to(kind).contiguous(memory_format=torch.channels_last), taps)

    @torch.no_grad()
    def targets(self, content: Tensor, style: Tensor) -> Targets:
        """What results are compared with."""
        both = torch.cat([content, style])
        near, deep = self.activations(both)
        return Targets(content, *_halves(near), *_halves(deep))

    def terms(self, got: Tensor, targets: Targets, strength: Tensor, same: Tensor) -> dict[str, Tensor]:
        """Each term of a batch, averaged over it.

        Args:
            got: results [B, 3, H, W].
            targets: of the same batch.
            strength: [B]; the style's terms weigh by its square, so that weaker strengths keep more content.
            same: [B], 1 where the style is the content itself.
        """
        near, deep = self.activations(got)
        share = strength.square()
        found = {
            "content": content_loss(near, targets.near_content, self.content_layers).mean(),
            "style": (share * self._style(near, targets)).mean(),
        }
        return found if self.weights.near_only else found | self._deep_terms(got, deep, targets, share, same)

    def _style(self, near: dict[str, Tensor], targets: Targets) -> Tensor:
        with torch.no_grad():
            before = style_loss(targets.near_content, targets.near_style, self.style_layers)
        return style_loss(near, targets.near_style, self.style_layers) / (before + SMALL)

    def _deep_terms(
        self, got: Tensor, deep: dict[str, Tensor], targets: Targets, share: Tensor, same: Tensor
    ) -> dict[str, Tensor]:
        first = self.deep_layers[0]
        return {
            "deep_content": content_loss(deep, targets.deep_content, self.deep_layers).mean(),
            "deep_style": (share * style_loss(deep, targets.deep_style, self.deep_layers)).mean(),
            "patches": (share * patch_style_loss(deep[first], targets.deep_style[first])).mean(),
            "attention": attention_content_loss(deep[first], targets.deep_content[first]).mean(),
            "identity": (same * identity_loss((got, deep), (targets.content, targets.deep_content))).mean(),
        }

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum."""
        return torch.stack([getattr(self.weights, name) * value for name, value in terms.items()]).sum()


def _halves(activations: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    first, second = {}, {}
    for layer, features in activations.items():
        first[layer], second[layer] = features.chunk(2)
    return first, second
