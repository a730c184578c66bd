"""Vision-language models that caption the pictures of mentions."""
