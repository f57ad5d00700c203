"""The smallest loss of integer arithmetic that a budget allows: what is exported is scored, and given precision as needed."""
