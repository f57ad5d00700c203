"""Workers are programs that run one model each, in a process of their own; this package also starts them."""
