"""The tasks, in a module of their own so that every worker can import them."""


def spin(x, turns=0):
    s = x
    for _ in range(turns):
        s = (s * 1103515245 + 12345) & 0xFFFFFFFF
    return x * x


def batch(xs, turns=0):
    return [spin(x, turns) for x in xs]
