"""Predictors: small networks that say which neurons will fire before their weights are read."""
