"""How Scenes is made: facts, words, captions and drawing. `cleaner.data.scenes` is the way in."""
