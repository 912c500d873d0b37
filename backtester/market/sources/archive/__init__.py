"""Archives that exchanges publish as files: where they lie, what their files hold, how they get into the store."""
