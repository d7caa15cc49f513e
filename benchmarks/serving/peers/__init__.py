"""The peers, each as its own guide writes it, with the settings that a short sweep found best.

They run in an environment of their own (requirements.txt beside this package) and take what they serve from
environment variables: see ``work.py``.
"""
