"""Runs the scenarios of scenarios.py with client libraries, each driven by a small program in drivers/.

`main` installs and runs, `steps` are the words that scenarios are made of, `broker` is the broker's side, `driver` the
client's, `records` what is written, `groups` the part about consumer groups, `matrix` what is reported; `selftest` proves with
`fake` that wrong answers are found.
"""
