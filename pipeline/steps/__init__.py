"""What happens: plain functions that know neither Dagster nor MLflow."""
