"""The evaluation report: one page for all data sets."""
