"""The third protocol: seeds nobody has looked at, one grid for every method, whole curves (plan.toml)."""
