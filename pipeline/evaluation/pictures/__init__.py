"""Pictures of an evaluation: strips of cases, layers of the report's page, a gallery to compare methods."""
