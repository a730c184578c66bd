"""Files, text, pictures, HTTP and cards: what every other package builds on."""
