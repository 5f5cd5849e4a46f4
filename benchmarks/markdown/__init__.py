"""Result files and model cards as Markdown tables with captions."""
