"""Whether this process is serving or on its way out."""


class Lifecycle:
    """Serving until drain() is called, draining ever after."""

    def __init__(self) -> None:
        self.draining = False

    def drain(self) -> None:
        """Stop being ready; everything else is answered as before."""
        self.draining = True
