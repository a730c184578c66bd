"""Models that look at a mention's picture and put it into words."""
