"""What this engine refuses beside what every engine does."""

from __future__ import annotations

from fairlead_language_model.serving import EngineError


class ModelUnsupported(EngineError):
    """The checkpoint is sound, but the kernels lack a part of this model: names the part."""
