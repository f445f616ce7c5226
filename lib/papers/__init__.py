"""Verdicts of the papers, artifact by artifact."""
