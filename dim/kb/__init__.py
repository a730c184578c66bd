"""The knowledge base on LanceDB."""

from dim.kb.store import KnowledgeBase

__all__ = ["KnowledgeBase"]
