"""Loki: what is sent to it, what it answers, and how it is read back."""
