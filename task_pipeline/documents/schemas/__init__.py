"""The JSON Schemas of documents, for editors."""
