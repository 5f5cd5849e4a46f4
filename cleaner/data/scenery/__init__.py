"""Generator of Scenes: facts, captions and rendering; import `cleaner.data.scenes` instead."""
