"""The second protocol: a full grid of learning rates, five seeds, drawn targets, equal accuracy."""
