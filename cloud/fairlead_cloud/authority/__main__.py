"""``python -m fairlead_cloud.authority --settings FILE``: run a stand-alone authority."""

from __future__ import annotations

from fairlead_cloud.commands import authority

if __name__ == "__main__":
    authority()
