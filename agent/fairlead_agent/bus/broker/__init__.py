"""Brokers that Fairlead starts itself: mosquitto where it is installed, else an embedded one for development.

:func:`fairlead_agent.bus.broker.choose.choose` picks one.
"""
