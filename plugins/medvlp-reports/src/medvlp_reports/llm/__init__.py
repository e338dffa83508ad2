"""The ``llm`` report filter: a language model behind an OpenAI-compatible endpoint reads the reports."""
