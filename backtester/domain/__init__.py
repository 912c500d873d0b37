"""Vocabulary: contracts, margin tiers, configuration, record types. Standard library, numpy and pydantic only."""
