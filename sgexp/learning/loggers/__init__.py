"""The choices of ``logger=``: where a run is kept beside its own folder. A file a choice; base.py says how."""
