"""What this machine can and cannot do for Smalt: each check tries the thing itself and leaves nothing behind."""
