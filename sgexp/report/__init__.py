"""Run folders and results made visible: tables for the terminal, pictures for the run folder."""
