"""Cards of the Hub: README.md files with YAML metadata."""

from typing import Any

import yaml
from huggingface_hub import RepoCard

from dim.errors import DIMError


def read_card(text: str, name: str = "The card") -> tuple[dict[str, Any], str]:
    """Splits a card into its metadata and its text.

    Args:
        text: Content of a README.md.
        name: What the card is called in errors, such as its path.

    Returns:
        The metadata and the Markdown after it.

    Raises:
        DIMError: If the card does not begin with YAML between two lines of `---`, or that YAML is not a mapping.

    Example:

        >>> read_card("---\\nlicense: mit\\n---\\n# Mine\\n")
        ({'license': 'mit'}, '# Mine\\n')
    """
    if not text.lstrip("\ufeff \n").startswith("---\n"):
        raise DIMError(f"{name} has no metadata: put YAML between two lines of ---, with at least a license.")
    try:
        card = RepoCard(text)
    except yaml.YAMLError as error:
        raise DIMError(f"The metadata of {name} is not valid YAML: {' '.join(str(error).split())}") from error
    except (TypeError, ValueError) as error:
        raise DIMError(f"The metadata of {name} must be fields such as license: apache-2.0.") from error
    if card.text == text:
        raise DIMError(f"The metadata of {name} has no end: add a line of --- after it.")
    return card.data.to_dict(), card.text


def card_text(metadata: dict[str, Any], text: str) -> str:
    """Formats a card.

    Args:
        metadata: Fields of the YAML block, in order.
        text: The Markdown after it.

    Returns:
        Content of a README.md.
    """
    header = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{header}---\n{text}"
