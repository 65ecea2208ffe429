"""``fairlead doctor``: self-checks, one small class each.

To add a check, put a module with a subclass of :class:`~fairlead_agent.cli.doctor.check.Check` into ``checks/``.
"""
