"""Times and lengths of sounds as text."""


def minutes_text(seconds: float) -> str:
    """``0:07``, ``1:05`` or ``1:02:05``: whole seconds, what is beyond them cut off."""
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def clock_text(seconds: float) -> str:
    """``50 ms``, ``7.0 s``, ``1:05`` or ``1:02:05``: always as many digits, for lists."""
    if seconds < 0.1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else minutes_text(seconds)


def exact_text(seconds: float) -> str:
    """``3.5 s``, ``33.25 s``, ``2:05`` or ``1:02:05``: as many digits as it takes, up to four, for sentences."""
    if seconds < 10:
        return f"{seconds:.3g} s"
    return f"{seconds:.4g} s" if seconds < 60 else minutes_text(seconds)
