"""The engine: a pure scheduler, and the drivers that carry its commands out."""
