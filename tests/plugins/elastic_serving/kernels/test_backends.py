"""What is said where a backend's library is not installed."""

from __future__ import annotations

import importlib
import sys

import pytest

from fairlead_elastic_serving.errors import ElasticServingError, MissingBackend

TRITON = "fairlead_elastic_serving.kernels.triton_backend"


@pytest.mark.parametrize("module", ["", ".attention", ".allocation", ".write"])
@pytest.mark.parametrize("missing", [["triton"], ["torch", "triton"]], ids=str)
def test_without_triton_an_import_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, module: str, missing: list[str]
) -> None:
    if "torch" not in missing:
        pytest.importorskip("torch", reason="torch is not installed: pip install 'fairlead-elastic-serving[torch]'")
    for name in [name for name in sys.modules if name == TRITON or name.startswith(f"{TRITON}.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingBackend) as raised:
        importlib.import_module(TRITON + module)
    assert f"missing: {', '.join(missing)}; " in str(raised.value)
    assert "pip install 'fairlead-elastic-serving[triton]'" in str(raised.value)
    assert isinstance(raised.value, ImportError), "whoever tries an import catches it"
    assert isinstance(raised.value, ElasticServingError)
