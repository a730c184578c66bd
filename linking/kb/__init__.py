"""The knowledge base on LanceDB, and the search for candidates in it."""

from dim.linking.kb.candidates import Candidates, CandidateSearch
from dim.linking.kb.store import KnowledgeBase

__all__ = ["CandidateSearch", "Candidates", "KnowledgeBase"]
