"""What is told about an import."""
