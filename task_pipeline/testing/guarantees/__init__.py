"""What every executor must guarantee, a module for each kind; `testing.conformance` has all."""
