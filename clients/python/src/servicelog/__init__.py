"""Logs of services: one JSON object each, without secrets, into Kafka, never in the service's way."""
