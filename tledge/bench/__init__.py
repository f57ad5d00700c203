"""Photos in; answers, latencies or faults as values out. What is made of them, verification and its like decide."""
