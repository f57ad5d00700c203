"""Programs that run one model each in a process of their own, and what starts them wherever that process shall run."""
