"""Versioned assets on disk: atomic versions, shards, increments, locks, provenance, lineage, cleaning."""
