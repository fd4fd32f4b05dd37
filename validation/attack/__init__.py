"""Attacks on our own claims: campaigns of seeded random cases that try to get a wrong answer past us.

campaign.py   what a campaign is, and how campaigns are found and run
NAME.py       one campaign each: `TITLE`, `FULL` (how many cases a full run tries) and `run(count, seed)`

Run them with `make attack`, or some of them with `python -m validation.attack NAME... --scale 0.1`.  Every module in
this folder is a campaign, except `campaign` and those whose names start with an underscore.
"""
