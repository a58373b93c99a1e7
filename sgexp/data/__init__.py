"""From files to numbers a network can read: what samples there are, who trains and who tests, and packed patterns."""
