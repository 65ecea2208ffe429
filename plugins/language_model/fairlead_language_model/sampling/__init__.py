"""From logits to a token: parameters, penalties, filters, the draw, and log probabilities."""

from ..sampling_parameters import SamplingParameters
from .logprobs import TokenLogprob, token_logprobs
from .sample import distribution, make_generator, sample

__all__ = ["SamplingParameters", "TokenLogprob", "distribution", "make_generator", "sample", "token_logprobs"]
