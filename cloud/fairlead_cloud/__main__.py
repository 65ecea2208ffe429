"""``python -m fairlead_cloud SETTINGS``: run a control plane."""

from __future__ import annotations

from fairlead_cloud.commands import control_plane

if __name__ == "__main__":
    control_plane()
