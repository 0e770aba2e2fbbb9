"""The report: tidy records, a verdict in plain words, and pages that show what stands behind each number."""
