"""What Troupe's actors say to each other, and what may happen next.

Everything here is pure: no event loop, no clock, no randomness, no socket, no actor. Time comes in as an argument, and
what must be done goes out as an effect. That is why every rule in this package can be tested row by row.
"""
