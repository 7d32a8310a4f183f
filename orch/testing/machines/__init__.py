"""Machines for what stands above the queue: schedulers (S1 to S5), DAG runs (D1 to D7), log files (L1 to L3).

Each is data in the spirit of the queue's machine: a world in which the shipping code runs on virtual time, acts that
do something to it with small whole numbers as arguments, and an oracle that shares no code with what it judges.
`world` says what that is, `driver` draws, replays and shrinks, `scheduler`, `dag` and `logs` are the machines.
"""
