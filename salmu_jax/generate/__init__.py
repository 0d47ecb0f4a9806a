"""Makes a release: people, portraits, scenes and captions, in the published format."""
