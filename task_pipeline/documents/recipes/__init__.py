"""Being made."""
