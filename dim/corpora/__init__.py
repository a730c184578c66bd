"""From what users have on disk to mentions, entities and pictures."""
