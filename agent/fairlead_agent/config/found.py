"""Where configuration files are: what the user names, else what ships with the agent."""

from __future__ import annotations

from pathlib import Path

from fairlead_agent.config.closest import closest
from fairlead_agent.config.errors import ConfigError

#: In a wheel a folder; in a source tree a link to the second, which a checkout without links lacks.
_SHIPPED = (Path(__file__).parent / "shipped", Path(__file__).parents[3] / "configs")


def shipped_folder() -> Path:
    """The folder of the shipped files."""
    found = next((folder for folder in _SHIPPED if (folder / "profiles").is_dir()), None)
    if found is None:
        raise ConfigError(f"the shipped configuration is missing; looked in {_SHIPPED[0]}")
    return found.resolve()


def known_configs(kind: str) -> list[str]:
    """Names of the shipped files of one kind: profiles, workloads or fleets."""
    return sorted(path.stem for path in (shipped_folder() / kind).glob("*.yaml"))


def config_path(kind: str, name: str) -> Path:
    """The file of that name: a path where it looks like one, else a shipped file.

    Raises:
        ConfigError: there is no such file; the shipped ones are listed.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    path = shipped_folder() / kind / f"{name}.yaml"
    known = known_configs(kind)
    if name not in known:
        close = closest(name, known)
        meant = f"did you mean {close!r}? " if close else ""
        raise ConfigError(
            f"{kind[:-1]} {name!r}: not found; {meant}there are {', '.join(known)}; a file is given by its path"
        )
    return path
