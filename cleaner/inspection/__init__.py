"""Inspection of models: attribution, features and their map, margins of subtexts."""
