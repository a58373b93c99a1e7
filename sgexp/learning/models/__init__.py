"""Networks: encoders of pictures (one file an architecture) and how three patterns become one answer."""
