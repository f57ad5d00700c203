"""Every artifact of a run against its original: drift, latency, and a verdict by the target's budgets."""
