"""Who gives what away when: overload, drop plans, cost of steps, microbatches, restoring (KunServe).

Pure functions and classes that do no I/O: time, measurements and loads come in as arguments.
"""
