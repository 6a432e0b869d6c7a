"""shipper: a Kafka topic of service logs into Grafana Loki, fast, and provably whole."""

__version__ = "0.1.0"
