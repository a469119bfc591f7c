"""References of workflows to values, and to secrets of the environment."""
