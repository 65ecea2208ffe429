"""The gateway: clients name a workload and need not know where it runs."""
