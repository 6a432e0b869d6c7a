"""The processes: a supervisor, its workers, and the counters between them."""
