"""The registry: good plugins answer, bad ones cost only their own answer."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

import pytest

from fairlead_agent.plugin import Estimate, Refusal, Workload
from fairlead_agent.plugin.registry import ANY_VARIANT, PluginUnavailable, Registry
from tests.agent.plugin.authors import FACTS, LIGHT, hook, workload, write_plugin
from tests.patience import growing, patient


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _registry(*folders: Path, deadline_s: float = patient(60.0), clock: Clock | None = None) -> Registry:
    from fairlead_agent.plugin.discovery import discover

    found = [record for record in discover(folders) if not record.distribution]
    return Registry(found, deadline_s=deadline_s, clock=clock or Clock())


async def test_each_variant_gets_an_estimate_or_a_refusal(tmp_path: Path) -> None:
    write_plugin(tmp_path, "echo")
    answers = await _registry(tmp_path).estimate(workload("echo"), FACTS)
    assert [name for name, _ in answers] == ["plain", "gpu"]
    assert isinstance(answers[0][1], Estimate)
    assert answers[1][1] == Refusal(reason="needs a GPU")


async def test_probe_reaches_later_estimates(tmp_path: Path) -> None:
    write_plugin(tmp_path, "echo")
    registry = _registry(tmp_path)
    assert await registry.probe(FACTS) == {"echo": {"engine": "plain", "cores": "2.0"}}
    (_, answer), _ = await registry.estimate(workload("echo"), FACTS)
    assert answer.reason == "[('cores', '2.0'), ('engine', 'plain')]"
    assert (await registry.describe())["echo"].software == {"engine": "plain"}


async def test_what_a_variant_needs_is_in_its_estimate(tmp_path: Path) -> None:
    write_plugin(tmp_path, "echo", LIGHT.replace('variant == "gpu" and', "False and"))
    answers = dict(await _registry(tmp_path).estimate(workload("echo"), FACTS))
    assert isinstance(answers["gpu"], Estimate) and answers["gpu"].needs_real == ("gpu",)
    assert isinstance(answers["plain"], Estimate) and answers["plain"].needs_real == ()


async def test_an_unknown_plugin_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    write_plugin(tmp_path, "echo")
    registry = _registry(tmp_path)
    ((variant, answer),) = await registry.estimate(workload("ecko"), FACTS)
    assert variant == ANY_VARIANT and isinstance(answer, Refusal) and "did you mean 'echo'" in answer.reason
    with pytest.raises(PluginUnavailable, match="did you mean 'echo'"):
        registry.worker("ecko")
    with pytest.raises(ValueError, match=r"plugin: .*ecko"):
        registry.check_workload(workload("ecko"))


async def test_configs_are_checked_and_filled_in(tmp_path: Path) -> None:
    write_plugin(tmp_path, "echo")
    registry = _registry(tmp_path)
    assert await registry.validate(workload("echo")) == {"size": 1}
    assert registry.check_workload(workload("echo", colour="red")).config == {"size": 1, "colour": "red"}
    with pytest.raises(ValueError, match="size: 0; accepted: 1 or more"):
        await registry.validate(workload("echo", size=0))
    with pytest.raises(ValueError, match="config: size: 0; accepted: 1 or more"):
        registry.check_workload(workload("echo", size=0))
    wrong = Workload.model_validate({"name": "a", "plugin": "echo", "constraints": {"variants": ["int4"]}})
    with pytest.raises(ValueError, match=r"constraints.variants: 'int4'.*'plain', 'gpu'"):
        registry.check_workload(wrong)


async def test_refused_configs_are_no_fault_of_the_plugin(tmp_path: Path) -> None:
    write_plugin(tmp_path, "echo")
    registry = _registry(tmp_path)
    for _ in range(5):
        with pytest.raises(ValueError):
            await registry.validate(workload("echo", size=0))
    assert registry.status()[0].ready


async def test_a_model_and_a_json_schema_check_configs_too(tmp_path: Path) -> None:
    model = """
    from pydantic import BaseModel, Field
    from fairlead_agent.plugin import hookimpl

    class Config(BaseModel):
        size: int = Field(default=4, ge=1)

    class Light:
        @hookimpl
        def estimate(self, workload, variant, facts):
            return None

    plugin = Light()
    """
    root = write_plugin(tmp_path, "modelled", model)
    manifest = (root / "plugin.yaml").read_text()
    package = next(root.glob("fl_*")).name
    (root / "plugin.yaml").write_text(f"{manifest}config_schema: {package}.light:Config\n")
    write_plugin(
        tmp_path,
        "schemed",
        hook("return None"),
        config_schema={"type": "object", "properties": {"size": {"minimum": 1}}, "additionalProperties": False},
    )
    registry = _registry(tmp_path)
    assert await registry.validate(workload("modelled")) == {"size": 4}
    for name, said in (("modelled", "size: .*greater than or equal to 1"), ("schemed", "size: 0 is less than")):
        with pytest.raises(ValueError, match=said):
            await registry.validate(workload(name, size=0))
    with pytest.raises(ValueError, match="'hue'"):
        await registry.validate(workload("schemed", hue=1))


@pytest.mark.parametrize(
    ("light", "said"),
    [
        (hook("raise RuntimeError('no luck')"), "RuntimeError: no luck"),
        (hook("return 42"), "returned int; accepted: Estimate, Refusal"),
        (hook("raise SystemExit(3)"), "SystemExit"),
        (hook("import boto3"), "imported boto3, grpc, which only a worker may"),
        (hook("return 1", arguments="self, workload, colour"), "colour"),
        (hook("return asyncio.sleep(0)"), "coroutine"),
        (hook("return 1", name="estimat", arguments="self, workload"), "estimat"),
        ("import no_such_module", "no_such_module"),
        ("raise KeyError('at import')", "at import"),
        ("1 +", "SyntaxError"),
        ("other = 1", "has no 'plugin'"),
        ("plugin = 1", "no estimate hook"),
        ("import grpc\nplugin = 1", "pulled in grpc"),
    ],
)
async def test_a_bad_plugin_refuses_with_the_reason_and_the_good_one_answers(
    tmp_path: Path, light: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("boto3", "grpc"):
        # Set and taken away, so that it is gone after the test whatever the test imports.
        monkeypatch.setitem(sys.modules, name, sys)
        monkeypatch.delitem(sys.modules, name)
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "grpc.py").touch()
    (fakes / "boto3.py").write_text("import grpc\n")
    monkeypatch.syspath_prepend(str(fakes))
    write_plugin(tmp_path / "plugins", "bad", light)
    write_plugin(tmp_path / "plugins", "good")
    registry = _registry(tmp_path / "plugins")
    answers = await registry.estimate(workload("bad"), FACTS)
    assert answers and all(isinstance(answer, Refusal) for _, answer in answers)
    assert said in answers[0][1].reason and "\n" not in answers[0][1].reason
    assert isinstance((await registry.estimate(workload("good"), FACTS))[0][1], Estimate)


async def test_one_failing_variant_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    write_plugin(tmp_path, "echo", LIGHT.replace('return Refusal(reason="needs a GPU")', "raise OSError('gone')"))
    answers = dict(await _registry(tmp_path).estimate(workload("echo"), FACTS))
    assert isinstance(answers["plain"], Estimate)
    assert isinstance(answers["gpu"], Refusal) and "OSError: gone" in answers["gpu"].reason


async def test_failures_in_a_row_lead_to_quarantine_and_success_out_of_it(tmp_path: Path) -> None:
    light = hook(
        "if os.path.exists(workload.config['flag']): return Refusal(reason='fine')\n            raise OSError('gone')"
    )
    write_plugin(tmp_path, "moody", light)
    clock, flag = Clock(), tmp_path / "flag"
    registry = _registry(tmp_path, clock=clock)
    asked = workload("moody", flag=str(flag))
    for _ in range(3):
        answers = await registry.estimate(asked, FACTS)
        assert answers[0][0] == "plain"
    ((variant, refusal),) = await registry.estimate(asked, FACTS)
    assert variant == ANY_VARIANT and "quarantined for 60 s" in refusal.reason and "gone" in refusal.reason
    assert not registry.status()[0].ready
    clock.now = 61.0
    await registry.estimate(asked, FACTS)
    assert "quarantined for 120 s" in registry.status()[0].reason
    clock.now = 200.0
    flag.touch()
    assert (await registry.estimate(asked, FACTS))[0] == ("plain", Refusal(reason="fine"))
    assert registry.status()[0].ready


async def test_a_hanging_plugin_is_cut_off_bounded_and_reported(tmp_path: Path) -> None:
    light = hook("while not os.path.exists(workload.config['end']): time.sleep(0.01)")
    write_plugin(tmp_path, "hangs", light)
    write_plugin(tmp_path, "good")
    end = tmp_path / "end"
    registry = _registry(tmp_path, deadline_s=patient(0.4))
    before = threading.active_count()
    for _ in range(3):
        answers = await registry.estimate(workload("hangs", end=str(end)), FACTS)
        assert [name for name, _ in answers] == ["plain", "gpu"]
    assert "not ended" in answers[0][1].reason
    status = {item.name: item for item in registry.status()}
    assert not status["hangs"].ready and len(status["hangs"].hung) == 2
    assert threading.active_count() <= before + 2
    # As soon as it has its turn.
    registry._deadline_s = patient(60.0)
    assert isinstance((await registry.estimate(workload("good"), FACTS))[0][1], Estimate)
    end.touch()
    waited = time.monotonic() + patient(60)
    while any(item.hung for item in registry.status()) and time.monotonic() < waited:
        await asyncio.sleep(0.01)
    assert not any(item.hung for item in registry.status())


async def test_what_was_answered_before_the_deadline_counts(tmp_path: Path) -> None:
    slow = "while not os.path.exists(workload.config['end']): time.sleep(0.01)"
    light = hook(f"if variant == 'plain': return Refusal(reason='quick')\n            {slow}")
    write_plugin(tmp_path, "half", light)
    end = tmp_path / "end"
    for deadline_s in growing(0.4):
        answers = await _registry(tmp_path, deadline_s=deadline_s).estimate(workload("half", end=str(end)), FACTS)
        if answers[0] == ("plain", Refusal(reason="quick")):
            break
    end.touch()
    assert answers[0] == ("plain", Refusal(reason="quick"))
    assert f"did not end within {deadline_s:g} s" in answers[1][1].reason


def test_nothing_is_imported_before_a_hook_is_called(tmp_path: Path) -> None:
    root = write_plugin(tmp_path, "loud", "raise SystemExit('imported')")
    registry = _registry(tmp_path)
    worker = registry.worker("loud")
    assert list(registry.manifests()) == ["loud"]
    assert worker.sys_path == (root,) and worker.target.endswith(".worker:worker") and worker.python is None


def test_a_missing_interpreter_is_named(tmp_path: Path) -> None:
    root = write_plugin(tmp_path, "elsewhere", python="env/bin/python")
    with pytest.raises(PluginUnavailable, match="env/bin/python does not exist"):
        _registry(tmp_path).worker("elsewhere")
    (root / "env/bin").mkdir(parents=True)
    (root / "env/bin/python").symlink_to(sys.executable)
    assert _registry(tmp_path).worker("elsewhere").python == root / "env/bin/python"


async def test_a_plugin_whose_package_is_another_ones_is_refused(tmp_path: Path) -> None:
    root = write_plugin(tmp_path, "clash")
    manifest = (root / "plugin.yaml").read_text()
    (root / "json").mkdir()
    (root / "plugin.yaml").write_text(manifest.replace(next(root.glob("fl_*")).name, "json"))
    ((_, answer), _) = await _registry(tmp_path).estimate(workload("clash"), FACTS)
    assert "rename the package" in answer.reason or "json.light" in answer.reason


async def test_a_rejected_plugin_says_why_it_cannot_serve(tmp_path: Path) -> None:
    write_plugin(tmp_path, "future", api=">=9")
    registry = _registry(tmp_path)
    ((_, answer),) = await registry.estimate(workload("future"), FACTS)
    assert "'>=9' does not admit 1.0" in answer.reason
    assert [item.ready for item in registry.status()] == [False]
