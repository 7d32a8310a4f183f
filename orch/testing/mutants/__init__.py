"""In-process mutants of our own code: how many does the machine kill, and after how many runs?

A mutant is a module of ours with one small fault, compiled into a fresh module object; no file is written, no process
started. `python -m orch.testing.mutants [TARGET ...]` prints, for each target, what was killed and what survived.
`targets` says what is mutated and by what it is judged, `operators` and `sql` which faults there are, `equivalent`
which mutants behave as the original does, each with its reason. Nothing of this is imported by anything else.
"""
