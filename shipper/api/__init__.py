"""The log management service, `shipper api`: query, follow and export logs, set levels. Stateless."""
