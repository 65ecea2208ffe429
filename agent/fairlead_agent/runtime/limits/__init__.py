"""Memory limits of instances: control groups where this process may make them, else a watchdog.

RLIMIT_AS is never used: it counts reserved address space, and mapped weights and torch reserve far more than they hold.
"""

from fairlead_agent.runtime.limits.choose import choose_limiter
from fairlead_agent.runtime.limits.confinement import Confinement, LimitBusyError, Limiter

__all__ = ["Confinement", "LimitBusyError", "Limiter", "choose_limiter"]
