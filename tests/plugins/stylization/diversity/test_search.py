"""Searches find results further apart than chance, within bounds, the same from a seed, or say why they cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: searches by gradient are not tested")

from fairlead_stylization.diversity.black_box import OnnxGenerator, search_black_box  # noqa: E402
from fairlead_stylization.diversity.features import distances, pairwise, unit  # noqa: E402
from fairlead_stylization.diversity.objectives import Along, Spread, Towards  # noqa: E402
from fairlead_stylization.diversity.report import diversity  # noqa: E402
from fairlead_stylization.diversity.request import Search  # noqa: E402
from fairlead_stylization.diversity.search import random_results, search  # noqa: E402
from fairlead_stylization.errors import BadCheckpoint, BadPicture, BadSetting  # noqa: E402


@pytest.fixture(scope="module")
def generator() -> torch.nn.Module:
    """A small random network that makes a picture of a picture."""
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, padding=2),
        torch.nn.Tanh(),
        torch.nn.Conv2d(16, 16, 5, padding=2),
        torch.nn.Tanh(),
        torch.nn.Conv2d(16, 3, 3, padding=1),
        torch.nn.Sigmoid(),
    ).requires_grad_(False)


@pytest.fixture(scope="module")
def features() -> object:
    torch.manual_seed(4)
    layers = [torch.nn.Conv2d(3, 12, 3, padding=1), torch.nn.Conv2d(12, 24, 3, padding=1, stride=2)]

    def maps(pictures: torch.Tensor) -> list[torch.Tensor]:
        first = torch.relu(layers[0](pictures))
        return [first, torch.relu(layers[1](first))]

    return maps


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.2


WANTED = Search(count=3, bound=0.1, steps=8, cell=8, seed=5)


def test_results_are_further_apart_than_by_chance(generator, features, picture) -> None:
    objective = Spread(features, generator(picture), keep=0.0)
    found = search(generator, picture, objective, WANTED)
    chance = random_results(generator, picture, WANTED, smooth=True)
    assert diversity(found.results, features).distance > 1.5 * diversity(chance.results, features).distance
    assert found.objective[-1] > found.objective[0]
    assert (found.inputs - picture).abs().max() <= WANTED.bound + 1e-6


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_search_begins_with_changes_that_are_opposed(generator, features, picture, count: int) -> None:
    wanted = replace(WANTED, count=count)
    objective = Spread(features, generator(picture), keep=0.0)
    begun = search(generator, picture, objective, wanted, stopped=lambda: True)
    # Half of the way out: values of as much as the bound.
    chance = random_results(generator, picture, replace(wanted, stretch=1.0), smooth=True)
    ours, theirs = (float((some.inputs - picture).square().mean()) for some in (begun, chance))
    assert ours == pytest.approx(theirs, rel=0.2)
    if count > 1:
        ours, theirs = (float(torch.pdist(some.inputs.flatten(1)).square().mean()) for some in (begun, chance))
        # By independent signs half of all pairs differ.
        most = 2 * (count // 2) * ((count + 1) // 2) / (count * (count - 1) / 2)
        assert ours > 0.85 * most * theirs


def test_changes_use_their_bound(generator, features, picture) -> None:
    found = search(generator, picture, Spread(features, generator(picture), keep=0.0), WANTED)
    chance = random_results(generator, picture, WANTED, smooth=True)
    used, by_chance = (((some.inputs - picture).abs() > 0.8 * WANTED.bound).float().mean() for some in (found, chance))
    assert used > 0.3 and used > by_chance


def test_a_single_result_leaves_the_plain_one(generator, features, picture) -> None:
    plain, wanted = generator(picture), Search(count=1, bound=0.1, steps=8, cell=8, seed=5)
    made = search(generator, picture, Spread(features, plain, keep=0.0), wanted).results
    chance = random_results(generator, picture, wanted, smooth=True).results
    units = [unit(features(some)) for some in (plain, made, chance)]
    assert distances(units[0], units[1]) > 1.5 * distances(units[0], units[2])


def test_style_is_kept_when_asked(generator, features, picture) -> None:
    plain = generator(picture)
    free, kept = (
        search(generator, picture, Spread(features, plain, keep=keep), WANTED).results for keep in (0.0, 50.0)
    )
    assert diversity(kept, features, plain).style_loss < diversity(free, features, plain).style_loss


def test_a_style_that_is_known_is_kept(generator, features, picture) -> None:
    plain = generator(picture)
    with torch.no_grad():
        wanted = features(plain)[0].mean((2, 3)) + 0.02

    def loss(found) -> torch.Tensor:
        return (found[0].mean((2, 3)) - wanted).square().sum(1)

    free, kept = (
        search(generator, picture, Spread(features, plain, keep=keep, loss=loss), WANTED).results for keep in (0.0, 0.5)
    )
    with torch.no_grad():
        lost = [float(loss(features(some)).mean()) for some in (plain, kept, free)]
    assert lost[1] < 1.1 * lost[0] and lost[1] < lost[2]


def test_a_seed_gives_the_same_and_another_one_others(generator, features, picture) -> None:
    objective = Spread(features, generator(picture))
    first = search(generator, picture, objective, WANTED).results
    again = search(generator, picture, objective, WANTED).results
    other = search(generator, picture, objective, Search(count=3, bound=0.1, steps=8, cell=8, seed=6)).results
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_reference_pulls_results_towards_it(generator, features, picture) -> None:
    reference = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    objective = Towards(features, reference)
    found = search(generator, picture, objective, WANTED)
    with torch.no_grad():
        assert float(objective(found.results)) > float(objective(generator(picture)))


def test_a_direction_is_followed(generator, picture) -> None:
    torch.manual_seed(8)
    embedding = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    direction = torch.randn(10)
    plain = generator(picture)
    found = search(generator, picture, Along(embedding, plain, direction), WANTED)
    with torch.no_grad():
        moved = torch.nn.functional.normalize(embedding(found.results), dim=1)
        moved = moved - torch.nn.functional.normalize(embedding(plain), dim=1)
        assert float(torch.cosine_similarity(moved, direction[None]).min()) > 0.2


def test_what_is_fixed_stays(generator, features, picture) -> None:
    fixed = torch.zeros(48, 40)
    fixed[:, :20] = 1
    found = search(generator, picture, Spread(features, generator(picture)), WANTED, fixed=fixed)
    assert torch.equal(found.inputs[..., :20], picture.expand_as(found.inputs)[..., :20])
    assert not torch.equal(found.inputs[..., 20:], picture.expand_as(found.inputs)[..., 20:])


def test_a_search_that_is_stopped_returns_what_there_is(generator, features, picture) -> None:
    found = search(generator, picture, Spread(features, generator(picture)), WANTED, stopped=lambda: True)
    assert len(found.objective) == 1 and found.results.shape == (3, 3, 48, 40)


def test_what_cannot_be_searched_is_refused(generator, features, picture) -> None:
    objective = Spread(features, generator(picture))
    with pytest.raises(BadSetting, match="no gradient"):
        search(lambda x: generator(x.detach()) + 0 * x.mean().detach() + torch.zeros((), requires_grad=True), picture,
               objective, WANTED)  # fmt: skip
    with pytest.raises(BadSetting, match="finite"):
        search(lambda x: generator(x) * float("nan"), picture, objective, WANTED)
    with pytest.raises(BadPicture, match="accepted"):
        search(generator, picture[0], objective, WANTED)
    with pytest.raises(BadPicture, match="accepted"):
        search(generator, picture * float("inf"), objective, WANTED)


def test_distances_of_pairs_are_those_one_by_one(features) -> None:
    pictures = torch.rand(4, 3, 20, 20, generator=torch.Generator().manual_seed(2))
    units = unit(features(pictures))
    one_by_one = [
        distances([layer[i : i + 1] for layer in units], [layer[j : j + 1] for layer in units])
        for i in range(4)
        for j in range(i + 1, 4)
    ]
    torch.testing.assert_close(pairwise(units), torch.cat(one_by_one), rtol=1e-4, atol=1e-5)


def test_an_onnx_file_is_searched_without_gradients(generator, features, picture, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: ONNX generators are not tested")
    pytest.importorskip("onnx", reason="onnx is not installed: ONNX generators are not tested")
    path = tmp_path / "generator.onnx"
    with torch.no_grad():
        torch.onnx.export(
            generator, (picture,), str(path), input_names=["x"], dynamic_axes={"x": {0: "n"}}, dynamo=False
        )
    onnx = OnnxGenerator(path)
    pictures = picture.numpy()
    np.testing.assert_allclose(onnx(pictures), generator(picture).numpy(), atol=1e-5)

    def apart(results: np.ndarray) -> float:
        with torch.no_grad():
            return float(pairwise(unit(features(torch.from_numpy(results)))).mean())

    wanted = Search(count=2, bound=0.1, steps=12, cell=16, seed=3)
    results, inputs = search_black_box(onnx, pictures[0], apart, wanted)
    chance = random_results(generator, picture, wanted, smooth=True).results.numpy()
    assert apart(results) > apart(chance)
    assert np.abs(inputs - pictures).max() <= 0.1 + 1e-6


def test_bad_onnx_files_are_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: ONNX generators are not tested")
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(BadCheckpoint, match=r"bad\.onnx.*accepted: an ONNX model"):
        OnnxGenerator(path)
