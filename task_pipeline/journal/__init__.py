"""The durable record of runs: written while they run, resumed from, looked at later.

Only the modules that touch the database import SQLAlchemy; this package itself imports nothing.
"""
