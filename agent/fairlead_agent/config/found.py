"""Where configuration files are: what the user names, else what ships with the agent."""

from __future__ import annotations

from pathlib import Path

from fairlead_agent.config.errors import ConfigError

#: In a source tree the folder at the top; in an installed package a copy beside this module.
_SHIPPED = (Path(__file__).parents[3] / "configs", Path(__file__).parent / "shipped")


def shipped_folder() -> Path:
    """The folder of the shipped files."""
    found = next((folder for folder in _SHIPPED if (folder / "profiles").is_dir()), None)
    if found is None:
        raise ConfigError(f"the shipped configuration is missing; looked in {_SHIPPED[1]}")
    return found


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
    if not path.exists():
        raise ConfigError(
            f"{kind[:-1]} {name!r}: not found; there are {', '.join(known_configs(kind))}, or give a file"
        )
    return path
