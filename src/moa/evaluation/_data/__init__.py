"""What is read from files: prompts, outputs, annotations, and what AlpacaEval has published."""
