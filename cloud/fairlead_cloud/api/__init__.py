"""The control plane's HTTP API."""

from fairlead_cloud.api.app import create_app

__all__ = ["create_app"]
