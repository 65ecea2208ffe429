"""Workers: the host that runs in them, and the supervision that keeps them within lease and budget.

The agent imports :mod:`fairlead_agent.runtime.supervisor`; it never imports :mod:`fairlead_agent.runtime.host`,
which runs in the worker's own interpreter.
"""
