"""A new plugin from the template."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

from fairlead_agent.messages.base import NAME_PATTERN

_ENDING = ".template"


def new_plugin(name: str, folder: Path) -> Path:
    """Write a working plugin into ``folder / name`` and return that path.

    Raises:
        ValueError: the name is none that a plugin can have.
        FileExistsError: the folder is there already and not empty.
    """
    package = name.replace("-", "_")
    if not re.fullmatch(NAME_PATTERN, name) or not package.isidentifier() or keyword.iskeyword(package):
        raise ValueError(f"name: {name!r}; accepted: lower-case letters, digits, '-' and '_', a letter first")
    root = folder / name
    if root.exists() and any(root.iterdir()):
        raise FileExistsError(f"{root}: is there already and not empty")
    _write(files("fairlead_agent.plugin") / "template", root, {"name": name, "package": package})
    return root


def _write(source: Traversable, target: Path, words: dict[str, str]) -> None:
    for item in source.iterdir():
        if item.is_dir():
            below = words["package"] if item.name == "package" else item.name
            _write(item, target / below, words)
        elif item.name.endswith(_ENDING):
            target.mkdir(parents=True, exist_ok=True)
            text = Template(item.read_text(encoding="utf-8")).substitute(words)
            (target / item.name.removesuffix(_ENDING)).write_text(text, encoding="utf-8")
