"""What each stack promises."""
