"""Where plugins are: installed distributions by entry point, and folders. A bad plugin is data and not a crash.

An entry point of the group ``fairlead.plugins`` names a package; the file ``plugin.yaml`` in that package is the
manifest. Neither the package nor anything else of the plugin is imported to read it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from fairlead_agent.config.errors import ConfigError
from fairlead_agent.plugin.hookspecs import API_VERSION
from fairlead_agent.plugin.manifest import FILE_NAME, Manifest, load_manifest

GROUP = "fairlead.plugins"
PATH_VARIABLE = "FAIRLEAD_PLUGIN_PATH"


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin, or what stands in its place."""

    source: str
    """Where it was found: ``entry point NAME`` or ``folder PATH``."""
    manifest: Manifest | None = None
    error: str | None = None
    """Why it cannot be used; the manifest may be there all the same."""
    distribution: str = ""
    """Name and version of the installed distribution; empty for folders."""
    folder: Path | None = None
    """Where its manifest lies."""
    sys_path: tuple[Path, ...] = ()
    """What must stand on ``sys.path`` for its targets to be found."""

    @property
    def name(self) -> str:
        """The plugin's name, or where it was found if that cannot be told."""
        return self.manifest.name if self.manifest is not None else self.source


def discover(paths: Iterable[Path] = ()) -> list[Found]:
    """All plugins: of the folders in ``paths``, of those in ``$FAIRLEAD_PLUGIN_PATH``, and the installed ones.

    A folder is a plugin, or holds plugins. Of two plugins of one name the first counts and the second is an error.
    """
    named = [*paths, *(Path(entry) for entry in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if entry)]
    found = [record for folder in dict.fromkeys(named) for record in in_folder(folder)]
    return list(_once([*found, *_installed()]))


def in_folder(folder: Path) -> Iterator[Found]:
    """The plugins of one folder: itself, or what lies one or two folders below it."""
    folder = folder.expanduser().absolute()
    manifest = folder / FILE_NAME
    try:
        inside = [manifest] if manifest.is_file() else [*_below(folder, 1), *_below(folder, 2)]
    except OSError as error:
        yield Found(f"folder {folder}", error=f"{folder}: {error.strerror}")
        return
    if not inside:
        problem = f"holds no {FILE_NAME}" if folder.is_dir() else "is no folder"
        yield Found(f"folder {folder}", error=f"{folder}: {problem}")
    for path in inside:
        yield _read(Found(f"folder {path.parent}"), path.parent)


def _below(folder: Path, depth: int) -> list[Path]:
    return sorted(folder.glob("/".join(("*",) * depth) + f"/{FILE_NAME}"))


def _installed() -> Iterator[Found]:
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        source = f"entry point {point.name}"
        named = f"{point.dist.name} {point.dist.version}" if point.dist is not None else ""
        try:
            folder = _package_folder(point.value)
        except Exception as error:
            # Finders of other packages run here.
            yield Found(source, error=f"{source}: {point.value!r}: {error}", distribution=named)
        else:
            yield _read(Found(source, distribution=named), folder)


def _package_folder(package: str) -> Path:
    # find_spec of a.b would import a; so only the outermost package is looked for that way.
    top, _, rest = package.partition(".")
    spec = find_spec(top) if top.isidentifier() else None
    locations = list(spec.submodule_search_locations or ()) if spec is not None else []
    folders = [Path(location, *rest.split(".")) if rest else Path(location) for location in locations]
    found = next((folder for folder in folders if (folder / FILE_NAME).is_file()), None)
    if found is None:
        raise ValueError(f"no {FILE_NAME} in it" if folders else "no such package")
    return found


def _read(found: Found, folder: Path) -> Found:
    path = folder / FILE_NAME
    found = replace(found, folder=folder)
    try:
        manifest = load_manifest(path)
    except ConfigError as error:
        return replace(found, error=str(error))
    sys_path = () if found.distribution else (_root(folder, manifest),)
    found = replace(found, manifest=manifest, sys_path=sys_path)
    if not manifest.fits():
        return replace(found, error=f"{path}: api: {manifest.api!r} does not admit {API_VERSION}, which this agent has")
    return found


def _root(folder: Path, manifest: Manifest) -> Path:
    """What must stand on sys.path: the manifest may lie beside its package or in it."""
    top = manifest.light.partition(":")[0].partition(".")[0]
    roots = (root for root in (folder, folder.parent) if (root / top).is_dir() or (root / f"{top}.py").is_file())
    return next(roots, folder)


def _once(records: Iterable[Found]) -> Iterator[Found]:
    sources: dict[str, str] = {}
    for record in records:
        if record.manifest is not None and record.error is None:
            first = sources.setdefault(record.manifest.name, record.source)
            if first != record.source:
                problem = f"{record.source}: the name {record.manifest.name!r} is taken by {first}"
                record = replace(record, error=problem)
        yield record
