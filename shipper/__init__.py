"""shipper: a Kafka topic of service logs into Grafana Loki, fast, keeping account of every record."""

__version__ = "0.1.0"
