"""guardproxy: an inference-time guardrail proxy for LLM agents."""

__version__ = "0.1.0"
