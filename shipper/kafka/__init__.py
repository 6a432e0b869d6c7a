"""Kafka: where records come from, dead letters go to, and offsets are committed."""
