"""What training adds to the loss: activity of the gates, and how it may favour a few neurons."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from fairlead_sparse_inference.train.objective import gate_penalty  # noqa: E402


@pytest.mark.parametrize("skew", [0.0, 0.3, 0.7])
def test_even_use_costs_its_mean_at_any_skew(skew: float) -> None:
    assert float(gate_penalty(torch.full((2, 8), 0.25), skew)) == pytest.approx(0.25, rel=1e-5)


def test_the_same_activity_costs_less_where_fewer_neurons_share_it() -> None:
    even, skewed = torch.full((1, 4), 0.25), torch.tensor([[0.85, 0.05, 0.05, 0.05]])
    assert float(gate_penalty(even, 0.0)) == pytest.approx(float(gate_penalty(skewed, 0.0)))
    costs = [float(gate_penalty(skewed, skew)) for skew in (0.0, 0.3, 0.6)]
    assert costs == sorted(costs, reverse=True) and costs[1] < 0.95 * costs[0]


def test_a_neuron_that_fires_rarely_is_pushed_down_the_most_and_a_dead_one_not_to_infinity() -> None:
    means = torch.tensor([[0.8, 0.1, 0.001, 0.0]], requires_grad=True)
    gate_penalty(means, 0.5).backward()
    often, sometimes, rarely, never = means.grad[0].tolist()
    assert 0 < often < sometimes < rarely <= never < 20 * often
    again = means.detach().clone().requires_grad_()
    gate_penalty(again, 0.0).backward()
    assert len(set(again.grad[0].tolist())) == 1
    silent = torch.zeros((1, 4), requires_grad=True)
    gate_penalty(silent, 0.5).backward()
    assert torch.isfinite(silent.grad).all()
