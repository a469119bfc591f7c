"""Fork, delta, merge: how branches are isolated and come together again."""
