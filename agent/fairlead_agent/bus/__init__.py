"""How nodes talk: transports, topics, typed messages, requests, streams and brokers.

Import what you need from the modules; nothing here is imported on its own, so that an agent pays only for what it uses.
"""
