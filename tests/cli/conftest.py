"""What the tests of commands share: one folder and one export a session."""

from cli.user_folder import exported, folder  # noqa: F401
