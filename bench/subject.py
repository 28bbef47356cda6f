"""Synthesizes one subject in a process of its own: python -m bench.subject NAME [--checks]."""

from __future__ import annotations

import importlib
import sys

from aws_cdk import App, Validations

# What App.synth() raises once it has printed a report with findings in it.
FINDINGS = "Validation failed"


def main(name: str, *options: str) -> None:
    """Build the subject, check it if asked to, and synthesize; findings are no failure here."""
    subject = importlib.import_module(name)
    app = App()
    subject.build(app)
    if "--checks" in options:
        # Here, because who does not want it does not pay for loading it.
        from cdk_nag import AwsSolutionsChecks

        Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    try:
        app.synth()
    except RuntimeError as error:
        if "--checks" not in options or FINDINGS not in str(error):
            raise
        sys.exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
