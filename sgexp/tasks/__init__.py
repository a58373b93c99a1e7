"""What one can ask for. Each task wires rooms together and reads like the story of what it does."""
