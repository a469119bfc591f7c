"""Reading documents: JSON and YAML, and where in them something stands."""
