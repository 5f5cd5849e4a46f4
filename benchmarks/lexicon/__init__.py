"""The builder of the shipped lexicon, from WordNet and the words of captions."""
