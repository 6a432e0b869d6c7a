"""The pure function used again, and the dead letter topic: `shipper verify`, `shipper dlq`."""
