// The only place where threads start.
