"""Layers that each decide on a period of their own; each sets budgets and prices for the next finer one."""
