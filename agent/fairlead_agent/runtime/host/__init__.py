"""The worker host: imports a plugin's worker object, serves it while a lease is held, and answers for it.

Data (HTTP) and control run on two sockets in two threads, so that an application that blocks its loop cannot block
control. Nothing here is imported by the agent.
"""
