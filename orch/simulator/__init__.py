"""Worlds on virtual time with the shipping code inside: workers, schedulers and a queue, as many as you like.

To read it: `world` has the time, the queue and the network; `member` drives workers and producers in it, `timekeeper`
schedulers; `watch` holds workers against their promises; `tape` has the choices; `ordeal` makes small worlds full of
faults of one tape.
"""
