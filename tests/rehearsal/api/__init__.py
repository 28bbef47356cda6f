"""Promises of the AWS API that a rehearsal serves."""
