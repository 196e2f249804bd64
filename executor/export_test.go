package executor

// CloseDefault ends Default's goroutines, which stay as long as the program otherwise.
func CloseDefault() { Default().close() }
